"""Figures of spikes and voltages over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from kspike_ref.arguments import time_step, told_options
from kspike_ref.plot.look import COLORS, label_time, legend_above, numbers, panels, times

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LAYOUT = "(steps, units), of one example"
_FEW = 20  # the most neurons whose numbers fit on the axis


@told_options
def raster(
    spikes: ArrayLike,
    dt: float = 0.001,
    units: Sequence[int] | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw a mark for every step in which a neuron spikes.

    Parameters
    ----------
    spikes : (steps, *units) array_like
        Output of a spiking layer for one example. Nonzero values are spikes; negative ones are
        drawn in another colour.
    dt : float
        Seconds per step. The axis label states it.
    units : sequence of int, optional
        The neurons to draw, in C order of the unit axes; all by default.
    axes : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.

    Raises
    ------
    TypeError
        If an argument has another type.
    ValueError
        If ``spikes`` have no unit axis, ``dt`` is not positive, or a unit does not exist.

    Examples
    --------
    >>> import numpy as np, kspike_ref
    >>> from kspike_ref import plot
    >>> spikes, _ = kspike_ref.spiking_activation(np.full((1, 50, 8), 100.0), seed=0)
    >>> axes = plot.raster(spikes[0], dt=0.001)
    >>> axes.get_xlabel()
    'time (ms), in steps of 1 ms'
    """
    flat = _flat("spikes", spikes)
    chosen = _chosen(units, flat.shape[1])
    seconds = time_step(dt)
    ends, unit = times(len(flat), seconds)
    (axis,) = panels(axes, 3.0)
    size = float(np.clip(900 / len(chosen), 4, 90))  # square points: marks do not overlap
    shown = flat[:, chosen]
    for sign, color in ((1, COLORS[0]), (-1, COLORS[1])):
        steps, rows = np.nonzero(np.sign(shown) == sign)
        axis.scatter(ends[steps], rows, s=size, marker="|", color=color, linewidths=1.1)
    axis.set_xlim(0, ends[-1] * 1.01)
    axis.set_ylim(-0.6, len(chosen) - 0.4)
    if units is None:
        axis.yaxis.get_major_locator().set_params(integer=True)
    elif len(chosen) <= _FEW:
        axis.set_yticks(range(len(chosen)), [str(each) for each in chosen])
    else:
        axis.set_yticks([])  # no room for the numbers
    axis.set_ylabel("neuron")
    label_time(axis, unit, seconds)
    return axis


@told_options
def voltage(
    voltages: ArrayLike,
    spikes: ArrayLike | None = None,
    filtered: ArrayLike | None = None,
    dt: float = 0.001,
    units: Sequence[int] = (0,),
    axes: Axes | Sequence[Axes] | None = None,
) -> list[Axes]:
    """Draw the voltages of neurons, their spikes, and the filtered output.

    Parameters
    ----------
    voltages : (steps, *units) array_like
        Voltages after the steps of one example, in spikes, as `kspike_ref.Model.record` returns
        them.
    spikes : (steps, *units) array_like, optional
        Spikes of the same neurons, drawn as marks above the voltages.
    filtered : (steps, *units) array_like, optional
        Filtered spikes of the same neurons in Hz, drawn on separate axes below.
    dt : float
        Seconds per step. The axis label states it.
    units : sequence of int
        The neurons to draw, in C order of the unit axes; the first by default.
    axes : matplotlib.axes.Axes, or sequence of these, optional
        Where to draw: one, or two with ``filtered``. A new figure by default.

    Returns
    -------
    list of matplotlib.axes.Axes
        The axes of the voltages; then those of the filtered output, if there is one.

    Raises
    ------
    TypeError
        If an argument has another type.
    ValueError
        If an array has no unit axis, or other steps or units than ``voltages``; ``dt`` is not
        positive; a unit does not exist; or the number of axes is wrong.

    Examples
    --------
    >>> from kspike_ref import plot
    >>> voltages = [[0.25], [0.5], [0.75], [0.0]]
    >>> (axes,) = plot.voltage(voltages, spikes=[[0], [0], [0], [1000]], dt=0.001)
    >>> axes.get_ylabel()
    'voltage (spikes)'
    """
    levels = _flat("voltages", voltages)
    chosen = _chosen(units, levels.shape[1])
    beside = {
        name: _like(name, _flat(name, values), levels)
        for name, values in (("spikes", spikes), ("filtered", filtered))
        if values is not None
    }
    seconds = time_step(dt)
    ends, unit = times(len(levels), seconds)
    drawn = panels(axes, 2.2, 1.6) if "filtered" in beside else panels(axes, 2.6)
    _draw_voltages(drawn[0], ends, levels, beside.get("spikes"), chosen)
    if "filtered" in beside:
        for row, each in enumerate(chosen):
            drawn[1].plot(ends, beside["filtered"][:, each], color=_color(row))
        drawn[1].set_ylabel("filtered (Hz)")
    for axis in drawn:
        axis.set_xlim(0, ends[-1] * 1.01)
    label_time(drawn[-1], unit, seconds)
    return drawn


def _draw_voltages(axis: Any, ends: Any, levels: Any, spikes: Any, chosen: Sequence[int]) -> None:
    """Draw a line for every chosen neuron, with its spikes above all lines."""
    top = max(1.0, float(np.nanmax(levels[:, chosen], initial=0.0)))
    for row, each in enumerate(chosen):
        color = _color(row)
        name = f"neuron {each}"
        axis.plot(ends, levels[:, each], color=color, label=name, drawstyle="steps-post")
        if spikes is not None:
            when = ends[np.nonzero(spikes[:, each])[0]]
            height = np.full(len(when), top * (1.1 + 0.12 * row))
            axis.scatter(when, height, marker="|", s=60, color=color, linewidths=1.5)
    axis.set_ylabel("voltage (spikes)")
    axis.set_yticks([tick for tick in axis.get_yticks() if 0 <= tick <= top])
    if len(chosen) > 1:
        legend_above(axis)


def _color(row: int) -> str:
    return COLORS[row % len(COLORS)]


def _flat(name: str, values: ArrayLike) -> np.ndarray[Any, Any]:
    """Return an array of one example with a single unit axis."""
    array = numbers(name, values, 2, _LAYOUT)
    return array.reshape(len(array), -1)


def _like(name: str, values: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> Any:
    if values.shape != other.shape:
        raise ValueError(
            f"{name} must have the steps and units of voltages, {other.shape}. "
            f"Received: {values.shape}"
        )
    return values


def _chosen(units: Any, count: int) -> list[int]:
    """Return the numbers of the neurons to draw."""
    if units is None:
        return list(range(count))
    chosen = np.ravel(np.asarray(units))
    if not chosen.size or chosen.dtype.kind not in "iu":
        raise TypeError(f"units must be numbers of neurons. Received: {units!r}")
    if chosen.min() < 0 or chosen.max() >= count:
        raise ValueError(f"units must be from 0 to {count - 1}. Received: {units!r}")
    return [int(each) for each in chosen]
