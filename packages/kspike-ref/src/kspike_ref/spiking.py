"""Voltage updates and spike generation, exact on a voltage grid of 2⁻³²."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kspike_ref.arguments import seed_words, time_step, told_options, unit_shape
from kspike_ref.kernels import time as loops
from kspike_ref.kernels.memory import aligned, frozen
from kspike_ref.running import threads
from kspike_ref.signals import Floats, State, per_unit, shown, signal

_TICKS = 2.0**32  # grid steps in one spike
_LARGEST = 2.0**20  # spikes, below which additions on the grid are exact in float64


class SpikingDynamics:
    """The spiking activation with its coefficients, for callers that check their arrays.

    Parameters
    ----------
    dt : float
        Seconds per step, positive.
    dtype : dtype
        Type of rates and spikes, float32 or float64. For float32, ``dt`` is rounded to it first.

    Attributes
    ----------
    gain : float
        Grid steps of voltage per Hz: dt·2³².
    height : float
        The output of a step with one spike: 1/dt.
    """

    def __init__(self, dt: float, dtype: Any = np.float32) -> None:
        seconds = np.float64(np.float32(dt)) if np.dtype(dtype) == np.float32 else np.float64(dt)
        self.gain = float(seconds * _TICKS)
        self.height = np.dtype(dtype).type(1.0 / seconds)

    def run(self, rates: Floats, voltage: State, out: Floats) -> None:
        """Compute the spikes of a number of steps.

        Parameters
        ----------
        rates : (rows, steps, units) or (rows, 1, units) ndarray
            Firing rates in Hz, C-contiguous; a single step is presented at all steps of ``out``.
        voltage : (rows, units) ndarray
            Float64, C-contiguous, on the grid; updated in place.
        out : (rows, steps, units) ndarray
            Filled with the spikes; the same type as ``rates``.
        """
        x, gain, height = frozen(rates), self.gain, self.height
        threads.run(lambda part: loops.spike(x, gain, height, part, voltage, out), *out.shape)


@told_options
def spiking_activation(
    rates: ArrayLike,
    dt: float = 0.001,
    initial_voltage: ArrayLike | None = None,
    seed: int | None = None,
    time_major: bool = False,
    out: Floats | None = None,
    *,
    unit_axes: int | None = None,
) -> tuple[Floats, State]:
    """Turn firing rates into spikes.

    A neuron integrates its rate and spikes each time the integral crosses a whole number:

        v ← v + r·dt;   n = floor(v);   v ← v − n;   output = n/dt

    A step may hold several spikes; negative rates give negative spikes. The increment r·dt is
    rounded to a multiple of 2⁻³² (half to even). Everything else is exact, so the bits do not
    depend on how time is cut into calls, and T steps at a constant rate give
    floor(v0 + T·r·dt) spikes.

    Parameters
    ----------
    rates : (batch, time, *units) array_like
        Firing rates in Hz: float16, float32 or float64, with one or more unit axes, or none with
        ``unit_axes=0``. Bools and integers of up to 16 bits become float32, wider ones float64.
        A rate that is not finite makes that neuron's voltage NaN.
    dt : float
        Seconds per step. Rounded to float32 first, unless the rates are float64.
    initial_voltage : array_like, optional
        In spikes; it must broadcast to ``(batch, *units)`` and is rounded to the grid. To continue
        from an earlier call, pass the voltage that it returned.
    seed : int, optional
        Seed of the initial voltages (see `initial_voltage`), one per unit, shared by all examples.
        Without a seed and a voltage, every call draws new voltages for each example.
    time_major : bool
        Whether ``rates`` are ``(time, batch, *units)``.
    out : ndarray, optional
        Array for the spikes, with the shape and type of ``rates``, in native byte order. Reusing
        one array avoids fresh memory, which takes about as long as the computation. It may be
        ``rates`` itself, but must not overlap it in part. An array that is not C-contiguous, or
        float16, costs a copy.
    unit_axes : int, optional
        The number of unit axes. Pass 0 for ``(batch, time)``, which is refused otherwise, because
        it is usually ``(time, units)`` without a batch.

    Returns
    -------
    spikes : ndarray
        ``out``, or a new array with the shape and type of ``rates``: the number of spikes in a
        step times 1/dt.
    voltage : (batch, *units) ndarray
        The voltage after the last step, float64.

    Raises
    ------
    TypeError
        If an argument has another type.
    ValueError
        If ``rates`` have other axes, ``dt`` is not positive and finite, ``initial_voltage`` does
        not broadcast, is not finite or is 2²⁰ spikes or more, ``seed`` is negative or longer than
        64 bits, ``seed`` is passed with ``initial_voltage``, or ``out`` has another shape, is
        read-only or overlaps ``rates`` in part.

    Warns
    -----
    UserWarning
        If ``dt`` is a second or more and a neuron spikes more than once per step, which suggests
        that milliseconds are meant.

    Examples
    --------
    A neuron at 250 Hz spikes in every fourth millisecond:

    >>> rates = np.full((1, 8), 250.0)
    >>> spikes, voltage = spiking_activation(rates, initial_voltage=0.0, unit_axes=0)
    >>> spikes
    array([[   0.,    0.,    0., 1000.,    0.,    0.,    0., 1000.]])
    >>> voltage
    array([0.])
    """
    x = signal("rates", rates, time_major, unit_axes=unit_axes)
    room = x.room(out)
    seconds = time_step(dt)
    if seconds >= 1:
        _warn_of_milliseconds(x.rows, seconds)
    dynamics = SpikingDynamics(seconds, x.rows.dtype)
    voltage = aligned(_first_voltage(initial_voltage, seed, x.state_shape))
    dynamics.run(x.rows, voltage.reshape(room.shape[0], room.shape[2]), room)
    return x.restore(room, out), voltage


def _warn_of_milliseconds(rates: Floats, dt: float) -> None:
    """Warn if a neuron spikes more than once per step: dt is probably in milliseconds."""
    highest = float(np.nanmax(np.abs(rates), initial=0.0))
    if highest * dt > 1:
        warnings.warn(
            f"dt is in seconds and rates are in Hz: with dt={dt:g}, a neuron at {highest:.3g} Hz "
            f"spikes {highest * dt:.3g} times a step. For {dt:g} ms pass dt={dt / 1000:g}",
            stacklevel=4,
        )


def _first_voltage(given: ArrayLike | None, seed: int | None, shape: tuple[int, ...]) -> State:
    """Return the initial voltages: the caller's, or drawn ones."""
    if given is None and seed is None:
        words = np.random.default_rng().integers(0, 2**32, shape, np.uint32)
        return words / _TICKS
    if given is None:
        return np.broadcast_to(initial_voltage(shape[1:], seed), shape)  # type: ignore[arg-type]
    if seed is not None:
        seed_words(seed)
        raise ValueError(f"seed must be None if initial_voltage is given. Received: seed={seed!r}")
    voltage = per_unit("initial_voltage", given, shape)
    if (np.abs(voltage) >= _LARGEST).any():
        raise ValueError(
            "initial_voltage must be below 2**20 spikes in magnitude; larger values are not exact. "
            f"Received: initial_voltage={shown(np.asarray(given))}"
        )
    return on_grid(voltage)


