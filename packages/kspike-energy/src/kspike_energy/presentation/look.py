"""The look of figures, which is that of ``kspike_ref.plot``: colours, axes, legends, prefixes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "COLORS",
    "GREY",
    "GRID",
    "SETTINGS",
    "WIDTH",
    "legend_above",
    "new_axes",
    "write_energies",
]

#: Colours that people with any kind of colour vision can distinguish, in their order of use.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")
GREY = "#767676"
GRID = "#E3E3E3"
WIDTH = 4.5  # inches: shrunk to the width of a phone, letters are still legible

# Equal to the settings of `kspike_ref.plot.style`, which this package cannot import.
SETTINGS = {
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
    "figure.figsize": (WIDTH, 3.0),
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


def new_axes(height: float, install: str) -> Axes:
    """Return the axes of a new figure in the look of the project.

    Parameters
    ----------
    height : float
        The figure's height in inches.
    install : str
        What to install if Matplotlib is missing, for the message.

    Raises
    ------
    ImportError
        If Matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"plots need Matplotlib: pip install '{install}'") from error
    with mpl.rc_context(SETTINGS):
        return Figure(figsize=(WIDTH, height)).add_subplot()


def write_energies(axes: Axes, unit: str = "J", numbers: int | None = None) -> None:
    """Write the numbers of a logarithmic axis with prefixes, as in 2 µJ.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Axes whose horizontal axis is logarithmic.
    unit : str, optional
        The unit.
    numbers : int, optional
        How many numbers there may be; by default as many as have room.
    """
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    low, high = axes.get_xlim()
    subs: Sequence[float] = (1, 2, 5) if high / low < 50 else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=numbers))
    axes.xaxis.set_major_formatter(EngFormatter(unit=unit))
    axes.xaxis.set_minor_formatter(NullFormatter())


def legend_above(axes: Axes, columns: int = 2, **options: Any) -> None:
    """Put the legend above the axes, where it covers nothing."""
    axes.legend(
        frameon=False, ncols=columns, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2,
        handlelength=1.2, columnspacing=1.2, **options,
    )  # fmt: skip
