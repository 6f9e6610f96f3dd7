"""The figures of digits.py: a spike raster, accuracy against dt, energy by device."""

import pathlib

import matplotlib as mpl
import numpy as np
from digits_report import Results

mpl.use("Agg")
import matplotlib.pyplot as plt

BLUE, RED, GREY = "#2a6f97", "#c1121f", "#6c757d"


def draw_figures(
    folder: pathlib.Path, results: Results, images: np.ndarray, accuracies: dict[float, float]
) -> list[pathlib.Path]:
    """Write the three figures as PNG; return where they are."""
    plt.rcParams.update(
        {"axes.spines.top": False, "axes.spines.right": False, "font.size": 10, "figure.dpi": 150}
    )
    figures = {
        "raster": draw_raster(results, images),
        "accuracy_by_dt": draw_accuracy(accuracies, results.dt, len(images)),
        "energy_by_device": draw_energy(results),
    }
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], bbox_inches="tight")
        plt.close(figure)
    return paths


def draw_raster(results: Results, images: np.ndarray) -> plt.Figure:
    """Draw three held-out digits, the spikes that they cause, and the scores that these give."""
    chosen = [int(np.flatnonzero(results.labels == label)[0]) for label in (0, 3, 7)]
    figure, axes = plt.subplots(
        3, len(chosen), figsize=(9, 5.5), height_ratios=(1, 2.4, 1), layout="constrained"
    )
    for column, index in enumerate(chosen):
        digit, raster, scores = axes[:, column]
        digit.imshow(images[index].reshape(8, 8), cmap="gray_r")
        digit.set_axis_off()
        digit.set_title(f"a {results.labels[index]}")
        steps, neurons = np.nonzero(results.reference["spikes"][index])
        raster.scatter(1000 * results.dt * steps, neurons, s=9, c=BLUE, marker="|", linewidths=1.2)
        raster.set_xlabel("time (ms)")
        values = results.reference["scores"][index]
        colours = [RED if digit == values.argmax() else GREY for digit in range(10)]
        scores.bar(range(10), values, color=colours)
        scores.set_xticks(range(10))
        scores.set_xlabel("digit")
    axes[1, 0].set_ylabel("neuron")
    axes[2, 0].set_ylabel("score")
    return figure


def draw_accuracy(accuracies: dict[float, float], trained: float, images: int) -> plt.Figure:
    """Draw the accuracy on held-out digits against the time step, with its standard error."""
    figure, axes = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
    steps = [1000 * dt for dt in accuracies]
    values = np.array(list(accuracies.values()))
    # Binomial: so many images tell the accuracy no better than this.
    errors = np.sqrt(values * (1 - values) / images)
    axes.errorbar(steps, values, errors, fmt="o-", color=BLUE, capsize=3)
    axes.set_xscale("log")
    axes.set_ylim(0.9, 1)
    axes.axvline(1000 * trained, color=GREY, linestyle=":")
    axes.text(1000 * trained * 1.05, 0.905, "trained here", color=GREY)
    axes.set_xticks(steps, [f"{step:g}" for step in steps])
    axes.minorticks_off()
    axes.set_xlabel("time step (ms), each image shown for 100 ms")
    axes.set_ylabel("accuracy on held-out digits")
    return figure


def draw_energy(results: Results) -> plt.Figure:
    """Draw the estimated energy of an inference on each device."""
    figure, axes = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
    spiking = ("loihi", "spinnaker", "spinnaker2")
    # Points, not bars: a logarithmic axis has no zero for a bar to start from.
    for row, (device, joules) in enumerate(results.reference_joules.items()):
        axes.plot(joules, row, "o", color=BLUE if device in spiking else GREY, markersize=9)
        axes.annotate(
            f"{joules:.1e} J", (joules, row), (9, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(range(len(results.reference_joules)), results.reference_joules)
    axes.set_xscale("log")
    axes.set_xlim(right=max(results.reference_joules.values()) * 10)
    axes.margins(y=0.1)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("estimated energy per inference (J)")
    axes.set_title("blue: spiking devices; grey: others, as an ordinary network", fontsize=9)
    return figure
