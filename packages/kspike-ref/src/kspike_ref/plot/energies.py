"""Figures of accuracy against energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from kspike_ref.arguments import check_count, told_options
from kspike_ref.plot.look import COLORS, GREY, GRID, legend_above, numbers, panels, series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = "osD^vPX"  # so that series also differ without colours


@told_options
def accuracy_energy(
    energy: ArrayLike | Mapping[str, ArrayLike],
    accuracy: ArrayLike | Mapping[str, ArrayLike],
    labels: Sequence[object] | None = None,
    examples: int | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw accuracies against energies, as dots over a logarithmic energy axis.

    Parameters
    ----------
    energy : array_like, or dict of str to array_like
        Joules per inference, ``(points,)``; or several series, such as devices, by name.
    accuracy : array_like, or dict of str to array_like
        Fractions from 0 to 1, one per energy; one series for all energies, or by the same names.
    labels : sequence, optional
        Labels of the points, such as numbers of steps; written beside the first series.
    examples : int, optional
        The number of examples behind the accuracies. Error bars then show two standard errors.
    axes : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes. In every series, a line joins the points for which no other point is more accurate
        for less energy.

    Raises
    ------
    TypeError
        If energies or accuracies are not real numbers.
    ValueError
        If their numbers differ, an energy is not positive, an accuracy is not from 0 to 1, or
        names differ.

    Examples
    --------
    >>> from kspike_ref import plot
    >>> axes = plot.accuracy_energy([1e-7, 2e-7, 4e-7], [0.8, 0.95, 0.97], labels=[5, 10, 20])
    >>> axes.get_xlabel()
    'estimated energy per inference (J)'
    """
    points = _points(energy, accuracy)
    count = None if examples is None else check_count("examples", examples, 1)
    (axis,) = panels(axes, 3.2)
    for row, (name, (joules, values)) in enumerate(points.items()):
        color, marker = COLORS[row % len(COLORS)], _MARKERS[row % len(_MARKERS)]
        front = _front(joules, values)
        axis.plot(joules[front], 100 * values[front], color=color, linewidth=1)
        errors = None if count is None else 200 * np.sqrt(values * (1 - values) / count)
        axis.errorbar(
            joules, 100 * values, errors, color=color, fmt=marker, elinewidth=1, label=name or None
        )
        if labels is not None and row == 0:
            _write(axis, labels, joules, 100 * values)
    _dress(axis)
    return axis


def _points(energy: Any, accuracy: Any) -> dict[str, tuple[Any, Any]]:
    """Return energies and accuracies by the name of their series."""
    energies, accuracies = series("energy", energy), series("accuracy", accuracy)
    if isinstance(accuracy, Mapping) and accuracies.keys() != energies.keys():
        raise ValueError(
            f"accuracy must hold the names of energy, {', '.join(energies)}. "
            f"Received: {', '.join(accuracies)}"
        )
    points = {}
    for name, given in energies.items():
        joules = numbers("energy", given, 1, "(points,)").astype(np.float64)
        values = numbers("accuracy", accuracies.get(name, accuracy), 1, "(points,)")
        if joules.shape != values.shape or joules.ndim != 1:
            raise ValueError(
                "energy and accuracy must have one axis, and the same length. Received: "
                f"{joules.shape} and {values.shape}"
            )
        if not (np.isfinite(joules) & (joules > 0)).all():
            raise ValueError(f"energy must be positive and finite, in joules. Received: {given!r}")
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(f"accuracy must be from 0 to 1. Received: {accuracy!r}")
        points[name] = (joules, values)
    return points


def _front(joules: Any, values: Any) -> list[int]:
    """Return the indices of the points that no other point beats, the cheapest first."""
    best, front = -1.0, []
    for index in np.lexsort((-values, joules)):
        if values[index] > best:
            best = values[index]
            front.append(int(index))
    return front


def _write(axis: Any, labels: Sequence[object], joules: Any, values: Any) -> None:
    """Write a label below and to the right of every point."""
    if len(labels) != len(joules):
        raise ValueError(
            f"labels must have one entry per point ({len(joules)}). Received: {len(labels)}"
        )
    for text, x, y in zip(labels, joules, values, strict=True):
        axis.annotate(
            str(text), (x, y), (5, -11), textcoords="offset points", fontsize=9, color=GREY
        )


def _dress(axis: Any) -> None:
    """Label the axes; energies get prefixes, as in 2 µJ."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    axis.set_xscale("log")
    low, high = axis.get_xlim()
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 50 else (1,)))
    axis.xaxis.set_major_formatter(EngFormatter(unit="J"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.margins(x=0.12)
    axis.grid(color=GRID, linewidth=0.8)
    axis.set_xlabel("estimated energy per inference (J)")
    axis.set_ylabel("accuracy (%)")
    legend_above(axis)
