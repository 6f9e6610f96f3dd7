"""Raw results on disk, and statistics of them: medians, ratios, ranges."""

# ruff: noqa: RUF001 (the report is set with real multiplication signs and dashes)

from __future__ import annotations

import dataclasses
import json
import pathlib
import statistics
import time
from collections.abc import Iterable
from typing import Any

from benchmarks.works import Work

Result = dict[str, Any]


class Store:
    """A folder with one JSON file per piece of work.

    Parameters
    ----------
    folder : pathlib.Path
        The folder, created if it does not exist.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def _path(self, name: str) -> pathlib.Path:
        return self.folder / f"{name}.json"

    def has(self, name: str) -> bool:
        """Return whether this has been measured."""
        return self._path(name).exists()

    def load(self, name: str) -> Result | None:
        """Return a raw result, or ``None``."""
        return dict(json.loads(self._path(name).read_text())) if self.has(name) else None

    def save(self, name: str, result: Result) -> None:
        """Save a raw result atomically: after a killed process it is complete or missing."""
        written = self._path(name).with_suffix(".part")
        written.write_text(json.dumps(result, indent=1) + "\n")
        written.replace(self._path(name))

    def put_aside(self, names: Iterable[str]) -> None:
        """Move results into a separate folder, so that they are measured again."""
        found = [self._path(name) for name in names if self.has(name)]
        aside = self.folder / "earlier" / time.strftime("%Y-%m-%d-%H%M%S")
        for path in found:
            aside.mkdir(parents=True, exist_ok=True)
            path.rename(aside / path.name)

    def everything(self) -> dict[str, Result]:
        """Return all raw results by name."""
        return {p.stem: dict(json.loads(p.read_text())) for p in sorted(self.folder.glob("*.json"))}

    def group(self, group: str) -> list[Result]:
        """Return the results of a group of work, sorted by size."""
        loaded = (
            dict(json.loads(path.read_text())) for path in self.folder.glob(f"{group}.*.json")
        )
        return sorted(loaded, key=lambda r: [r["work"][k] for k in ("batch", "steps", "units")])


@dataclasses.dataclass(frozen=True)
class Timing:
    """A contestant's times for one piece of work, in seconds."""

    peer: str
    mode: str
    rounds: tuple[float, ...]
    check: dict[str, Any]
    first: float

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)


@dataclasses.dataclass(frozen=True)
class Ratio:
    """Time of a contestant divided by kspike's: median and range over the rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return text such as "7.1× (6.8 to 7.5)"."""
        return f"{number(self.median)}× ({number(self.low)} to {number(self.high)})"


def number(value: float) -> str:
    """Format a number with two or three significant digits."""
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def seconds(value: float) -> str:
    """Format a time with its unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{number(value / size)} {unit}"
    return f"{value * 1e9:.0f} ns"


def timings(result: Result) -> list[Timing]:
    """Return the timings of all contestants that finished, in the order of the result."""
    return [
        Timing(e["peer"], e["mode"], tuple(e["rounds"]), e["check"], e["first"])
        for e in result["entries"]
        if e["rounds"] and "failed" not in e
    ]


def best(result: Result, peer: str) -> Timing | None:
    """Return the fastest mode of a contestant; ``None`` if there is none."""
    modes = [timing for timing in timings(result) if timing.peer == peer]
    return min(modes, key=lambda timing: timing.median) if modes else None


def ratio(other: Timing, ours: Timing) -> Ratio:
    """Divide round by round, so that slowdowns of the whole machine cancel."""
    each = [a / b for a, b in zip(other.rounds, ours.rounds, strict=True)]
    return Ratio(statistics.median(each), min(each), max(each))


def line(work: Work, result: Result) -> str:
    """Return a one-line summary of a result."""
    parts = []
    for entry in result["entries"]:
        who = f"{entry['peer']} {entry['mode']}".strip()
        if "failed" in entry:
            parts.append(f"{who} FAILED ({entry['failed'][:120]})")
        elif "slow" in entry:
            parts.append(f"{who} slow ({seconds(entry['warm'])})")
        else:
            parts.append(f"{who} {seconds(statistics.median(entry['rounds']))}")
    return f"{work.name}: " + "; ".join(parts)
