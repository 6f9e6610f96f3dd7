"""The files that layers have of their own in an archive, such as vocabularies, read on demand."""

from __future__ import annotations

import stat
import zipfile
from contextlib import ExitStack
from pathlib import Path

from kspike_ref._limits import budget
from kspike_ref.archive import ArchiveError, opened_zip, read_member, read_whole, zip_errors

_ROOT = "assets"


class ZipAssets:
    """The assets in a ``.keras`` file, which is opened when the first is asked for.

    Parameters
    ----------
    place : Path
        The file.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._open = ExitStack()
        self._archive: zipfile.ZipFile | None = None
        self._names: dict[str, int] = {}

    def read(self, path: str) -> bytes | None:
        """Return the contents of a file.

        Parameters
        ----------
        path : str
            Where it is below ``assets/``.

        Returns
        -------
        bytes or None
            None where there is no such file.

        Raises
        ------
        ArchiveError, LimitError
            If it cannot be read, or is larger than a model may have.
        """
        name = "/".join([_ROOT, *_parts(path)])
        with zip_errors():
            if self._archive is None:
                self._archive = self._open.enter_context(opened_zip(self._place))
                for info in self._archive.infolist():
                    self._names[info.filename] = self._names.get(info.filename, 0) + 1
            if name not in self._names:
                return None
            if self._names[name] > 1:
                raise ArchiveError(f"{name} is there more than once in the archive")
            budget().read_asset(self._archive.getinfo(name).file_size, name)
            return read_member(self._archive, name, self._place.stat().st_size)

    def close(self) -> None:
        """Close the file."""
        self._open.close()
        self._archive, self._names = None, {}


class FolderAssets:
    """The assets in a folder.

    Parameters
    ----------
    place : Path
        The folder.
    """

    def __init__(self, place: Path) -> None:
        self._place = place

    def read(self, path: str) -> bytes | None:
        """Return the contents of a file, as `ZipAssets.read`; no link is followed."""
        place = self._place
        parts = [_ROOT, *_parts(path)]
        for i, part in enumerate(parts):
            place = place / part
            try:
                status = place.lstat()
            except FileNotFoundError:
                return None
            except OSError as error:
                raise ArchiveError(f"{part} cannot be read: {error.strerror}") from None
            is_last = i == len(parts) - 1
            if not (stat.S_ISREG if is_last else stat.S_ISDIR)(status.st_mode):
                kind = "regular file" if is_last else "folder"
                raise ArchiveError(f"{'/'.join(parts[: i + 1])} must be a {kind}")
        budget().read_asset(status.st_size, "/".join(parts))
        return read_whole(place, status.st_size)

    def close(self) -> None:
        """Do nothing: no file stays open."""


def _parts(path: str) -> list[str]:
    """Return the names in a path; refuse those that lead elsewhere."""
    parts = path.split("/")
    if any(part in ("", ".", "..") or "\\" in part or ":" in part for part in parts):
        raise ArchiveError(f"a name that leaves the archive: {path!r:.80}")
    return parts
