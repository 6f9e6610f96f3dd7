"""Finished points of a sweep in a file, so that an interrupted sweep goes on where it was."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class Journal:
    """A file with one JSON object a line: a key, and a finished point.

    Parameters
    ----------
    path : path_like or None
        The file, which need not exist; None keeps nothing.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self.path = None if path is None else Path(path)
        self._points: dict[str, dict[str, Any]] = {}
        text = self.path.read_text(encoding="utf-8") if self.path and self.path.exists() else ""
        self._is_whole = text[-1:] in ("", "\n")  # otherwise its last line was cut off
        for line in text.splitlines():
            self._read(line)

    def _read(self, line: str) -> None:
        try:
            entry = json.loads(line)
            self._points[entry["key"]] = dict(entry["point"])
        except (ValueError, KeyError, TypeError):
            return  # the process ended while it wrote this line: the point is computed again

    def find(self, key: str) -> dict[str, Any] | None:
        """Return the point of a key, None if it is not finished."""
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