def check_voltage(voltage: State, name: str) -> None:
    """Refuse voltages from a model's tensor that are beyond the grid's exact range.

    NaN passes, because rates that are not finite leave such voltages.

    Parameters
    ----------
    voltage : ndarray
        In spikes.
    name : str
        The name of the layer that takes them.

    Raises
    ------
    ValueError
        If a voltage is 2²⁰ spikes or more.
    """
    largest = float(np.nanmax(np.abs(voltage), initial=0.0))
    if largest >= _LARGEST:
        raise ValueError(
            f"initial_state of layer {name!r} must be below 2**20 spikes in magnitude; larger "
            f"values are not exact. Received: a voltage of {largest:.3g}; check the tensor that "
            "the model passes as initial_state"
        )


def on_grid(voltage: State) -> State:
    """Round voltages in spikes to the grid of 2⁻³², half to even; zeros become positive."""
    return np.ascontiguousarray(np.rint(voltage * _TICKS) / _TICKS + 0.0)


def initial_voltage(shape: int | Sequence[int], seed: int) -> State:
    """Draw the initial voltages of neurons, uniform on the grid in [0, 1).

    Parameters
    ----------
    shape : int or sequence of int
        The shape of the units.
    seed : int
        0 to 2⁶⁴ − 1.

    Returns
    -------
    ndarray
        ``u·2⁻³²`` as float64, where ``u`` are the words of Philox4x32-10 with the key ``seed`` (low
        word, high word) and the counter 0, 1, 2, …, four words per counter, in C order.

    Raises
    ------
    TypeError
        If ``seed`` or a length is not an integer.
    ValueError
        If ``seed`` is negative or longer than 64 bits, or a length is negative.

    References
    ----------
    .. [1] J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy
       as 1, 2, 3", SC '11, section 3.3.

    Examples
    --------
    >>> initial_voltage(3, seed=0).round(4)
    array([0.399 , 0.8805, 0.7357])
    """
    axes = unit_shape(shape)
    return _philox(math.prod(axes), *seed_words(seed)).reshape(axes) / _TICKS


# Models start every call from the same voltages: drawing them again took half the time of
# classifying one image.
@lru_cache(maxsize=16)
def _philox(size: int, low: int, high: int) -> NDArray[np.uint32]:
    """Return the first words of Philox4x32-10 for a key of two words; read-only."""
    mask, word = np.uint64(0xFFFFFFFF), np.uint64(32)
    count = np.arange(-(-size // 4), dtype=np.uint64)
    c0, c1 = count & mask, count >> word
    c2 = c3 = np.zeros_like(count)
    for _ in range(10):
        m0, m1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (
            (m1 >> word) ^ c1 ^ np.uint64(low),
            m1 & mask,
            (m0 >> word) ^ c3 ^ np.uint64(high),
            m0 & mask,
        )
        low, high = (low + 0x9E3779B9) & 0xFFFFFFFF, (high + 0xBB67AE85) & 0xFFFFFFFF
    words = np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32).reshape(-1)[:size]
    words.flags.writeable = False
    return words
