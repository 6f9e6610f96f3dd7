"""Figures of energy estimates, drawn with Matplotlib (``kspike-energy[plots]``).

Energies span many decades, so every figure has dots on a logarithmic axis. A line through a dot
spans the figures of different sources, or the prediction interval of a fit. Round dots are spiking
devices, and square dots are ordinary ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kspike_energy.model_energy import ModelEnergy
from kspike_energy.presentation import look
from kspike_energy.presentation.comparison import Comparison
from kspike_energy.presentation.units import plural, si
from kspike_energy.settings import steps_passed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_break_even", "plot_devices", "plot_layers"]

_SPIKING, _ORDINARY = look.COLORS[:2]
_SYNOPS, _NEURONS = look.COLORS[0], look.COLORS[4]
_TEXT = 9  # points
_CHARACTERS = 40  # in a line of the key
_TICKS = 6  # with numbers, at most


def _axes(axes: Axes | None, rows: int) -> Axes:
    """Return the axes to draw on; None makes new ones, with room for a number of rows."""
    return look.new_axes(1.7 + 0.34 * rows, "kspike-energy[plots]") if axes is None else axes


def _finish(axes: Axes, names: Sequence[str], label: str, title: str = "", unit: str = "") -> None:
    """Label the rows from the top down; set up the logarithmic axis, the key and a title."""
    axes.set_yticks(range(len(names)), list(reversed(names)), fontsize=_TEXT)
    axes.set_ylim(-0.6, len(names) - 0.2)  # the top row has a number above its dot
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.set_xlabel(label, fontsize=_TEXT)
    axes.grid(axis="y", lw=0.6, color=look.GRID)
    axes.tick_params(which="both", labelsize=_TEXT)
    if unit:
        look.write_energies(axes, unit, _TICKS)
    texts = axes.get_legend_handles_labels()[1]
    columns = max(1, min(len(texts), _CHARACTERS // max(map(len, texts), default=1)))
    look.legend_above(axes, columns, fontsize=_TEXT)
    lines = math.ceil(len(texts) / columns)
    axes.set_title(title, fontsize=_TEXT + 1, loc="left", pad=6 + 1.6 * _TEXT * lines)


def plot_devices(comparison: Comparison, axes: Axes | None = None) -> Axes:
    """Draw the energy per inference on every device, with its range.

    Parameters
    ----------
    comparison : Comparison
        From `ModelEnergy.compare`.
    axes : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes; ``axes.figure.savefig(path)`` saves them.
    """
    axes = _axes(axes, len(comparison.devices))
    places = {d.device: i for i, d in enumerate(reversed(comparison.devices))}
    ranged = [d for d in comparison.devices if d.low < d.high]
    if ranged:
        axes.hlines(
            [places[d.device] for d in ranged],
            [d.low for d in ranged],
            [d.high for d in ranged],
            color="black",
            lw=1,
            label="range of figures",
        )
    for spiking, marker, color in ((True, "o", _SPIKING), (False, "s", _ORDINARY)):
        shown = [d for d in comparison.devices if d.spiking is spiking]
        if shown:
            axes.plot(
                [d.energy for d in shown],
                [places[d.device] for d in shown],
                marker,
                color=color,
                label="spiking" if spiking else "ordinary",
            )
    for device in comparison.devices:
        note = "" if device.neurons_included else ", synaptic only"
        place = (device.energy, places[device.device])
        axes.annotate(
            f"{si(device.energy)}{note}", place, (-4, 5), textcoords="offset points",
            ha="left", fontsize=_TEXT,
        )  # fmt: skip
    arithmetic = {device.model for device in comparison.devices} == {"operations"}
    steps = plural(comparison.timesteps, "step")
    _finish(
        axes,
        [device.device for device in comparison.devices],
        f"estimated energy per inference (J){'; arithmetic only' if arithmetic else ''}",
        f"{comparison.network}: {steps} of {si(comparison.dt, 's')}",
        unit="J",
    )
    return axes


def plot_layers(
    energy: ModelEnergy,
    device: str,
    timesteps_per_inference: int | None = None,
    dt: float | None = None,
    axes: Axes | None = None,
    *,
    timesteps: int | None = None,
) -> Axes:
    """Draw the energy of every layer on one device, synaptic operations and unit updates apart.

    Parameters
    ----------
    energy : ModelEnergy
        The estimate.
    device : str
        Name of a device.
    timesteps_per_inference, dt, timesteps
        As in `ModelEnergy.layer_energy`.
    axes : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    known = [layer for layer in energy.network.layers if not layer.problem]
    costly = [layer for layer in known if layer.connections or layer.neurons]
    figures = energy.devices.get_device(device)
    axes = _axes(axes, len(costly))
    steps = steps_passed(timesteps_per_inference, timesteps)
    pairs = [energy.layer_energy(x, device, steps, dt) for x in costly]
    rows = list(reversed(range(len(costly))))
    unknown = " (no figure published)" if figures.energy_per_neuron is None else ""
    for part, name, marker, color in (
        (0, "synaptic operations", "o", _SYNOPS),
        (1, f"unit updates{unknown}", "s", _NEURONS),
    ):
        shown = [(pair[part], row) for pair, row in zip(pairs, rows, strict=True) if pair[part]]
        values, places = zip(*shown, strict=True) if shown else ((), ())
        axes.plot(values, places, marker, color=color, label=name)
    gaps = len(energy.network.gaps)
    _finish(
        axes,
        [layer.name for layer in costly],
        f"estimated energy per inference on {device} (J)",
        f"leaves out {plural(gaps, 'layer')}" if gaps else "",
        unit="J",
    )
    return axes


def plot_break_even(comparison: Comparison, axes: Axes | None = None) -> Axes:
    """Draw the measured rate of every layer, and the rates below which spiking pays off.

    Parameters
    ----------
    comparison : Comparison
        From `ModelEnergy.compare`, with a spiking device and an ordinary baseline.
    axes : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.

    Raises
    ------
    ValueError
        If the comparison has no spiking device or no ordinary baseline.
    """
    names = list(dict.fromkeys(layer.layer for layer in comparison.layers))
    devices = list(dict.fromkeys(layer.device for layer in comparison.layers))
    if not names:
        raise ValueError("comparison must hold a spiking device and a baseline that is not spiking")
    axes = _axes(axes, len(names))
    places = {name: len(names) - 1 - index for index, name in enumerate(names)}
    for marker, device in zip(_markers(devices), devices, strict=True):
        rows = [r for r in comparison.layers if r.device == device]
        shown = [r for r in rows if r.break_even_rate is not None and r.break_even_rate > 0]
        axes.plot(
            [r.break_even_rate for r in shown],
            [places[r.layer] for r in shown],
            marker,
            color=_SPIKING,
            fillstyle="none",
            label=f"{device} is cheaper left of this mark",
        )
    measured = {r.layer: r.rate for r in comparison.layers if r.rate}
    heights = [places[name] for name in measured]
    axes.plot(list(measured.values()), heights, "o", color=_NEURONS, label="measured")
    rival = comparison.quantised
    label = f"below: less than a {rival.bits}-bit network"
    axes.axvspan(rival.low / comparison.dt, rival.high / comparison.dt, alpha=0.15, color="black")
    axes.axvline(rival.spikes / comparison.dt, color="black", lw=0.8, ls=":", label=label)
    _finish(axes, names, f"firing rate of the layer's input (Hz); baseline {comparison.baseline}")
    return axes


def _markers(devices: Sequence[str]) -> list[str]:
    shapes = "s^Dv<>ph*X"
    return [shapes[index % len(shapes)] for index in range(len(devices))]
