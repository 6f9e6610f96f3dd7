"""Sections on the cases where kspike is slower than others, and on how they have changed."""

# ruff: noqa: RUF001 (the report is set with real multiplication signs and dashes)

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from benchmarks.contestants import BEFORE, LIMITS, OURS, PEERS, WORST, before
from benchmarks.results import Ratio, Result, Store, Timing, best, ratio, seconds, timings
from benchmarks.tables import contestants, markdown, titled


@dataclasses.dataclass(frozen=True)
class Behind:
    """A package of kspike that takes longer than another contestant.

    Parameters
    ----------
    work : str
        Title of the work.
    ours, other : Timing
        Both in their fastest modes.
    ratio : Ratio
        The other's time divided by ours, with a median below 1.
    """

    work: str
    ours: Timing
    other: Timing
    ratio: Ratio


def find(results: Iterable[Result]) -> list[Behind]:
    """Return every pair in which kspike is slower, the worst first.

    Parameters
    ----------
    results : iterable of dict
        Raw results of timed work.
    """
    found = []
    for result in results:
        others = [name for name in contestants([result]) if name not in OURS]
        for name in OURS:
            ours = best(result, name)
            for other in (best(result, peer) for peer in others if ours):
                against = ratio(other, ours)
                if against.median < 1:
                    found.append(Behind(titled(result), ours, other, against))
    return sorted(found, key=lambda behind: behind.ratio.median)


def _table(found: Iterable[Behind]) -> str:
    rows = [
        [
            b.work,
            f"{_name(b.ours)}, {seconds(b.ours.median)}",
            f"{_name(b.other)}, {seconds(b.other.median)}",
            str(b.ratio),
        ]
        for b in found
    ]
    return markdown(["work", "kspike", "faster", "its time, kspike's = 1"], rows)


def _name(timing: Timing) -> str:
    title = PEERS[timing.peer].title
    return f"{title} ({timing.mode})" if timing.mode else title


def section(results: Iterable[Result]) -> Iterator[str]:
    """Yield the section that lists where kspike is behind, if there are results."""
    results = list(results)
    if not results:
        return
    found = find(results)
    peers = [b for b in found if b.other.peer not in LIMITS]
    limits = [b for b in found if b.other.peer in LIMITS]
    yield (
        "## Where kspike is behind\n\nEvery pair in which a package of kspike takes longer than "
        f"somebody else, the worst first: {len(peers)} times a peer, {len(limits)} times a "
        "limit: what the machine allows, or a network without spikes."
    )
    if peers:
        yield "### Behind a peer\n\n" + _table(peers)
    if limits:
        yield "### Behind a limit\n\n" + _table(limits)


@dataclasses.dataclass(frozen=True)
class Change:
    """A package of kspike before and after a change, and the fastest other contestant.

    Parameters
    ----------
    work : str
        Title of the work.
    then, now : Timing
        At ``BEFORE`` and in the working tree, measured in turns.
    rival : Timing or None
        The fastest other contestant.
    """

    work: str
    then: Timing
    now: Timing
    rival: Timing | None


def changes(store: Store) -> list[Change]:
    """Return the changes of ``WORST`` that were measured at both commits."""
    found = []
    for name, works in WORST.items():
        for work in works:
            result = store.load(work)
            if result is None:
                continue
            then, now = best(result, before(name)), best(result, name)
            if then is None or now is None:
                continue
            others = [t for t in timings(result) if not _is_ours(t.peer)]
            rival = min(others, key=lambda timing: timing.median, default=None)
            found.append(Change(titled(result), then, now, rival))
    return found


def _is_ours(name: str) -> bool:
    return name in OURS or bool(PEERS[name].commit)


def before_and_after(store: Store) -> Iterator[str]:
    """Yield the section on the cases that were furthest behind, if there are results."""
    found = changes(store)
    if not found:
        return
    rows = []
    for change in found:
        row = [
            change.work,
            PEERS[change.now.peer].title,
            seconds(change.then.median),
            seconds(change.now.median),
            str(ratio(change.then, change.now)),
        ]
        if change.rival:
            gain = [str(ratio(change.rival, timing)) for timing in (change.then, change.now)]
            row += [f"{_name(change.rival)}, {seconds(change.rival.median)}", *gain]
        else:
            row += ["–"] * 3
        rows.append(row)
    header = ["work", "", "before", "after", "before, after = 1", "fastest other"]
    header += ["other, before = 1", "other, after = 1"]
    yield (
        "## Before and after\n\nThe cases that were furthest behind, measured in turns with the "
        f"sources of commit {BEFORE}, in the same environments.\n\n"
        "![Before and after](figures/benchmark-before.png)\n\n" + markdown(header, rows)
    )
