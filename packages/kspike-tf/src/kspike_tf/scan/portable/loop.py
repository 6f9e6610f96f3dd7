"""Loops over time made of ordinary TensorFlow operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kspike_tf.scan.cpu import kernels
from kspike_tf.tracing import in_xla

Tensor = Any


def scan(
    step: Callable[..., Any],
    sequences: list[Tensor],
    states: list[Tensor],
    reverse: bool = False,
) -> tuple[Tensor, list[Tensor]]:
    """Apply a step function along the second axis.

    Parameters
    ----------
    step : callable
        Takes the sequences' values at one step and the states. Returns the output, which is cast to
        the dtype of the first sequence, and the list of states after the step.
    sequences : list of (batch, time, ...) tf.Tensor
        Read step by step.
    states : list of tf.Tensor
        The states before the first step.
    reverse : bool
        Whether to run from the last step to the first; outputs keep the positions of their inputs.

    Returns
    -------
    output : (batch, time, ...) tf.Tensor
        The outputs at each step.
    states : list of tf.Tensor
        The states after the last iteration.
    """
    first = sequences[0]
    steps = tf.shape(first)[1]
    # XLA compiles the body of a loop even if there are no steps, and rejects reads from empty
    # arrays. So where the number of steps may be zero, append an unused one.
    states = [fitted(state, first) for state in states]
    spare = int(first.shape[1] is None and in_xla())
    room = steps + spare
    arrays = [
        tf.TensorArray(x.dtype, room, element_shape=_without_time(x)).unstack(
            tf.pad(_swapped(x), [[0, spare], *[[0, 0]] * (x.shape.rank - 1)])
            if spare
            else _swapped(x)
        )
        for x in sequences
    ]
    output = tf.TensorArray(first.dtype, room, element_shape=_without_time(first))

    def body(count: Tensor, states: list[Tensor], output: Any) -> Any:
        t = steps - 1 - count if reverse else count
        y, states = step(*[array.read(t) for array in arrays], *states)
        return count + 1, states, output.write(t, tf.cast(y, first.dtype))

    # No maximum_iterations: ONNX has no counterpart of that loop.
    _, states, output = tf.while_loop(
        lambda count, *_: count < steps, body, (tf.constant(0), states, output)
    )
    outputs = output.stack()[:steps] if spare else output.stack()
    return tf.ensure_shape(_swapped(outputs), first.shape), states


def fitted(state: Tensor, sequence: Tensor) -> Tensor:
    """Return a state ``(batch, ...)``; fail unless it has the sequence's batch and units.

    Otherwise operations would broadcast the state of one example to all.
    """
    shape = tf.shape(sequence)
    return tf.reshape(state, tf.concat([shape[:1], shape[2:]], 0))


def _without_time(x: Tensor) -> tf.TensorShape:
    return tf.TensorShape([x.shape[0], *x.shape[2:]])


def _swapped(x: Tensor) -> Tensor:
    return tf.transpose(x, [1, 0, *range(2, x.shape.rank)])


# Filters: the formulas of the kernels, on tensors


def lowpass(x: Tensor, state: Tensor, ratio: Tensor) -> list[Tensor]:
    """Compute `kernels.lowpass` for a ratio dt/τ."""
    e = tf.exp(-ratio)

    def step(x: Tensor, y: Tensor) -> Any:
        y = kernels.lowpass_step(y, _double(x), e)
        return y, [y]

    return _filtered(step, x, state, 1)


def alpha(x: Tensor, state: Tensor, ratio: Tensor) -> list[Tensor]:
    """Compute `kernels.alpha` for a ratio dt/τ."""
    e = tf.exp(-ratio)
    slope = e * ratio

    def step(x: Tensor, y: Tensor, p: Tensor) -> Any:
        y, p = kernels.alpha_step(y, p, _double(x), e, slope)
        return y, [y, p]

    return _filtered(step, x, state, 2)


def _filtered(step: Callable[..., Any], x: Tensor, state: Tensor, count: int) -> list[Tensor]:
    y, states = scan(step, [x], tf.unstack(state, count, 1))
    return [y, tf.stack(states, 1)]


def lowpass_back(
    x: Tensor, state: Tensor, ratio: Tensor, d_y: Tensor, d_end: Tensor
) -> list[Tensor]:
    """Compute `kernels.lowpass_back`."""
    e, gain = tf.exp(-ratio), -tf.math.expm1(-ratio)

    def step(x: Tensor, g: Tensor, *states: Tensor) -> Any:
        after, d_x = kernels.lowpass_back_step(states, _double(x), _double(g), e, gain)
        return d_x, list(after)

    return _taken_back(step, x, state, d_y, d_end, 1)


def alpha_back(
    x: Tensor, state: Tensor, ratio: Tensor, gain: Tensor, d_y: Tensor, d_end: Tensor
) -> list[Tensor]:
    """Compute `kernels.alpha_back`."""
    e = tf.exp(-ratio)
    weights = e, gain, e * ratio, e * (1 - ratio)

    def step(x: Tensor, g: Tensor, *states: Tensor) -> Any:
        after, d_x = kernels.alpha_back_step(states, _double(x), _double(g), weights)
        return d_x, list(after)

    return _taken_back(step, x, state, d_y, d_end, 2)


def _taken_back(
    step: Callable[..., Any], x: Tensor, state: Tensor, d_y: Tensor, d_end: Tensor, count: int
) -> list[Tensor]:
    """Scan backwards over time: state gradients, their derivatives in the ratio, and a sum."""
    zero = tf.zeros_like(d_end[:, 0])
    before = tf.unstack(d_end, count, 1) + [zero] * (count + 1)
    d_x, after = scan(step, [x, d_y], before, reverse=True)
    # The loss depends on the initial state as on an input.
    total = after[-1] + tf.reduce_sum(state * tf.stack(after[count:-1], 1), 1)
    return [d_x, tf.stack(after[:count], 1), tf.reduce_sum(total, 0)]


def _double(x: Tensor) -> Tensor:
    return tf.cast(x, tf.float64)
