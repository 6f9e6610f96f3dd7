"""The figures of digits.py: a spike raster, accuracy against energy and steps, energy by device."""

import pathlib

import matplotlib as mpl
import numpy as np
from digits_report import Results

from kspike_ref import plot

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import EngFormatter, LogLocator

BLUE, ORANGE, GREY = plot.COLORS[0], plot.COLORS[1], "#767676"
SPIKING = ("loihi", "spinnaker", "spinnaker2")


def draw_figures(folder: pathlib.Path, results: Results, images: np.ndarray) -> list[pathlib.Path]:
    """Write the three figures as PNG files; return their paths."""
    paths = []
    with plot.style():
        figures = {
            "raster": draw_raster(results, images),
            "accuracy_energy": draw_accuracy(results),
            "energy_by_device": draw_energy(results),
        }
        for name, figure in figures.items():
            paths.append(folder / f"{name}.png")
            figure.savefig(paths[-1], bbox_inches="tight")
            plt.close(figure)
    return paths


def draw_raster(results: Results, images: np.ndarray) -> plt.Figure:
    """Draw three held-out digits, the spikes that they cause, and the resulting scores."""
    chosen = [int(np.flatnonzero(results.labels == label)[0]) for label in (0, 3, 7)]
    figure, axes = plt.subplots(3, 3, figsize=(4.5, 4.6), height_ratios=(0.9, 2.4, 1), sharey="row")
    for column, index in enumerate(chosen):
        digit, raster, scores = axes[:, column]
        digit.imshow(images[index].reshape(8, 8), cmap="gray_r", interpolation="nearest")
        digit.set_axis_off()
        plot.raster(results.reference["spikes"][index], dt=results.dt, axes=raster)
        values = results.reference["scores"][index]
        colors = [ORANGE if label == values.argmax() else GREY for label in range(10)]
        scores.bar(range(10), values, color=colors)
        scores.axhline(0, color=GREY, linewidth=0.8)
        scores.set_xticks(range(0, 10, 3))
        for axis in (raster, scores):
            axis.set_xlabel("")
            axis.set_ylabel("" if column else axis.get_ylabel())
    axes[1, 1].set_xlabel(f"time (ms), in steps of {1000 * results.dt:g} ms")
    axes[2, 0].set_ylabel("score")
    axes[2, 1].set_xlabel("digit (orange: the highest score)")
    return figure


def draw_accuracy(results: Results) -> plt.Figure:
    """Draw accuracy against energy for short and long presentations, and the ordinary network."""
    shown = results.by_steps
    energies = {
        name: [point.joules[device] for point in shown]
        for name, device in (("Loihi", "loihi"), ("SpiNNaker 2", "spinnaker2"))
    }
    accuracies = {name: [point.accuracy for point in shown] for name in energies}
    ordinary = "ordinary network, CPU"
    energies[ordinary] = [results.reference_joules["cpu"]]
    accuracies[ordinary] = [results.ordinary_accuracy]
    axes = plot.accuracy_energy(
        energies,
        accuracies,
        labels=[point.steps for point in shown],
        examples=len(results.labels),
    )
    axes.get_legend().set(ncols=2)
    axes.set_title(
        f"labels: steps of {1000 * results.dt:g} ms; lines: two standard errors",
        fontsize=9,
        color=GREY,
        y=-0.32,
    )
    return axes.figure


def draw_energy(results: Results) -> plt.Figure:
    """Draw the estimated energy of an inference on every device."""
    figure, axes = plt.subplots(figsize=(4.5, 3.0))
    groups = {"as a spiking network": (BLUE, "o"), "as an ordinary network": (ORANGE, "s")}
    rows = dict(sorted(results.reference_joules.items(), key=lambda item: item[1]))
    for row, (device, joules) in enumerate(rows.items()):
        name = list(groups)[device not in SPIKING]
        color, marker = groups[name]
        label = name if name not in axes.get_legend_handles_labels()[1] else None
        axes.plot(joules, row, marker, color=color, markersize=8, label=label)
        text = f"{1e6 * joules:.3g} µJ"
        axes.annotate(text, (joules, row), (9, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xscale("log")
    axes.set_xlim(min(rows.values()) / 2, max(rows.values()) * 12)
    axes.xaxis.set_major_locator(LogLocator(numticks=6))
    axes.xaxis.set_major_formatter(EngFormatter(unit="J"))
    axes.margins(y=0.12)
    axes.grid(axis="x")
    axes.set_xlabel("estimated energy per inference (J)")
    axes.legend(loc="lower left", bbox_to_anchor=(-0.2, 1), ncols=2, handletextpad=0.2, fontsize=9)
    return figure
