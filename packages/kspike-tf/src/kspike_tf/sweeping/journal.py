"""File of the finished points of a sweep, from which an interrupted sweep resumes."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from kspike_tf.sweeping.result import Point

_START = '{"key": "'  # of every line, even one that was cut off
_FIELDS = {field.name for field in dataclasses.fields(Point)}


class Journal:
    """A file with one JSON object per line: a key, and a finished point.

    Parameters
    ----------
    path : path_like or None
        The file, which need not exist; None stores nothing.

    Raises
    ------
    OSError
        If the file cannot be written.
    ValueError
        If it contains anything other than points.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self._is_whole = True
        self.path = None if path is None else Path(path)
        self._points: dict[str, dict[str, Any]] = {}
        if self.path is None:
            return
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
            self._points[entry["key"]] = point

    def _error(self, line: str) -> ValueError:
        return ValueError(
            "resume must be a file written by sweep, or a path that does not exist yet. "
            f"Received: resume={str(self.path)!r}, with the line {line[:40]!r}"
        )

    def find(self, key: str) -> dict[str, Any] | None:
        """Return the point of a key, or None if it is not finished."""
        return self._points.get(key)

    def add(self, key: str, point: dict[str, Any]) -> None:
        """Append a finished point."""
        if self.path is None:
            return
        self._points[key] = point
        text = json.dumps({"key": key, "point": point})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{text}\n" if self._is_whole else f"\n{text}\n")
            self._is_whole = True
            file.flush()
            os.fsync(file.fileno())
