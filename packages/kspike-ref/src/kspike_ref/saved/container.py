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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from kspike_ref.saved import limits
from kspike_ref.saved.errors import ArchiveError

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_FILES = (CONFIG, METADATA, WEIGHTS)
_END_SIZE, _MAX_COMMENT, _LOCATOR_SIZE = 22, 0xFFFF, 20  # bytes, at the end of a zip file


def read_files(place: Path) -> dict[str, bytes]:
    """Return the three files of a model.

    Parameters
    ----------
    place : Path
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
    if place.is_dir():
        return {name: _read_in_folder(place, name) for name in _FILES}
    with zip_errors(), opened_zip(place) as archive:
        return {name: read_member(archive, name) for name in _FILES}


def _read_in_folder(folder: Path, name: str) -> bytes:
    place = folder / name
    try:
        status = place.lstat()
    except OSError:
        raise ArchiveError(f"{name} is missing in the folder {str(folder)!r}") from None
    if not stat.S_ISREG(status.st_mode):  # a link leads elsewhere, a pipe never ends
        raise ArchiveError(f"{name} must be a regular file in the folder {str(folder)!r}")
    if name != WEIGHTS and status.st_size > limits.MAX_JSON:
        raise ArchiveError(f"{name} has {status.st_size} bytes, more than {limits.MAX_JSON}")
    return read_whole(place, status.st_size)


def read_whole(place: Path, size: int) -> bytes:
    """Return the contents of a file; refuse a file that changes meanwhile.

    Parameters
    ----------
    place : Path
        A regular file.
    size : int
        Its size in bytes.

    Returns
    -------
    bytes
        Its contents.

    Raises
    ------
    ArchiveError
        If it cannot be read, or has another size.
    """
    try:
        with place.open("rb") as file:
            data = file.read(size + 1)
    except OSError as error:
        raise ArchiveError(f"{place.name} cannot be read: {error.strerror}") from None
    if len(data) != size:
        raise ArchiveError(f"{place.name} changed while it was read")
    return data


@contextmanager
def zip_errors() -> Iterator[None]:
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


def identity(status: os.stat_result) -> tuple[int, ...]:
    """Return values that distinguish a file from one that replaces it."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class Zip(zipfile.ZipFile):
    """An archive that is open for reading, even if its path leads to another file by now.

    Parameters
    ----------
    file : file object
        The archive.

    Attributes
    ----------
    status : os.stat_result
        The status of the open file.
    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.status = os.fstat(file.fileno())


@contextmanager
def opened_zip(place: Path) -> Iterator[Zip]:
    """Open an archive whose list of files is within the limits."""
    with place.open("rb") as file:
        _check_directory(file, os.fstat(file.fileno()).st_size)
        with Zip(file) as archive:
            _check_names([info.filename for info in archive.infolist()])
            yield archive


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


def _check_names(names: list[str]) -> None:
    for name in names:
        parts = name.replace("\\", "/").split("/")
        if ".." in parts or name[:1] in ("/", "\\") or ":" in parts[0]:
            raise ArchiveError(f"a file name may point outside the archive: {name!r}")
    for name in _FILES:
        if names.count(name) != 1:
            found = "is missing" if name not in names else "occurs more than once"
            raise ArchiveError(f"{name} {found} in the archive")


def read_member(archive: Zip, name: str) -> bytes:
    """Return the contents of a file in an archive, after checking its sizes.

    Parameters
    ----------
    archive : Zip
        The archive.
    name : str
        The name of a file in the archive.

    Returns
    -------
    bytes
        The contents, no longer than the limits allow.

    Raises
    ------
    ArchiveError
        If the file would expand to more, or to less than the archive says.
    """
    info = archive.getinfo(name)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ArchiveError(f"{name} is compressed in a way that Keras does not use")
    limit = max(limits.MAX_EXPANDED, limits.MAX_RATIO * info.compress_size)
    limit = limit if name == WEIGHTS else limits.MAX_JSON
    archive_size = archive.status.st_size
    if info.compress_size > archive_size or info.file_size > limit:
        raise ArchiveError(
            f"{name} claims to expand from {info.compress_size} to {info.file_size} bytes, "
            f"more than an archive of {archive_size} bytes may"
        )
    with archive.open(info) as member:
        data = member.read(info.file_size + 1)  # never more than that, whatever the stream says
    if len(data) != info.file_size:
        raise ArchiveError(f"{name} is truncated: {len(data)} of {info.file_size} bytes")
    return data


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
    return value
