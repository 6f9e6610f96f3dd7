"""File of the finished points of a sweep, from which an interrupted sweep resumes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kspike_tf.sweeping.result import Point

_START = '{"key": "'  # of every line, even one that was cut off
_FIELDS = {field.name for field in dataclasses.fields(Point)}


class Journal:
    """A file with one JSON object per line: a key, and a finished point.

    Parameters
    ----------
    path : path_like
        The file, which need not exist.
    identity : list
        Everything that the points depend on, apart from ``dt``, ``scale`` and the number of steps.

    Raises
    ------
    OSError
        If the file cannot be written.
    ValueError
        If it contains anything other than points.
    """

    def __init__(self, path: str | os.PathLike[str], identity: list[Any]) -> None:
        self.path, self._identity = Path(path), identity
        self._points: dict[str, Point] = {}
        with self.path.open("ab"):  # fail before the first pass, not after it
            pass
        text = self.path.read_bytes().decode("utf-8", errors="replace")
        self._is_whole = text[-1:] in ("", "\n")  # otherwise its last line was cut off
        for line in text.split("\n"):
            self._read(line)

    def _read(self, line: str) -> None:
        """Read a point; the process may have ended while it wrote the line."""
        try:
            entry = json.loads(line)
        except ValueError:
            if line and not _START.startswith(line[: len(_START)]):
                raise self._error(line) from None
            return
        if not isinstance(entry, dict) or set(entry) != {"key", "point"}:
            raise self._error(line)
        point = entry["point"]
        if isinstance(point, dict) and set(point) == _FIELDS:  # others are from another version
            self._points[entry["key"]] = Point(**point)

    def _error(self, line: str) -> ValueError:
        return ValueError(
            "resume must be a file written by sweep, or a path that does not exist yet. "
            f"Received: resume={str(self.path)!r}, with the line {line[:40]!r}"
        )

    def _key(self, dt: float | None, scale: float, steps: int) -> str:
        text = json.dumps([self._identity, dt, scale, steps])
        return hashlib.sha256(text.encode()).hexdigest()

    def find(self, dt: float | None, scale: float, timesteps: Sequence[int]) -> dict[int, Point]:
        """Return the finished points, by number of steps."""
        keys = {steps: self._key(dt, scale, steps) for steps in timesteps}
        return {n: self._points[key] for n, key in keys.items() if key in self._points}

    def add(self, dt: float | None, scale: float, points: Mapping[int, Point]) -> None:
        """Append finished points."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write("" if self._is_whole else "\n")
            self._is_whole = True
            for steps, point in points.items():
                entry = {"key": self._key(dt, scale, steps), "point": dataclasses.asdict(point)}
                file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())
