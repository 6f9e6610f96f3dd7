"""Figures of energy estimates, drawn with Matplotlib (``kspike-energy[plots]``).

Energies span many decades, so every figure has dots on a logarithmic axis. A line through a dot
spans the figures of different sources, or the prediction interval of a fit. Filled dots are spiking
devices, and hollow ones are ordinary devices.
"""

from collections.abc import Sequence
from typing import Any

from kspike_energy.model_energy import ModelEnergy
from kspike_energy.presentation.comparison import Comparison
from kspike_energy.presentation.units import si
from kspike_energy.settings import steps_passed

__all__ = ["plot_break_even", "plot_devices", "plot_layers"]

_SPIKING, _ORDINARY = "#0072B2", "#6c757d"
_SYNOPS, _NEURONS = "#0072B2", "#E69F00"


def _axes(axes: Any, height: float) -> Any:
    """Return the axes to draw on; None makes new ones."""
    if axes is not None:
        return axes
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need Matplotlib: pip install 'kspike-energy[plots]'") from error
    figure = Figure(figsize=(7, height), layout="constrained")
    return figure.add_subplot()


def _finish(axes: Any, names: Sequence[str], label: str) -> None:
    """Label the rows from the top down, and set up the logarithmic axis and the legend."""
    axes.set_yticks(range(len(names)), list(reversed(names)), fontsize=8)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.set_xlabel(label)
    axes.grid(axis="y", lw=0.4, alpha=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))


def plot_devices(comparison: Comparison, axes: Any = None) -> Any:
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
    axes = _axes(axes, 1.4 + 0.34 * len(comparison.devices))
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
    for spiking, color in ((True, _SPIKING), (False, _ORDINARY)):
        shown = [d for d in comparison.devices if d.spiking is spiking]
        if shown:
            axes.plot(
                [d.energy for d in shown],
                [places[d.device] for d in shown],
                "o",
                color=color,
                markerfacecolor=color if spiking else "white",
                label="spiking" if spiking else "ordinary",
            )
    for device in comparison.devices:
        note = "" if device.neurons_included else ", synaptic only"
        place = (device.energy, places[device.device])
        axes.annotate(
            f"{si(device.energy)}{note}", place, (0, 5), textcoords="offset points",
            ha="center", fontsize=7,
        )  # fmt: skip
    arithmetic = {device.model for device in comparison.devices} == {"operations"}
    axes.set_title(
        f"{comparison.network}: {comparison.timesteps} steps of {si(comparison.dt, 's')}",
        fontsize=10,
    )
    _finish(
        axes,
        [device.device for device in comparison.devices],
        f"estimated energy per inference [J]{'; arithmetic only' if arithmetic else ''}",
    )
    return axes


def plot_layers(
    energy: ModelEnergy,
    device: str,
    timesteps_per_inference: int | None = None,
    dt: float | None = None,
    axes: Any = None,
    *,
    timesteps: int | None = None,
) -> Any:
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
    axes = _axes(axes, 1.4 + 0.3 * len(costly))
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
    if energy.network.gaps:
        axes.set_title(f"leaves out {len(energy.network.gaps)} layers", fontsize=9, loc="right")
    _finish(
        axes,
        [layer.name for layer in costly],
        f"estimated energy per inference on {device} [J]",
    )
    return axes


def plot_break_even(comparison: Comparison, axes: Any = None) -> Any:
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
    rival = comparison.quantised
    label = f"below: less than a {rival.bits}-bit network"
    axes.axvspan(rival.low / comparison.dt, rival.high / comparison.dt, alpha=0.15, color="black")
    axes.axvline(rival.spikes / comparison.dt, color="black", lw=0.8, ls=":", label=label)
    _finish(axes, names, f"firing rate of the layer's input [Hz]; baseline {comparison.baseline}")
    return axes


def _markers(devices: Sequence[str]) -> list[str]:
    shapes = "s^Dv<>ph*X"
    return [shapes[index % len(shapes)] for index in range(len(devices))]
