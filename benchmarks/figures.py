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

MODEL = {
    "predict-static": "kspike_ref",
    "predict-varying": "kspike_ref",
    "one-image": "kspike_ref",
    "fit": "kspike_tf",
}
COLOURS = {
    "kspike_ref": "#2a6f97",
    "kspike_tf": "#61a5c2",
    "keras_spiking": "#c1121f",
    "plain_keras": "#e09f3e",
    **dict.fromkeys(LIMITS, "#adb5bd"),
}


def colour(peer: str) -> str:
    """Return the colour of a contestant: kspike is blue."""
    return COLOURS.get(peer, "#6c757d")


def draw(store: Store, folder: pathlib.Path) -> list[pathlib.Path]:
    """Draw everything for which there are results; return the paths of the figures."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(
        {"axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 120, "font.size": 9}
    )
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {
        "growth": draw_growth(store, plt),
        "forward": draw_layers(store, plt, "forward", "kspike_ref"),
        "gradient": draw_layers(store, plt, "gradient", "kspike_tf"),
        "model": draw_model(store, plt),
        "before": draw_before(store, plt),
    }
    paths = []
    for name, figure in drawn.items():
        if figure is not None:
            path = folder / f"benchmark-{name}.png"
            figure.savefig(path, bbox_inches="tight")
            plt.close(figure)
            paths.append(path)
    return paths


def draw_growth(store: Store, plt):
    """Draw time against neuron steps, for steps, batch and units varied alone."""
    groups = {axis: store.group(f"growth-{axis}") for axis in ("steps", "batch", "units")}
    groups = {axis: results for axis, results in groups.items() if results}
    if not groups:
        return None
    figure, axes = plt.subplots(
        1,
        len(groups),
        figsize=(3.6 * len(groups), 3.6),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    everybody = contestants([r for results in groups.values() for r in results])
    for panel, (axis, results) in zip(axes[0], groups.items(), strict=True):
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
        panel.set_title(f"{axis} varied alone")
        panel.set_xlabel("neuron steps")
        panel.grid(which="major", color="#eeeeee")
    axes[0, 0].set_ylabel("seconds, forward pass of the spiking layer")
    axes[0, -1].legend(frameon=False, fontsize=8)
    return figure


def draw_layers(store: Store, plt: Any, group: str, ours: str) -> Any:
    """Draw how many times as long everybody takes, at the largest shape of each kind."""
    largest = {r["work"]["kind"]: r for r in store.group(group) if best(r, ours)}
    kinds = sorted(largest, key=lambda kind: DYNAMICS.index(kind.split("-")[0]))
    return draw_ratios(plt, [(largest[kind], ours) for kind in kinds], size)


def draw_model(store: Store, plt: Any) -> Any:
    """Draw how many times as long everybody takes for the trained model."""
    found = {result["work"]["kind"]: result for result in store.group("model")}
    panels = [(found[k], ours) for k, ours in MODEL.items() if k in found and best(found[k], ours)]
    return draw_ratios(plt, panels, lambda result: f"{result['work']['batch']:,} images")


def draw_ratios(plt: Any, panels: list[tuple[Result, str]], amount: Callable[[Result], str]) -> Any:
    """Draw a panel for each result, with bars to the left and to the right of one of ours.

    Parameters
    ----------
    plt : module
        Matplotlib's interface.
    panels : list of (dict, str)
        Raw results, each with the contestant whose time is 1.
    amount : callable
        Takes a result, returns the second half of its panel's title.
    """
    if not panels:
        return None
    columns = min(len(panels), 3) if len(panels) != 4 else 2
    rows = -(-len(panels) // columns)
    longest = max(len(contestants([result])) for result, _ in panels)
    shape = (4.2 * columns, (0.9 + 0.25 * longest) * rows)
    figure, axes = plt.subplots(rows, columns, figsize=shape, squeeze=False, layout="constrained")
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for axis, (result, ours) in zip(axes.flat, panels, strict=False):
        draw_bars(axis, result, ours)
        axis.set_title(f"{result['work']['kind']}, {amount(result)}")
    return figure


def draw_bars(axis: Any, result: Result, ours: str) -> None:
    """Draw ratios as bars that begin at 1, with their range over the rounds."""
    reference = best(result, ours)
    peers = contestants([result])
    for row, peer in enumerate(peers):
        found = ratio(best(result, peer), reference)
        axis.barh(row, found.median - 1, left=1, color=colour(peer), height=0.62)
        axis.plot([found.low, found.high], [row, row], color="#343a40", linewidth=1)
        text = seconds(reference.median) if peer == ours else f"{number(found.median)}×"
        at = (max(found.high, 1), row)
        axis.annotate(text, at, (5, 0), textcoords="offset points", va="center", fontsize=8)
    axis.axvline(1, color=colour(ours), linewidth=1.5)
    logarithmic(axis, 0.25)
    axis.set_yticks(range(len(peers)), [PEERS[peer].title for peer in peers])
    axis.invert_yaxis()
    axis.set_xlabel(f"time, {PEERS[ours].title} = 1")


def logarithmic(axis: Any, margin: float) -> None:
    """Set a logarithmic scale whose numbers are written out and do not touch each other."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_xscale("log")
    axis.margins(x=margin)
    low, high = axis.get_xlim()
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 100 else (1,)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def draw_before(store: Store, plt: Any) -> Any:
    """Draw the time before and after what was done about the worst, and the fastest rival's."""
    found = behind.changes(store)
    if not found:
        return None
    height = 1.0 + 0.5 * len(found)
    figure, axis = plt.subplots(figsize=(7.2, height), layout="constrained")
    for row, change in enumerate(found):
        now, then = change.now.median * 1e3, change.then.median * 1e3
        ours = next(name for name in OURS if name == change.now.peer)
        axis.barh(row - 0.19, then, color="#ced4da", height=0.36)
        axis.barh(row + 0.19, now, color=colour(ours), height=0.36)
        gain = f"{number(ratio(change.then, change.now).median)}×"
        at = (max(now, then, change.rival.median * 1e3 if change.rival else 0), row)
        axis.annotate(gain, at, (5, 0), textcoords="offset points", va="center", fontsize=8)
        if change.rival:
            rival = change.rival.median * 1e3
            axis.plot([rival, rival], [row - 0.4, row + 0.4], color="#c1121f", linewidth=2)
    labels = [f"{PEERS[change.now.peer].title}\n{change.work}" for change in found]
    axis.set_yticks(range(len(found)), labels, fontsize=8)
    logarithmic(axis, 0.2)
    axis.invert_yaxis()
    axis.set_xlabel(
        f"ms; grey: at {BEFORE}; blue: now; red: the fastest of all others; before / now"
    )
    return figure
