"""Figures of energy estimates; they need Matplotlib (``kspike-energy[plots]``).

Energies span many decades, so their axes are logarithmic. A thin line across a bar spans the
figures of different sources for the device. Filled bars are spiking devices, hollow bars others.
"""

from collections.abc import Sequence
from typing import Any

from kspike_energy.model_energy import ModelEnergy
from kspike_energy.presentation.comparison import QUANTISED_SPIKES, Comparison

__all__ = ["plot_break_even", "plot_devices", "plot_layers"]

_SPIKING, _ORDINARY = "#2a6f97", "#6c757d"
_SYNOPS, _NEURONS = "#2a6f97", "#e07a5f"


def _axes(axes: Any, height: float) -> Any:
    """Return the axes to draw on; new ones for None."""
    if axes is not None:
        return axes
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need Matplotlib: pip install 'kspike-energy[plots]'") from error
    figure = Figure(figsize=(7, height), layout="constrained")
    return figure.add_subplot()


def plot_devices(comparison: Comparison, axes: Any = None) -> Any:
    """Draw the energy per inference on every device, with the range of published figures.

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
    axes = _axes(axes, 1.2 + 0.38 * len(comparison.devices))
    devices = list(reversed(comparison.devices))
    for place, device in enumerate(devices):
        color = _SPIKING if device.spiking else _ORDINARY
        fill = color if device.spiking else "white"
        axes.barh(place, device.energy, color=fill, edgecolor=color, height=0.6)
        if device.low < device.high:
            axes.plot([device.low, device.high], [place, place], color="black", lw=1, marker="|")
        note = "" if device.neurons_included else "  synaptic only"
        end = max(device.energy, device.high)
        axes.annotate(
            f" {device.energy:.2g} J{note}", (end, place), va="center", fontsize=8, clip_on=False
        )
    axes.set_yticks(range(len(devices)), [device.device for device in devices])
    axes.set_xscale("log")
    largest = max((device.high for device in comparison.devices), default=1.0)
    smallest = min((d.low for d in comparison.devices if d.low > 0), default=largest)
    axes.set_xlim(smallest / 3, largest * 30)  # room for the labels
    axes.set_xlabel("estimated energy per inference [J]; arithmetic only")
    axes.set_title(
        f"{comparison.network}: {comparison.timesteps} steps of {comparison.dt:g} s", fontsize=10
    )
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def plot_layers(
    energy: ModelEnergy,
    device: str,
    timesteps_per_inference: int = 1,
    dt: float | None = None,
    axes: Any = None,
) -> Any:
    """Draw the energy of every layer on one device, synaptic operations and unit updates apart.

    Parameters
    ----------
    energy : ModelEnergy
        The estimate.
    device : str
        Name of a device.
    timesteps_per_inference, dt
        As of `ModelEnergy.layer_energy`.
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
    axes = _axes(axes, 1.3 + 0.3 * len(costly))
    for place, layer in enumerate(reversed(costly)):
        synop, neuron = energy.layer_energy(layer, device, timesteps_per_inference, dt)
        axes.barh(place, synop, color=_SYNOPS, height=0.6)
        axes.barh(place, neuron, left=synop, color=_NEURONS, height=0.6)
    axes.set_yticks(range(len(costly)), [layer.name for layer in reversed(costly)], fontsize=8)
    axes.set_xlabel(f"estimated energy per inference on {device} [J]")
    handles = [axes.barh(0, 0, color=color) for color in (_SYNOPS, _NEURONS)]
    names = ["synaptic operations", "unit updates"]
    if figures.energy_per_neuron is None:
        names[1] = "unit updates (no figure published)"
    axes.legend(
        handles, names, frameon=False, fontsize=8, ncols=2, loc="lower left", bbox_to_anchor=(0, 1)
    )
    axes.spines[["top", "right"]].set_visible(False)
    if energy.network.gaps:
        axes.set_title(f"leaves out {len(energy.network.gaps)} layers", fontsize=9, loc="right")
    return axes


def plot_break_even(comparison: Comparison, axes: Any = None) -> Any:
    """Draw the measured rate of every layer beside the rates below which spiking pays.

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
        If the comparison has no spiking device, or an ordinary baseline is missing.
    """
    names = list(dict.fromkeys(layer.layer for layer in comparison.layers))
    devices = list(dict.fromkeys(layer.device for layer in comparison.layers))
    if not names:
        raise ValueError("comparison must hold a spiking device and a baseline that is not spiking")
    axes = _axes(axes, 1.6 + 0.34 * len(names))
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
            label=f"{device} pays left of here",
        )
    measured = {r.layer: r.rate for r in comparison.layers if r.rate}
    heights = [places[name] for name in measured]
    axes.plot(list(measured.values()), heights, "o", color=_NEURONS, label="measured")
    quantised = f"{QUANTISED_SPIKES:.0%} per step: a {comparison.quantised_bits}-bit network"
    axes.axvline(QUANTISED_SPIKES / comparison.dt, color="black", lw=0.8, ls=":", label=quantised)
    axes.set_yticks(list(places.values()), list(places), fontsize=8)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xscale("log")
    axes.set_xlabel(f"firing rate of the layer's input [Hz]; baseline {comparison.baseline}")
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _markers(devices: Sequence[str]) -> list[str]:
    shapes = "s^Dv<>ph*X"
    return [shapes[index % len(shapes)] for index in range(len(devices))]
