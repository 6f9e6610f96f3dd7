"""Figures of the report."""

# ruff: noqa: RUF001 (the report is set with real multiplication signs and dashes)

from __future__ import annotations

import pathlib

from benchmarks.contestants import PEERS
from benchmarks.results import Store, best, ratio
from benchmarks.tables import contestants
from benchmarks.works import DYNAMICS

COLOURS = {
    "kspike_ref": "#2a6f97",
    "kspike_tf": "#61a5c2",
    "keras_spiking": "#c1121f",
    "plain_keras": "#e09f3e",
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
        "forward": draw_ratios(store, plt, "forward", "kspike_ref"),
        "gradient": draw_ratios(store, plt, "gradient", "kspike_tf"),
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


def draw_ratios(store: Store, plt, group: str, ours: str):
    """Draw how many times as long everybody takes, at the largest shape of each kind."""
    largest = {r["work"]["kind"]: r for r in store.group(group) if best(r, ours)}
    results = [largest[kind] for kind in sorted(largest, key=_place)]
    if not results:
        return None
    figure, axes = plt.subplots(
        1, len(results), figsize=(4.2 * len(results), 3.2), squeeze=False, layout="constrained"
    )
    for panel, result in zip(axes[0], results, strict=True):
        reference = best(result, ours)
        peers = contestants([result])
        for row, peer in enumerate(peers):
            found = ratio(best(result, peer), reference)
            panel.plot([found.low, found.high], [row, row], color=colour(peer), linewidth=2)
            panel.plot([found.median], [row], "o", color=colour(peer))
            text, at = f"{found.median:.2g}×", (found.high, row)
            panel.annotate(text, at, (5, 0), textcoords="offset points", va="center", fontsize=8)
        panel.axvline(1, color="#cccccc", linewidth=1, zorder=0)
        panel.set_xscale("log")
        panel.margins(x=0.2)
        panel.set_yticks(range(len(peers)), [PEERS[peer].title for peer in peers])
        panel.invert_yaxis()
        work = result["work"]
        panel.set_title(f"{work['kind']}, {work['batch']}×{work['steps']}×{work['units']}")
        panel.set_xlabel(f"time, {PEERS[ours].title} = 1; range over the rounds")
    return figure


def _place(kind: str) -> int:
    return DYNAMICS.index(kind.split("-")[0])
