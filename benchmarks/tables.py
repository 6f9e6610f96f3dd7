"""Markdown tables of raw results, for the report."""

# ruff: noqa: RUF001 (the report is set with real multiplication signs and dashes)

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.contestants import PEERS
from benchmarks.results import Result, Timing, best, number, ratio, seconds, timings

Row = Sequence[str]


def markdown(header: Row, rows: Iterable[Row]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def size(result: Result) -> str:
    """Return the size of a piece of work, such as "32×1,000×128"."""
    work = result["work"]
    return f"{work['batch']:,}×{work['steps']:,}×{work['units']:,}"


def titled(result: Result) -> str:
    """Return the kind and size of a piece of work, such as "spiking 32×1,000×128"."""
    return f"{result['work']['kind']} {size(result)}"


def cell(timing: Timing | None, ours: Timing | None) -> str:
    """Return a time, and its ratio to ours with the range over the rounds."""
    if timing is None:
        return "–"
    if ours is None or timing == ours:
        return seconds(timing.median)
    return f"{seconds(timing.median)} · {ratio(timing, ours)}"


def contestants(results: Iterable[Result]) -> list[str]:
    """Return the contestants with a time in any of the results, in the order of ``PEERS``.

    Earlier versions of kspike are left out: they have their own section.
    """
    found = {timing.peer for result in results for timing in timings(result)}
    return [name for name in PEERS if name in found and not PEERS[name].commit]


def side_by_side(
    results: Sequence[Result], ours: str, heading: Callable[[Result], str] = size
) -> str:
    """Return a table of fastest modes, with a row per contestant and a column per piece of work.

    Parameters
    ----------
    results : sequence of dict
        Raw results.
    ours : str
        The contestant that the ratios refer to.
    heading : callable
        Function from a result to the heading of its column.
    """
    rows = []
    for peer in contestants(results):
        times = [best(result, peer) for result in results]
        modes = {timing.mode for timing in times if timing and timing.mode}
        name = PEERS[peer].title + (f" ({'; '.join(sorted(modes))})" if modes else "")
        cells = [cell(t, best(r, ours)) for t, r in zip(times, results, strict=True)]
        checks = [t.check for t in times if t]
        rows.append([f"**{name}**" if peer == ours else name, *cells, checked(checks)])
    return markdown(["", *map(heading, results), "agreement"], rows)


def checked(checks: Sequence[dict[str, Any]]) -> str:
    """Return the worst findings of the checks, in words."""
    said = []
    if off := [c["spikes_off"] for c in checks if "spikes_off" in c]:
        said.append(f"counts within {max(off):.2f}")
    if errors := [c["error"] for c in checks if "error" in c]:
        said.append(f"error {max(errors):.0e}")
    if same := [c["agreement"] for c in checks if "agreement" in c]:
        said.append(f"same answers {min(same):.1%}")
    return ", ".join(said)


def every_mode(results: Iterable[Result]) -> str:
    """Return a table of all modes of all contestants, not only of the fastest."""
    rows = []
    for result in results:
        for entry in result["entries"]:
            if "failed" in entry:
                continue
            times = entry["rounds"]
            if times:
                cells = [seconds(statistics.median(times))]
                cells.append(f"{seconds(min(times))} to {seconds(max(times))}")
            else:
                cells = [seconds(entry["warm"]), "one call, far slower than another mode"]
            rows.append([titled(result), PEERS[entry["peer"]].title, entry["mode"] or "–", *cells])
    return markdown(["work", "contestant", "mode", "median", "range"], rows)


def growth(results: Sequence[Result]) -> str:
    """Return a table of times by the number of neuron steps."""
    peers = contestants(results)
    rows = []
    for result in results:
        times = [best(result, peer) for peer in peers]
        ours = best(result, "kspike_ref")
        rows.append([size(result), *(cell(timing, ours) for timing in times)])
    return markdown(["batch×steps×units", *(PEERS[peer].title for peer in peers)], rows)


def accuracy(result: Result) -> str:
    """Return a table of the accuracies of the same training recipe."""
    rows = []
    for timing in timings(result):
        found = timing.check["accuracies"]
        spread = f"{min(found):.1%} to {max(found):.1%}"
        rows.append([PEERS[timing.peer].title, f"{statistics.mean(found):.1%}", spread])
    return markdown(["", "mean accuracy", "range over seeds"], rows)


def energy(result: Result) -> str:
    """Return a table of energy estimates by device, and of the time that they took."""
    found = timings(result)
    devices = list(found[0].check) if found else []
    rows = [
        [PEERS[t.peer].title, *(f"{t.check[d]:.4e}" for d in devices), seconds(t.median)]
        for t in found
    ]
    return markdown(["joules per inference", *devices, "time of the estimate"], rows)


def costs(entries: Iterable[dict[str, Any]]) -> str:
    """Return a table of times of fresh processes: imports or first calls."""
    rows = []
    for entry in entries:
        if not entry["rounds"]:
            continue
        title = PEERS[entry["peer"]].title if entry["peer"] in PEERS else entry["peer"]
        note = f" ({entry['cache']} cache)" if entry.get("cache") else ""
        low, high = seconds(min(entry["rounds"])), seconds(max(entry["rounds"]))
        middle = seconds(statistics.median(entry["rounds"]))
        rows.append([title + note, middle, f"{low} to {high}"])
    return markdown(["", "median", "range"], rows)


def sizes(entries: Iterable[dict[str, Any]]) -> str:
    """Return a table of installed sizes."""
    rows = [[e["peer"], f"{number(e['bytes'] / 1e6)} MB"] for e in entries]
    return markdown(["installed, with all dependencies", "size"], rows)


def memory(entries: Sequence[dict[str, Any]]) -> str:
    """Return a table of the peak memory that a call adds, in multiples of the layer's output."""
    kinds = list(dict.fromkeys(entry["kind"] for entry in entries))
    peers = [name for name in PEERS if any(entry["peer"] == name for entry in entries)]
    found = {
        (e["peer"], e["kind"]): (e["peak"] - e["before"]) / e["output"]
        for e in entries
        if "failed" not in e and e["peak"]
    }
    rows = [
        [
            PEERS[peer].title,
            *(f"{found[peer, k]:.1f}×" if (peer, k) in found else "–" for k in kinds),
        ]
        for peer in peers
    ]
    return markdown(["peak memory added, in sizes of the output", *kinds], rows)


def failures(results: Iterable[Result]) -> list[str]:
    """Return the reasons why work could not be measured, one line each."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for result in results:
        for name, why in result.get("missing", {}).items():
            reasons.setdefault((PEERS[name].title, why), [])
        for entry in result["entries"]:
            if "failed" in entry:
                title = PEERS[entry["peer"]].title if entry["peer"] in PEERS else entry["peer"]
                where = result["work"]["kind"] if "work" in result else entry["kind"]
                key = (f"{title} {entry.get('mode', '')}".strip(), entry["failed"].splitlines()[0])
                reasons.setdefault(key, []).append(where)
    return [
        f"- {who}{': ' + ', '.join(sorted(set(where))) if where else ''}: {why}"
        for (who, why), where in reasons.items()
    ]
