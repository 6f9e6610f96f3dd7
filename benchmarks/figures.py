"""Figures of the report."""

# ruff: noqa: RUF001 (the report is set with real multiplication signs and dashes)

from __future__ import annotations

import pathlib

from benchmarks.results import Store, best, ratio
from benchmarks.session import PEERS
from benchmarks.tables import contestants

OURS = {"kspike_ref": "#2a6f97", "kspike_tf": "#61a5c2"}
OTHERS = ("#c1121f", "#6c757d", "#e09f3e", "#9e2a2b", "#540b0e", "#7f5539", "#344e41", "#b5838d")


def colours(peers: list[str]) -> dict[str, str]:
    """Return a colour for each contestant; kspike is blue."""
    rest = iter(OTHERS * 3)
    return {peer: OURS.get(peer) or next(rest) for peer in peers}


def draw(store: Store, folder: pathlib.Path) -> list[pathlib.Path]:
    """Draw everything for which there are results; return the paths of the figures."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 120})
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
    colour = colours(everybody)
    for panel, (axis, results) in zip(axes[0], groups.items(), strict=True):
        for peer in everybody:
            points = [
                (r["work"]["batch"] * r["work"]["steps"] * r["work"]["units"], t.median)
                for r in results
                if (t := best(r, peer))
            ]
            if points:
                panel.loglog(
                    *zip(*points, strict=True), "o-", color=colour[peer], label=PEERS[peer].title
                )
        panel.set_title(f"{axis} varied alone")
        panel.set_xlabel("neuron steps")
        panel.grid(which="major", color="#eeeeee")
    axes[0, 0].set_ylabel("seconds, forward pass of the spiking layer")
    axes[0, -1].legend(frameon=False, fontsize=8)
    return figure


def draw_ratios(store: Store, plt, group: str, ours: str):
    """Draw how many times as long everybody takes, at the largest shape of each kind."""
    results = {}
    for result in store.group(group):
        if best(result, ours):
            results[result["work"]["kind"]] = result
    if not results:
        return None
    figure, axes = plt.subplots(
        1, len(results), figsize=(4.2 * len(results), 3.2), squeeze=False, layout="constrained"
    )
    for panel, (kind, result) in zip(axes[0], results.items(), strict=True):
        peers = contestants([result])
        colour = colours(peers)
        reference = best(result, ours)
        found = [ratio(best(result, peer), reference) for peer in peers]
        middles = [r.median for r in found]
        spread = [
            [r.median - r.low for r in found],
            [r.high - r.median for r in found],
        ]
        titles = [PEERS[peer].title for peer in peers]
        bars = panel.barh(titles, middles, xerr=spread, color=[colour[p] for p in peers])
        panel.bar_label(bars, [f"{m:.2g}×" for m in middles], padding=4, fontsize=8)
        panel.set_xscale("log")
        panel.set_xlim(right=max(middles) * 3)
        panel.invert_yaxis()
        work = result["work"]
        panel.set_title(f"{kind}, {work['batch']}×{work['steps']}×{work['units']}", fontsize=10)
        panel.set_xlabel(f"time, {PEERS[ours].title} = 1")
    return figure
