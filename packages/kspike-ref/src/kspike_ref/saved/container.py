"""The files in a ``.keras`` archive, or in a folder with the same contents.

Model files are treated as untrusted. Nothing in them is executed or imported, nothing is written to
disk, and only three files are read, besides the vocabularies that layers request (`saved.assets`).
The expanded size of a file is limited before it is read.
"""

from __future__ import annotations

import json
import os
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from kspike_ref.saved import limits
from kspike_ref.saved.errors import ArchiveError

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_END_SIZE, _MAX_COMMENT, _LOCATOR_SIZE = 22, 0xFFFF, 20  # bytes, at the end of a zip file


def read_files(files: Zip | Folder) -> dict[str, bytes]:
    """Return the three files of a model.

    Parameters
    ----------
    files : Zip or Folder
        A ``.keras`` file, or a folder with the same contents.

    Returns
    -------
    dict of str to bytes
        `CONFIG`, `METADATA` and `WEIGHTS`.

    Raises
    ------
    ArchiveError
        If a file is missing, damaged or too large.
    """
    contents = {}
    for name in (CONFIG, METADATA, WEIGHTS):
        size = files.size(name)
        if size is None:
            raise ArchiveError(f"{name} is missing in the {files.kind}")
        contents[name] = files.read(name, size)
    return contents


