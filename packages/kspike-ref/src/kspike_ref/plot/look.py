"""The look of all figures: colours, fonts, axes, and the text on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from kspike_ref.tables import seconds

#: Colours that people with any kind of colour vision can distinguish, in their order of use.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")

GREY = "#767676"
GRID = "#E3E3E3"

# As wide as text on a phone: at 360 pixels, letters are still 11 pixels high.
_WIDTH = 4.5  # inches
_SETTINGS = {
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.grid": False,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "figure.constrained_layout.use": True,
    "figure.dpi": 110,
    "figure.figsize": (_WIDTH, 3.0),
    "font.size": 10,
    "grid.color": GRID,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 6,
    "savefig.dpi": 200,
    "svg.fonttype": "path",
    "svg.hashsalt": "kspike",
    "xtick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.color": GREY,
    "ytick.labelcolor": "black",
}


@contextmanager
def style() -> Iterator[None]:
    """Return a context in which Matplotlib's figures look like those of this module.

    Returns
    -------
    context manager
        Sets Matplotlib's ``rcParams``, and restores them at the end.

    Raises
    ------
    ImportError
        If Matplotlib is not installed.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from kspike_ref import plot
    >>> with plot.style():
    ...     figure, axes = plt.subplots()
    >>> plt.close(figure)
    """
    try:
        import matplotlib as mpl
        from matplotlib.rcsetup import cycler
    except ImportError as error:
        raise ImportError("kspike_ref.plot needs Matplotlib: install kspike-ref[plot]") from error
    with mpl.rc_context({**_SETTINGS, "axes.prop_cycle": cycler(color=COLORS)}):
        yield
        is_interactive = mpl.is_interactive()
    mpl.interactive(is_interactive)  # notebooks turn it on with the first figure


def panels(axes: Any, *heights: float) -> list[Any]:
    """Return the axes to draw on, one below the other.

    Parameters
    ----------
    axes : matplotlib.axes.Axes, sequence of these, or None
        The caller's axes; None for a new figure.
    *heights : float
        The heights in inches of a new figure's axes, one for all that are needed.

    Raises
    ------
    ValueError
        If the caller passed another number of axes.
    """
    if axes is None:
        with style():
            import matplotlib.pyplot as plt

            _, made = plt.subplots(
                len(heights),
                figsize=(_WIDTH, sum(heights)),
                sharex=True,
                squeeze=False,
                height_ratios=heights,
            )
        return list(made[:, 0])
    found = list(np.ravel(np.asarray(axes, dtype=object)))
    if len(found) != len(heights):
        raise ValueError(
            f"axes must hold {len(heights)} axes for this figure. Received: {len(found)}"
        )
    return found


def numbers(name: str, values: Any, least: int, layout: str) -> np.ndarray[Any, Any]:
    """Return an argument as an array of real numbers.

    Parameters
    ----------
    name : str
        The name of the argument, for messages.
    values : array_like
        The argument.
    least : int
        The least number of axes.
    layout : str
        The axes, for messages.

    Raises
    ------
    TypeError
        If it does not hold real numbers.
    ValueError
        If it has fewer axes, or no elements.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers. Received: dtype={array.dtype}")
    if array.ndim < least or not array.size:
        raise ValueError(f"{name} must be {layout}, and not empty. Received: shape={array.shape}")
    return array


def series(name: str, values: Any) -> dict[str, Any]:
    """Return named arrays; a single array has the empty name.

    Parameters
    ----------
    name : str
        The name of the argument, for messages.
    values : array_like, or dict of str to array_like
        The argument.

    Raises
    ------
    ValueError
        If a dictionary is empty.
    """
    if not isinstance(values, Mapping):
        return {"": values}
    if not values:
        raise ValueError(f"{name} must hold an array. Received: an empty dictionary")
    return {str(key): value for key, value in values.items()}


def times(steps: int, dt: float) -> tuple[np.ndarray[Any, Any], str]:
    """Return the ends of a number of time steps of ``dt`` seconds, and their unit."""
    factor, unit = (1.0, "s") if steps * dt >= 2 else (1e3, "ms")
    return np.arange(1, steps + 1) * (dt * factor), unit


def label_time(axes: Any, unit: str, dt: float) -> None:
    """Label a time axis with its unit and the length of a step."""
    axes.set_xlabel(f"time ({unit}), in steps of {seconds(dt)}")


def legend_above(axes: Any, columns: int = 3) -> None:
    """Put the legend above the axes, where it covers nothing."""
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=min(columns, len(handles)),
            frameon=False,
            fontsize=9.5,
            borderaxespad=0.2,
            handlelength=1.2,
            columnspacing=1.2,
        )
