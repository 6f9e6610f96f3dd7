"""Files that layers saved beside the weights, such as vocabularies, read on demand."""

from __future__ import annotations

import stat
from contextlib import ExitStack
from pathlib import Path

from kspike_ref.saved.container import (
    Zip,
    identity,
    opened_zip,
    read_member,
    read_whole,
    zip_errors,
)
from kspike_ref.saved.errors import ArchiveError
from kspike_ref.saved.limits import budget

_ROOT = "assets"


class ZipAssets:
    """The assets in a ``.keras`` file, which is opened at the first request.

    Parameters
    ----------
    place : Path
        The file.
    known : tuple of int
        Its `container.identity` when its other contents were read.
    """

    def __init__(self, place: Path, known: tuple[int, ...]) -> None:
        self._place, self._known = place, known
        self._open = ExitStack()
        self._archive: Zip | None = None
        self._names: dict[str, int] = {}

    def holds(self, path: str) -> bool:
        """Return whether there is a file below ``assets/``."""
        with zip_errors():
            self._list()
            return "/".join([_ROOT, *_parts(path)]) in self._names

    def _list(self) -> Zip:
        """Open the archive and list its names at the first call; return the archive."""
        if self._archive is None:
            self._archive = self._open.enter_context(opened_zip(self._place))
            if identity(self._archive.status) != self._known:
                raise ArchiveError(f"{self._place.name} changed while it was read")
            for info in self._archive.infolist():
                self._names[info.filename] = self._names.get(info.filename, 0) + 1
        return self._archive

    def read(self, path: str) -> bytes | None:
        """Return the contents of a file.

        Parameters
        ----------
        path : str
            Its path below ``assets/``.

        Returns
        -------
        bytes or None
            None if there is no such file.

        Raises
        ------
        ArchiveError
            If it cannot be read, or is larger than the limit.
        """
        name = "/".join([_ROOT, *_parts(path)])
        with zip_errors():
            archive = self._list()
            if name not in self._names:
                return None
            if self._names[name] > 1:
                raise ArchiveError(f"{name} occurs more than once in the archive")
            budget().read_asset(archive.getinfo(name).file_size, name)
            return read_member(archive, name)

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

    def holds(self, path: str) -> bool:
        """Return whether there is a file below ``assets/``."""
        return self._find(path) is not None

    def read(self, path: str) -> bytes | None:
        """Return the contents of a file, as `ZipAssets.read` does; links are not followed."""
        size = self._find(path)
        if size is None:
            return None
        budget().read_asset(size, f"{_ROOT}/{path}")
        return read_whole(self._place.joinpath(_ROOT, path), size)

    def _find(self, path: str) -> int | None:
        """Return the size of a regular file, or None if there is no file; refuse anything else."""
        place, size = self._place, 0
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
            size = status.st_size
        return size

    def close(self) -> None:
        """Do nothing: no file stays open."""


def _parts(path: str) -> list[str]:
    """Return the parts of a path; refuse a path that leads out of the archive."""
    parts = path.split("/")
    if any(part in ("", ".", "..") or "\\" in part or ":" in part for part in parts):
        raise ArchiveError(f"a file name may point outside the archive: {path!r:.80}")
    return parts
