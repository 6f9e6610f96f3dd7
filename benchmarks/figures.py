"""Figures of the report."""

# ruff: noqa: RUF001 (the report is set with real multiplication signs and dashes)

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

from benchmarks import behind
from benchmarks.contestants import BEFORE, LIMITS, OURS, PEERS
from benchmarks.results import Result, Store, best, number, ratio, seconds
from benchmarks.tables import contestants, size
from benchmarks.works import DYNAMICS
from kspike_ref import plot

MODEL = {
    "predict-static": "kspike_ref",
    "predict-varying": "kspike_ref",
    "one-image": "kspike_ref",
    "fit": "kspike_tf",
}
BLUE, RED, GREEN, _, ORANGE, SKY, _ = plot.COLORS
COLOURS = {
    "kspike_ref": BLUE,
    "kspike_tf": SKY,
    "keras_spiking": RED,
    "plain_keras": ORANGE,
    **dict.fromkeys(LIMITS, "#adb5bd"),
}
GREY = "#6c757d"
WIDTH = 4.5  # inches: legible on a phone


def colour(peer: str) -> str:
    """Return the colour of a contestant: kspike is blue."""
    return COLOURS.get(peer, GREY)


def draw(store: Store, folder: pathlib.Path) -> list[pathlib.Path]:
    """Draw all figures for which there are results; return their paths."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with plot.style():
        drawn = {
            "growth": draw_growth(store, plt),
            "forward": draw_layers(store, plt, "forward", "kspike_ref"),
            "gradient": draw_layers(store, plt, "gradient", "kspike_tf"),
            "model": draw_model(store, plt),
            "before": draw_before(store, plt),
        }
        for name, figure in drawn.items():
            if figure is not None:
                path = folder / f"benchmark-{name}.png"
                figure.savefig(path, bbox_inches="tight")
                plt.close(figure)
                paths.append(path)
    return paths


def draw_growth(store: Store, plt: Any) -> Any:
    """Draw time against neuron steps, with steps, batch and units varied one at a time."""
    groups = {axis: store.group(f"growth-{axis}") for axis in ("steps", "batch", "units")}
    groups = {axis: results for axis, results in groups.items() if results}
    if not groups:
        return None
    shape = (WIDTH, 0.6 + 2.1 * len(groups))
    figure, axes = plt.subplots(len(groups), 1, figsize=shape, sharex=True, squeeze=False)
    everybody = contestants([r for results in groups.values() for r in results])
    for panel, (axis, results) in zip(axes[:, 0], groups.items(), strict=True):
        for peer in everybody:
            points = [
                (r["work"]["batch"] * r["work"]["steps"] * r["work"]["units"], t.median)
                for r in results
                if (t := best(r, peer))
            ]
            if points:
                panel.loglog(
                    *zip(*points, strict=True), "o-", color=colour(peer), label=PEERS[peer].title
                )
        panel.set_ylabel(f"seconds\n({axis} varied)")
        panel.grid(which="major")
    axes[-1, 0].set_xlabel("neuron steps, forward pass of the spiking layer")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=2)
    return figure


def draw_layers(store: Store, plt: Any, group: str, ours: str) -> Any:
    """Draw the time ratios of all contestants, at the largest shape of every kind."""
    largest = {r["work"]["kind"]: r for r in store.group(group) if best(r, ours)}
    kinds = sorted(largest, key=lambda kind: DYNAMICS.index(kind.split("-")[0]))
    return draw_ratios(plt, [(largest[kind], ours) for kind in kinds], size)


def draw_model(store: Store, plt: Any) -> Any:
    """Draw the time ratios of all contestants for the trained model."""
    found = {result["work"]["kind"]: result for result in store.group("model")}
    panels = [(found[k], ours) for k, ours in MODEL.items() if k in found and best(found[k], ours)]
    return draw_ratios(plt, panels, images)


def images(result: Result) -> str:
    """Return the number of images, such as "10,000 images"."""
    count = result["work"]["batch"]
    return "1 image" if count == 1 else f"{count:,} images"


def draw_ratios(plt: Any, panels: list[tuple[Result, str]], amount: Callable[[Result], str]) -> Any:
    """Draw one panel per result, with one dot per contestant.

    Parameters
    ----------
    plt : module
        Matplotlib's interface.
    panels : list of (dict, str)
        Raw results, and the contestants whose time is 1.
    amount : callable
        Function from a result to the second half of its panel's title.
    """
    if not panels:
        return None
    rows = [len(contestants([result])) for result, _ in panels]
    heights = [0.9 + 0.26 * count for count in rows]
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(WIDTH, sum(heights)), height_ratios=heights, squeeze=False
    )
    for axis, (result, ours) in zip(axes[:, 0], panels, strict=True):
        draw_dots(axis, result, ours)
        axis.set_title(f"{result['work']['kind']}, {amount(result)}")
    return figure


def draw_dots(axis: Any, result: Result, ours: str) -> None:
    """Draw ratios as dots, with lines for their range over the rounds."""
    reference = best(result, ours)
    peers = contestants([result])
    for row, peer in enumerate(peers):
        found = ratio(best(result, peer), reference)
        axis.plot([found.low, found.high], [row, row], color=colour(peer), linewidth=1.5)
        axis.plot(found.median, row, "o", color=colour(peer), markersize=7)
        text = seconds(reference.median) if peer == ours else f"{number(found.median)}×"
        at = (found.high, row)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # hides the line at 1
        axis.annotate(
            text, at, (7, 0), textcoords="offset points", va="center", fontsize=9, bbox=box
        )
    axis.axvline(1, color=colour(ours), linewidth=1)
    logarithmic(axis, 0.25)
    axis.set_yticks(range(len(peers)), [PEERS[peer].title for peer in peers])
    axis.set_ylim(len(peers) - 0.5, -0.5)
    axis.grid(axis="x")
    axis.set_xlabel(f"time, {PEERS[ours].title} = 1")


def logarithmic(axis: Any, margin: float) -> None:
    """Set a logarithmic scale with plain numbers that do not overlap."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_xscale("log")
    axis.margins(x=margin)
    low, high = axis.get_xlim()
    axis.set_xlim(low, high * (high / low) ** 0.12)  # room for the last number
    subs = (1, 2, 5) if high / low < 100 else (1,)
    axis.xaxis.set_major_locator(LogLocator(subs=subs))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def draw_before(store: Store, plt: Any) -> Any:
    """Draw the times of the worst cases before and now, and of the fastest other contestants."""
    found = behind.changes(store)
    if not found:
        return None
    figure, axis = plt.subplots(figsize=(WIDTH, 1.2 + 0.42 * len(found)))
    for row, change in enumerate(found):
        now, then = change.now.median * 1e3, change.then.median * 1e3
        ours = next(name for name in OURS if name == change.now.peer)
        axis.plot([then, now], [row, row], color="#ced4da", linewidth=3, zorder=1)
        axis.plot(then, row, "o", color=GREY, fillstyle="none", markersize=7)
        axis.plot(now, row, "o", color=colour(ours), markersize=7)
        ends = [now, then]
        if change.rival:
            ends.append(change.rival.median * 1e3)
            axis.plot(ends[-1], row, "|", color=RED, markersize=13, markeredgewidth=2)
        gain = f"{number(ratio(change.then, change.now).median)}×"
        at = (max(ends), row)
        axis.annotate(gain, at, (8, 0), textcoords="offset points", va="center", fontsize=9)
    labels = [f"{PEERS[change.now.peer].title}\n{change.work}" for change in found]
    axis.set_yticks(range(len(found)), labels, fontsize=8.5)
    logarithmic(axis, 0.15)
    axis.set_ylim(len(found) - 0.5, -0.5)
    axis.grid(axis="x")
    axis.set_xlabel("ms; numbers: before / now")
    key = {
        f"at {BEFORE}": {"marker": "o", "color": GREY, "fillstyle": "none"},
        "now": {"marker": "o", "color": BLUE},
        "fastest other": {"marker": "|", "color": RED, "markeredgewidth": 2},
    }
    handles = [plt.Line2D([], [], linestyle="", markersize=9, **look) for look in key.values()]
    figure.legend(handles, list(key), loc="outside upper left", ncols=3, handletextpad=0.2)
    return figure
