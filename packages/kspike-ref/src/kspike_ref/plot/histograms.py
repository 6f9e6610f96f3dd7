"""Histograms of firing rates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from kspike_ref.arguments import check_count, told_options
from kspike_ref.plot.look import COLORS, legend_above, numbers, panels, series

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@told_options
def rates(
    spikes: ArrayLike | Mapping[str, ArrayLike],
    bins: int = 20,
    axes: Axes | None = None,
) -> Axes:
    """Draw the distribution of the neurons' mean firing rates, for every layer.

    Parameters
    ----------
    spikes : (examples, steps, *units) array_like, or dict of str to array_like
        Outputs of a spiking layer, with spikes of height 1/dt; or of several layers, by name.
        Their mean over examples and time is a neuron's rate in Hz; negative spikes count as
        spikes. Multiply spikes of height 1 by 1/dt.
    bins : int
        The number of bins between 0 and the highest rate.
    axes : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes. The legend shows the mean of a layer and the fraction of its silent neurons.

    Raises
    ------
    TypeError
        If ``spikes`` do not hold real numbers.
    ValueError
        If they have fewer than three axes or no elements, or ``bins`` is not positive.

    Examples
    --------
    >>> import numpy as np, kspike_ref
    >>> from kspike_ref import plot
    >>> hz = np.broadcast_to(np.float32([0, 20, 40]), (4, 100, 3))
    >>> spikes, _ = kspike_ref.spiking_activation(hz, seed=0)
    >>> axes = plot.rates({"hidden": spikes})
    >>> axes.get_legend().get_texts()[0].get_text()
    'hidden: mean 20 Hz, 33% silent'
    """
    bins = check_count("bins", bins, 1)
    found = {name: _rates_of(values) for name, values in series("spikes", spikes).items()}
    (axis,) = panels(axes, 3.0)
    highest = max(float(each.max()) for each in found.values())
    edges = np.linspace(0, highest or 1.0, bins + 1)
    for row, (name, each) in enumerate(found.items()):
        color = COLORS[row % len(COLORS)]
        shares = np.histogram(each, edges)[0] * (100 / each.size)
        silent = np.mean(each == 0)
        text = f"mean {each.mean():.3g} Hz, {silent:.0%} silent"
        axis.stairs(
            shares,
            edges,
            label=f"{name}: {text}" if name else text,
            color=color,
            fill=len(found) == 1,
            linewidth=1.8,
        )
    axis.set_xlim(0, edges[-1])
    axis.set_ylim(bottom=0)
    axis.set_xlabel("mean firing rate of a neuron (Hz)")
    axis.set_ylabel("neurons (%)")
    legend_above(axis, columns=1)
    return axis


def _rates_of(spikes: ArrayLike) -> np.ndarray[Any, Any]:
    """Return the mean rate of every neuron."""
    array = numbers("spikes", spikes, 3, "(examples, steps, units)")
    flat = np.abs(array.reshape(*array.shape[:2], -1))
    means: np.ndarray[Any, Any] = flat.mean(axis=(0, 1), dtype=np.float64)
    return means
