"""Figures of synaptic filters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from kspike_ref.arguments import time_step, told_options
from kspike_ref.plot.look import COLORS, label_time, legend_above, numbers, panels, times
from kspike_ref.synapses import alpha, lowpass
from kspike_ref.tables import seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FILTERS = {"lowpass": lowpass, "alpha": alpha}
_RESPONSES = ("impulse", "step")
_LONGEST = 100_000  # steps


@told_options
def filter_response(
    tau: ArrayLike,
    dt: float = 0.001,
    kind: str = "lowpass",
    response: str = "impulse",
    duration: float | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw the output of filters after one spike, or for a constant input of 1.

    Parameters
    ----------
    tau : float or array_like of float
        Time constants in seconds; one line per time constant.
    dt : float
        Seconds per step. The axis label states it.
    kind : str
        ``"lowpass"`` or ``"alpha"``.
    response : str
        ``"impulse"`` for one spike, of height 1/dt in the first step, or ``"step"`` for an input of
        1 from the first step on.
    duration : float, optional
        Seconds to draw; by default five times the longest time constant, eight for alpha.
    axes : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.

    Raises
    ------
    TypeError
        If ``tau`` or ``dt`` are not real numbers.
    ValueError
        If ``tau``, ``dt`` or ``duration`` is not positive and finite, a name is unknown, or there
        are more than 100,000 steps to draw.

    Examples
    --------
    >>> from kspike_ref import plot
    >>> axes = plot.filter_response([0.01, 0.05], dt=0.005)
    >>> axes.get_ylabel()
    'output (Hz)'
    """
    taus = numbers("tau", tau, 0, "one time constant, or several").ravel().astype(np.float64)
    if not (np.isfinite(taus) & (taus > 0)).all():
        raise ValueError(f"tau must be positive and finite, in seconds. Received: tau={tau!r}")
    _check_name("kind", kind, tuple(_FILTERS))
    _check_name("response", response, _RESPONSES)
    step = time_step(dt)
    steps = _steps(duration, float(taus.max()) * (5 if kind == "lowpass" else 8), step)
    x = np.zeros((1, steps, len(taus)))
    x[:, : 1 if response == "impulse" else None] = 1 / step if response == "impulse" else 1
    y = _FILTERS[kind](x, taus, dt=step)[0][0]
    ends, unit = times(steps, step)
    (axis,) = panels(axes, 2.8)
    for row, each in enumerate(taus):
        marker = "o" if steps <= 60 else ""
        color = COLORS[row % len(COLORS)]
        axis.plot(ends, y[:, row], color=color, marker=marker, label=f"τ = {seconds(each)}")
    axis.set_xlim(left=0)
    axis.set_ylim(bottom=0)
    axis.set_ylabel("output (Hz)" if response == "impulse" else "output (input = 1)")
    label_time(axis, unit, step)
    legend_above(axis)
    return axis


def _steps(duration: float | None, default: float, dt: float) -> int:
    length = default if duration is None else duration
    if not (np.isfinite(length) and length > 0):
        raise ValueError(f"duration must be positive and finite. Received: duration={duration!r}")
    steps = max(2, round(length / dt))
    if steps > _LONGEST:
        raise ValueError(
            f"duration must be {_LONGEST:,} steps at most, {_LONGEST * dt:g} s at dt={dt:g}. "
            f"Received: {length:g} s, {steps:,} steps"
        )
    return steps


def _check_name(argument: str, given: Any, known: tuple[str, ...]) -> None:
    if given not in known:
        raise ValueError(f"{argument} must be {' or '.join(map(repr, known))}. Received: {given!r}")
