"""Synaptic filters, discretised exactly for inputs that are constant within a step."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kspike_ref.arguments import time_step, told_options
from kspike_ref.kernels import time as loops
from kspike_ref.kernels.memory import aligned, frozen
from kspike_ref.running import threads
from kspike_ref.signals import Floats, Signal, State, per_unit, signal, time_constant

# Synapses and membranes have time constants up to about a second, and time steps are below one.
_LONG_TAU, _LONG_STEP = 5.0, 1.0  # seconds
SHORTEST_TAU = 1e-8  # seconds; training may push a time constant below this


class LowpassDynamics:
    """The lowpass filter with its coefficients, for callers that check their arrays.

    Parameters
    ----------
    tau : (units,) array_like
        Time constants in seconds, clipped to at least 1e-8.
    dt : float
        Seconds per step, positive.

    Attributes
    ----------
    decay : (units,) ndarray
        exp(−dt/τ).
    """

    def __init__(self, tau: ArrayLike, dt: float) -> None:
        clipped = np.maximum(np.asarray(tau, np.float64), SHORTEST_TAU)
        self.decay = aligned(np.exp(-dt / clipped))

    def run(self, x: Floats, level: State, out: Floats) -> None:
        """Filter a number of steps.

        Parameters
        ----------
        x : (rows, steps, units) or (rows, 1, units) ndarray
            C-contiguous, float32 or float64; a single step is presented at all steps of ``out``.
        level : (rows, units) ndarray
            The output so far; float64, C-contiguous, updated in place.
        out : (rows, steps, units) ndarray
            Filled with the output.
        """
        x, decay = frozen(x), self.decay
        threads.run(lambda part: loops.lowpass(x, decay, part, level, out), *out.shape)


class AlphaDynamics:
    """The alpha filter with its coefficients, for callers that check their arrays.

    Parameters
    ----------
    tau : (units,) array_like
        Time constants in seconds, clipped to at least 1e-8.
    dt : float
        Seconds per step, positive.

    Attributes
    ----------
    decay : (units,) ndarray
        e = exp(−s), with s = dt/τ.
    ramp : (units,) ndarray
        e·s.
    """

    def __init__(self, tau: ArrayLike, dt: float) -> None:
        s = dt / np.maximum(np.asarray(tau, np.float64), SHORTEST_TAU)
        self.decay = aligned(np.exp(-s))
        self.ramp = aligned(self.decay * s)

    def run(self, x: Floats, state: State, out: Floats) -> None:
        """Filter a number of steps.

        Parameters
        ----------
        x : (rows, steps, units) or (rows, 1, units) ndarray
            C-contiguous, float32 or float64; a single step is presented at all steps of ``out``.
        state : (rows, 2, units) ndarray
            The output so far, then τ times its derivative; float64, C-contiguous, updated in place.
        out : (rows, steps, units) ndarray
            Filled with the output.
        """
        x, decay, ramp = frozen(x), self.decay, self.ramp
        threads.run(lambda part: loops.alpha(x, decay, ramp, part, state, out), *out.shape)


@told_options
def lowpass(
    x: ArrayLike,
    tau: ArrayLike,
    dt: float = 0.001,
    initial_level: ArrayLike = 0.0,
    time_major: bool = False,
    out: Floats | None = None,
    *,
    unit_axes: int | None = None,
) -> tuple[Floats, State]:
    """Filter a signal with an exponential synapse.

    With d = exp(−dt/τ):

        y ← x + d·(y − x)

    This is 1/(τ·s + 1) under a zero-order hold; the input of a step already acts in that step.
    The state is float64, and each output is rounded once.

    Parameters
    ----------
    x : (batch, time, *units) array_like
        The signal: float16, float32 or float64, with one or more unit axes, or none with
        ``unit_axes=0``. Bools and integers of up to 16 bits become float32, wider ones float64.
    tau : float or array_like
        Time constant in seconds, positive; it must broadcast to ``units`` or ``(1, *units)``.
        Clipped to at least 1e-8.
    dt : float
        Seconds per step.
    initial_level : float or array_like
        The output before the first step; it must broadcast to ``(batch, *units)``. To continue
        from an earlier call, pass the level that it returned.
    time_major : bool
        Whether ``x`` is ``(time, batch, *units)``.
    out : ndarray, optional
        Array for the filtered signal, with the shape and type of ``x``, in native byte order.
        Reusing one array avoids fresh memory, which takes about as long as the computation. It
        may be ``x`` itself, but must not overlap it in part. An array that is not C-contiguous,
        or float16, costs a copy.
    unit_axes : int, optional
        The number of unit axes. Pass 0 for ``(batch, time)``, which is refused otherwise, because
        it is usually ``(time, units)`` without a batch.

    Returns
    -------
    y : ndarray
        ``out``, or a new array with the shape and type of ``x``.
    level : (batch, *units) ndarray
        The output after the last step, float64.

    Raises
    ------
    TypeError
        If an argument has another type.
    ValueError
        If ``x`` has other axes, ``tau`` or ``dt`` is not positive and finite,
        ``initial_level`` is not finite, a shape does not broadcast, or ``out`` has another shape,
        is read-only or overlaps ``x`` in part.

    Warns
    -----
    UserWarning
        If one of ``tau`` and ``dt`` looks like milliseconds, and the other like seconds.

    Examples
    --------
    >>> y, level = lowpass(np.ones((1, 3, 1)), tau=0.01, dt=0.001)
    >>> y[0, :, 0].round(4)
    array([0.0952, 0.1813, 0.2592])
    >>> lowpass(np.ones((1, 1, 1)), tau=0.01, initial_level=level)[0].ravel().round(4)
    array([0.3297])
    """
    signal_, constants, seconds = _arguments(x, tau, dt, time_major, unit_axes)
    room = signal_.room(out)
    level = aligned(per_unit("initial_level", initial_level, signal_.state_shape))
    dynamics = LowpassDynamics(constants, seconds)
    dynamics.run(signal_.rows, level.reshape(room.shape[0], room.shape[2]), room)
    return signal_.restore(room, out), level


@told_options
def alpha(
    x: ArrayLike,
    tau: ArrayLike,
    dt: float = 0.001,
    initial_level: ArrayLike = 0.0,
    time_major: bool = False,
    out: Floats | None = None,
    *,
    unit_axes: int | None = None,
) -> tuple[Floats, State]:
    """Filter a signal with an alpha synapse.

    With s = dt/τ, e = exp(−s) and p = τ·dy/dt:

        w = y − x;   k = e·s·(p + w);   y ← x + e·w + k;   p ← e·p − k

    This is 1/(τ·s + 1)² under a zero-order hold; the input of a step already acts in that step.
    The state is float64, and each output is rounded once.

    Parameters
    ----------
    x : (batch, time, *units) array_like
        The signal: float16, float32 or float64, with one or more unit axes, or none with
        ``unit_axes=0``. Bools and integers of up to 16 bits become float32, wider ones float64.
    tau : float or array_like
        Time constant in seconds, positive; it must broadcast to ``units`` or ``(1, *units)``.
        Clipped to at least 1e-8.
    dt : float
        Seconds per step.
    initial_level : float or array_like
        The output before the first step, at rest (p = 0); it must broadcast to
        ``(batch, *units)``. Or, to continue from an earlier call, the state that it returned.
    time_major : bool
        Whether ``x`` is ``(time, batch, *units)``.
    out : ndarray, optional
        Array for the filtered signal, with the shape and type of ``x``, in native byte order.
        Reusing one array avoids fresh memory, which takes about as long as the computation. It
        may be ``x`` itself, but must not overlap it in part. An array that is not C-contiguous,
        or float16, costs a copy.
    unit_axes : int, optional
        The number of unit axes. Pass 0 for ``(batch, time)``, which is refused otherwise, because
        it is usually ``(time, units)`` without a batch.

    Returns
    -------
    y : ndarray
        ``out``, or a new array with the shape and type of ``x``.
    state : (batch, 2, prod(units)) ndarray
        The state after the last step, float64: ``state[:, 0]`` is y, ``state[:, 1]`` is p.

    Raises
    ------
    TypeError
        If an argument has another type.
    ValueError
        If ``x`` has other axes, ``tau`` or ``dt`` is not positive and finite,
        ``initial_level`` is not finite, a shape does not broadcast, or ``out`` has another shape,
        is read-only or overlaps ``x`` in part.

    Warns
    -----
    UserWarning
        If one of ``tau`` and ``dt`` looks like milliseconds, and the other like seconds.

    Examples
    --------
    >>> y, state = alpha(np.ones((1, 3, 1)), tau=0.01, dt=0.001)
    >>> y[0, :, 0].round(4)
    array([0.0047, 0.0175, 0.0369])
    >>> alpha(np.ones((1, 1, 1)), tau=0.01, initial_level=state)[0].ravel().round(4)
    array([0.0616])
    """
    signal_, constants, seconds = _arguments(x, tau, dt, time_major, unit_axes)
    room = signal_.room(out)
    state = _alpha_state(initial_level, signal_)
    dynamics = AlphaDynamics(constants, seconds)
    if not time_major:
        dynamics.run(signal_.rows, state, room)
    else:
        # Time is the first axis: examples and units form one long axis, also in the state.
        merged = aligned(state.swapaxes(0, 1)).reshape(1, 2, -1)
        dynamics.run(signal_.rows, merged, room)
        state = np.ascontiguousarray(merged.reshape(2, *state[:, 0].shape).swapaxes(0, 1))
    return signal_.restore(room, out), state


def _arguments(
    x: ArrayLike, tau: ArrayLike, dt: float, time_major: bool, unit_axes: int | None
) -> tuple[Signal, State, float]:
    """Check the arguments of both filters; return time constants per unit of the rows."""
    # Compute float16 in float64, so that each output is rounded once.
    signal_ = signal("x", x, time_major, np.float64, unit_axes)
    constants = time_constant(tau, signal_.units).reshape(-1)
    if time_major:
        constants = np.tile(constants, signal_.batch)
    seconds = time_step(dt)
    _warn_of_milliseconds(constants, seconds)
    return signal_, constants, seconds


def _warn_of_milliseconds(tau: State, dt: float) -> None:
    """Warn if tau and dt seem to have different units; both in milliseconds gives right results."""
    low, high = float(tau.min(initial=np.inf)), float(tau.max(initial=0.0))
    if dt < _LONG_STEP and high >= _LONG_TAU:
        told = f"tau={high:g} with dt={dt:g}; for {high:g} ms pass tau={high / 1000:g}"
    elif dt >= _LONG_STEP and low < _LONG_STEP:
        told = f"dt={dt:g} with tau={low:g}; for {dt:g} ms pass dt={dt / 1000:g}"
    else:
        return
    warnings.warn(f"tau and dt are both in seconds. Received: {told}", stacklevel=5)


def _alpha_state(initial_level: ArrayLike, x: Signal) -> Any:
    """Return the initial state in its own memory."""
    shape = (x.batch, 2, x.size)
    if np.shape(initial_level) == shape and x.state_shape != shape:
        return aligned(per_unit("initial_level", initial_level, shape))
    state = aligned(np.zeros(shape))
    level = per_unit("initial_level", initial_level, x.state_shape)
    state[:, 0] = level.reshape(x.batch, x.size)
    return state
