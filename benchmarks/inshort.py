"""The report in five lines, with ratios to the fastest other contestant."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator

from benchmarks import behind
from benchmarks.contestants import LIMITS, OURS, PEERS
from benchmarks.results import Result, Store, best, number, ratio, seconds
from benchmarks.tables import contestants


def in_short(store: Store) -> str:
    """Return a section of at most five lines, one per kind of work that has results."""
    lines = [line for line in _lines(store) if line]
    return "## In short\n\n" + "\n".join(f"- {line}" for line in lines) if lines else ""


def _lines(store: Store) -> Iterator[str]:
    yield _layers(store.group("forward"), "kspike_ref", "Layers, forward")
    yield _layers(store.group("gradient"), "kspike_tf", "Layers, forward and backward")
    model = {result["work"]["kind"]: result for result in store.group("model")}
    yield _model(
        [model[kind] for kind in ("one-image", "predict-static") if kind in model],
        {"one-image": "One image through a trained model", "predict-static": "10,000 images"},
    )
    if first := store.load("costs.first-call"):
        entries = [e for e in first["entries"] if e["kind"] == "one-image" and e["rounds"]]
        times = {(e["peer"], e["cache"]): statistics.median(e["rounds"]) for e in entries}
        wanted = {("kspike_ref", "warm"): "kspike_ref", ("kspike_tf", ""): "kspike_tf"}
        parts = [f"{name} {seconds(times[key])}" for key, name in wanted.items() if key in times]
        if parts:
            yield f"**From the start of a process to the first answer**: {', '.join(parts)}."
    timed = [r for r in store.everything().values() if "work" in r and not r["work"]["once"]]
    found = [b for b in behind.find(timed) if b.other.peer not in LIMITS]
    yield (
        f"**Behind others** in {len(found)} cases, listed under "
        "[Where kspike is behind](#where-kspike-is-behind)."
        if found
        else ""
    )


def _layers(results: Iterable[Result], ours: str, title: str) -> str:
    """Return a line with the range of ratios between the fastest other contestant and ours."""
    ratios = [found for result in results if (found := _fastest_other(result, ours))]
    if not ratios:
        return ""
    low, high = min(ratios), max(ratios)
    return (
        f"**{title}**: {ours} is {number(low[0])} to {number(high[0])} times as fast as the "
        f"fastest other package ({low[1]} at the lower end, {high[1]} at the upper)."
    )


def _model(results: Iterable[Result], titles: dict[str, str]) -> str:
    parts = []
    for result in results:
        mine = best(result, "kspike_ref")
        found = _fastest_other(result, "kspike_ref")
        if mine and found:
            parts.append(
                f"**{titles[result['work']['kind']]}** in kspike_ref: {seconds(mine.median)}; "
                f"the fastest other, {found[1]}, takes {number(found[0])} times as long"
            )
    return "; ".join(parts) + "." if parts else ""


def _fastest_other(result: Result, ours: str) -> tuple[float, str] | None:
    """Return the time ratio of the fastest other contestant, and its title."""
    mine = best(result, ours)
    others = [name for name in contestants([result]) if name not in OURS + tuple(LIMITS)]
    found = [
        (ratio(other, mine).median, PEERS[name].title)
        for name in others
        if mine and (other := best(result, name))
    ]
    return min(found) if found else None