class Folder:
    """The files in a folder; links are not followed.

    Parameters
    ----------
    place : Path
        The folder.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self.kind = f"folder {str(place)!r}"

    def size(self, name: str) -> int | None:
        """Return the size of a regular file, or None if there is no file; refuse anything else."""
        place, size = self._place, 0
        parts = name.split("/")
        for i, part in enumerate(parts):
            place = place / part
            try:
                status = place.lstat()
            except FileNotFoundError:
                return None
            except OSError as error:
                raise ArchiveError(f"{part} cannot be read: {error.strerror}") from None
            is_last = i == len(parts) - 1
            # A link leads elsewhere, and a pipe never ends.
            if not (stat.S_ISREG if is_last else stat.S_ISDIR)(status.st_mode):
                kind = "regular file" if is_last else "folder"
                raise ArchiveError(
                    f"{'/'.join(parts[: i + 1])} must be a {kind} in the {self.kind}"
                )
            size = status.st_size
        return size

    def read(self, name: str, size: int) -> bytes:
        """Return the contents of a file whose size is known from `size`."""
        if name != WEIGHTS and size > limits.MAX_JSON:
            raise ArchiveError(f"{name} has {size} bytes, more than {limits.MAX_JSON}")
        return read_whole(self._place / name, size)


def read_whole(place: Path, size: int) -> bytes:
    """Return the contents of a regular file of a known size; refuse a file that changes."""
    try:
        with place.open("rb") as file:
            data = file.read(size + 1)
    except OSError as error:
        raise ArchiveError(f"{place.name} cannot be read: {error.strerror}") from None
    if len(data) != size:
        raise ArchiveError(f"{place.name} changed while it was read")
    return data


@contextmanager
def _zip_errors() -> Iterator[None]:
    """Raise errors of the zip reader in the block as `ArchiveError`."""
    try:
        yield
    except ArchiveError:
        raise
    except (
        zipfile.BadZipFile, zlib.error, EOFError, ValueError, OverflowError, OSError, UnicodeError,
        RuntimeError,  # encrypted; NotImplementedError: another compression
    ) as error:  # fmt: skip
        raise ArchiveError(f"not a readable .keras file: {error}") from None


class Zip:
    """The files in an archive whose list of files is within the limits.

    Parameters
    ----------
    file : file object
        The archive. It stays open, so a file that replaces it meanwhile is not read.

    Raises
    ------
    ArchiveError
        If it is not a zip file, or its list of files is too long.
    """

    kind = "archive"

    @_zip_errors()
    def __init__(self, file: IO[bytes]) -> None:
        self._file_size = os.fstat(file.fileno()).st_size
        _check_directory(file, self._file_size)
        self._zip = zipfile.ZipFile(file)
        self._names = Counter(info.filename for info in self._zip.infolist())
        for name in self._names:
            parts = name.replace("\\", "/").split("/")
            if ".." in parts or name[:1] in ("/", "\\") or ":" in parts[0]:
                raise ArchiveError(f"a file name may point outside the archive: {name!r}")

    def size(self, name: str) -> int | None:
        """Return the size that the archive states for a file, or None if there is no such file."""
        if self._names[name] > 1:
            raise ArchiveError(f"{name} occurs more than once in the archive")
        return self._zip.getinfo(name).file_size if name in self._names else None

    @_zip_errors()
    def read(self, name: str, size: int) -> bytes:
        """Return the contents of a file, after checking its sizes.

        Parameters
        ----------
        name : str
            The name of a file in the archive.
        size : int
            Its size, from `size`.

        Returns
        -------
        bytes
            The contents, no longer than the limits allow.

        Raises
        ------
        ArchiveError
            If the file would expand to more, or to less than the archive says.
        """
        info = self._zip.getinfo(name)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ArchiveError(f"{name} is compressed in a way that Keras does not use")
        limit = max(limits.MAX_EXPANDED, limits.MAX_RATIO * info.compress_size)
        limit = limit if name == WEIGHTS else limits.MAX_JSON
        if info.compress_size > self._file_size or size > limit:
            raise ArchiveError(
                f"{name} claims to expand from {info.compress_size} to {size} bytes, "
                f"more than an archive of {self._file_size} bytes may"
            )
        with self._zip.open(info) as member:
            data = member.read(size + 1)  # never more than that, whatever the stream says
        if len(data) != size:
            raise ArchiveError(f"{name} is truncated: {len(data)} of {size} bytes")
        return data


def _check_directory(file: IO[bytes], file_size: int) -> None:
    """Refuse a list of files that is too long, before `zipfile` makes an object per file."""
    tail_size = min(file_size, _END_SIZE + _MAX_COMMENT + _LOCATOR_SIZE)
    file.seek(file_size - tail_size)
    tail = file.read(tail_size)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + _END_SIZE > len(tail):
        raise ArchiveError(f"not a .keras file: {_why_no_directory(file)}")
    count = int.from_bytes(tail[at + 10 : at + 12], "little")
    size = int.from_bytes(tail[at + 12 : at + 16], "little")
    if tail[max(0, at - _LOCATOR_SIZE) : at].startswith(b"PK\6\7") or size == 0xFFFFFFFF:
        # zipfile would use the second list, with 64-bit numbers, instead of this one.
        raise ArchiveError(
            "the archive uses zip64, the format for files over 4 GB: unzip it and load the folder"
        )
    if count > limits.MAX_MEMBERS or size > limits.MAX_DIRECTORY:
        raise ArchiveError(
            f"the archive holds {count} files, and their list {size} bytes: too many"
        )
    end = file_size - tail_size + at
    file.seek(max(0, end - size))
    listed = file.read(min(size, end)).count(b"PK\1\2")  # zipfile uses the list, not the count
    if listed > limits.MAX_MEMBERS:
        raise ArchiveError(f"the archive holds {listed} files: too many")
    file.seek(0)


def _why_no_directory(file: IO[bytes]) -> str:
    """Return why a file does not end with a list of files."""
    file.seek(0)
    head = file.read(12)
    if head.startswith(b"PK"):
        return "it is cut off, without the list of files at its end; copy or download it again"
    return f"it begins with {head!r}, and not with b'PK' as every .keras file"


def read_json(data: bytes, name: str) -> dict[str, Any]:
    """Parse a JSON object, within the limits.

    Parameters
    ----------
    data : bytes
        The text.
    name : str
        The name of the file or attribute, for messages.

    Returns
    -------
    dict
        The object.

    Raises
    ------
    ArchiveError
        If the text is something else, or exceeds the limits.
    """
    if len(data) > limits.MAX_JSON:
        raise ArchiveError(f"{name} has {len(data)} bytes, more than {limits.MAX_JSON}")
    tokens = sum(data.count(mark) for mark in (b"{", b"[", b",", b":"))
    if tokens > limits.MAX_TOKENS:
        raise ArchiveError(
            f"{name} holds {tokens} lists, objects and values; at most {limits.MAX_TOKENS} are read"
        )
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ArchiveError(f"{name} is not readable JSON: {error}") from None
    if not isinstance(value, dict):
        raise ArchiveError(f"{name} must hold an object. Received: {type(value).__name__}")
    if _is_deep(value):  # functions that call themselves for every level rely on this
        raise ArchiveError(f"{name} is nested too deeply: more than {limits.MAX_DEPTH} levels")
    return value


def _is_deep(value: dict[str, Any]) -> bool:
    """Return whether lists and objects have more than `limits.MAX_DEPTH` levels."""
    level: list[Any] = [value]
    for _ in range(limits.MAX_DEPTH):
        level = [
            item
            for one in level
            for item in (one.values() if isinstance(one, dict) else one)
            if isinstance(item, dict | list)
        ]
    return bool(level)
