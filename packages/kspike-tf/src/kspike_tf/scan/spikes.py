"""Spikes from firing rates, on a voltage grid of 2⁻³²."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kspike_tf.scan import forward_mode
from kspike_tf.scan.choose import Way, run, way
from kspike_tf.scan.cpu.kernels import RECTIFIED_SPIKES, SPIKES, TICKS, Kernel
from kspike_tf.scan.portable import blocks, lite_rt, loop
from kspike_tf.tracing import exporter, is_plain

Tensor = Any

PHILOX = 1  # TensorFlow's number for the generator Philox4x32-10


def spikes(rates: Tensor, voltage: Tensor, dt: Tensor, observer: int = 0) -> tuple[Tensor, Tensor]:
    """Convert firing rates to spikes by integration.

    The gradient is straight-through: that of the spikes reaches the rates unchanged, and that of
    the voltages is dropped. So the backward pass needs no loop over time.

    Parameters
    ----------
    rates : (batch, time, units) tf.Tensor
        Firing rates in Hz, float32 or float64.
    voltage : (batch, units) tf.Tensor
        Float64, on the grid. Whole spikes in a voltage outside [0, 1) are emitted in the first
        step.
    dt : float or tf.Tensor
        Seconds per step, float64.
    observer : int
        Number of an observer (`kspike_tf.scan.cpu.observers`) of the rates under XLA, or 0.

    Returns
    -------
    spikes : (batch, time, units) tf.Tensor
        Number of spikes per step, times 1/dt.
    voltage : (batch, units) tf.Tensor
        The voltage after the last step.
    """
    return integrate(SPIKES, rates, voltage, dt, observer=observer)


def rectified_spikes(
    x: Tensor, voltage: Tensor, dt: Tensor, observer: int = 0
) -> tuple[Tensor, Tensor]:
    """Integrate the rates max(x, 0), as `spikes` does; an observer sees ``x``.

    Kernels rectify and integrate in one pass, so that the rates need no memory. The gradient is
    that of ``tf.nn.relu``.
    """
    return integrate(RECTIFIED_SPIKES, x, voltage, dt, observer=observer)


def integrate(
    kernel: Kernel, x: Tensor, voltage: Tensor, *given: Tensor, observer: int = 0
) -> tuple[Tensor, Tensor]:
    """Integrate with a kernel; ``given`` are the arguments of its weights.

    The gradient is straight-through, as that of `spikes`.
    """

    @tf.custom_gradient
    def forward(x: Tensor) -> Any:
        # Hide the compiled scan from tapes, which cannot differentiate it.
        still, start, *others = _still(x, voltage, *given)
        return tuple(_scan(kernel, observer, still, start, *others)), _back(kernel, still)

    spikes, voltage = forward_mode.call(forward, x)
    return spikes, voltage


def integrate_step(
    kernel: Kernel, x: Tensor, voltage: Tensor, *given: Tensor
) -> tuple[Tensor, Tensor]:
    """Take one step of `integrate`, on arrays without the time axis."""

    @tf.custom_gradient
    def forward(x: Tensor) -> Any:
        still, start, *others = _still(x, voltage, *given)
        (end,), spikes = kernel.step((start,), still, None, kernel.weights(*others))
        return (spikes, end), _back(kernel, still)

    spikes, voltage = forward_mode.call(forward, x)
    return spikes, voltage


def spike_step(rates: Tensor, voltage: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
    """Take one step of `spikes`, on arrays without the time axis."""
    return integrate_step(SPIKES, rates, voltage, dt)


def _back(kernel: Kernel, x: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the straight-through gradient: that of the spikes, and of max(x, 0) if it is taken."""

    def back(d_spikes: Tensor, _d_voltage: Tensor) -> Tensor:
        if kernel is RECTIFIED_SPIKES:
            return tf.raw_ops.ReluGrad(gradients=d_spikes, features=x)
        return d_spikes

    return back


def _still(x: Tensor, *others: Tensor) -> list[Tensor]:
    return [tf.stop_gradient(x), *[tf.stop_gradient(tf.cast(each, tf.float64)) for each in others]]


def _scan(kernel: Kernel, observer: int, x: Tensor, voltage: Tensor, *given: Tensor) -> Any:
    if 0 in x.shape:
        return x, voltage  # XLA refuses empty tensors
    how = way(x)
    if how in (Way.BLOCKS, Way.LITE_RT):
        if kernel not in (SPIKES, RECTIFIED_SPIKES):
            return loop.run(kernel, (x, voltage, *given))
        args = tf.nn.relu(x) if kernel is RECTIFIED_SPIKES else x, voltage, *given
        if how is Way.LITE_RT:
            return lite_rt.spikes(*args)
        return tf.cond(
            _in_range(*args), lambda: blocks.spikes(*args), lambda: tuple(loop.run(SPIKES, args))
        )
    return run(how, kernel, (x, voltage, *given), observer)


def _in_range(rates: Tensor, voltage: Tensor, dt: Tensor) -> Tensor:
    """Return whether all steps add fewer than 2²⁰ spikes, and all voltages lie in [0, 1).

    Blocks add integers, which requires both. Other values, including NaN, take the loop.
    """
    few = tf.abs(tf.cast(rates, tf.float64) * dt) < 2.0**20
    return tf.reduce_all(few) & tf.reduce_all((voltage >= 0) & (voltage < 1))


def on_grid(voltage: Tensor) -> Tensor:
    """Round voltages to the grid, as float64; under LiteRT, the scan rounds them itself."""
    if exporter() == "LiteRT":
        return tf.cast(voltage, tf.float64)
    return tf.round(tf.cast(voltage, tf.float64) * TICKS) * (1 / TICKS)


def uniform_voltage(shape: Any, seed: int | None) -> Tensor:
    """Draw initial voltages, uniform on the grid in [0, 1).

    Parameters
    ----------
    shape : list of int or tf.Tensor
        Shape of the voltages.
    seed : int or None
        Key of the generator, 0 to 2⁶⁴ − 1. With None, each call draws a new key from TensorFlow's
        global generator.

    Returns
    -------
    tf.Tensor
        Float64.

    References
    ----------
    .. [1] J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy
       as 1, 2, 3", SC '11, section 3.3.
    """
    if seed is None and is_plain():
        if exporter() == "ONNX":
            warnings.warn(
                "Keras' ONNX exporter fixes the random numbers of layers without a seed: every "
                "session draws the same initial voltages. Use kspike_tf.export.to_onnx for fresh "
                "ones, or give the layer a seed.",
                stacklevel=2,
            )
        # Ignore a global seed: an exported file would keep it.
        dtype = tf.float32 if exporter() == "LiteRT" else tf.float64
        uniform = tf.raw_ops.RandomUniform(shape=shape, dtype=dtype, seed=0, seed2=0)
        if dtype == tf.float32:
            return tf.cast(uniform, tf.float64)  # on the grid, in steps of 2⁻²³
        return tf.floor(uniform * TICKS) * (1 / TICKS)
    if seed is None:
        key = tf.bitcast(tf.random.uniform([1], tf.int64.min, tf.int64.max, tf.int64), tf.uint64)
    else:
        key = tf.constant([seed], tf.uint64)
    words = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=shape, key=key, counter=tf.zeros([2], tf.uint64), alg=PHILOX, dtype=tf.uint32
    )
    return tf.cast(words, tf.float64) * (1 / TICKS)
