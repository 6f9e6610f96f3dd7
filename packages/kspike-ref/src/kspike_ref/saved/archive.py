"""The ``.keras`` archive reader, for files and for the same contents in a folder.

Model files are treated as untrusted. Nothing in them is executed or imported, nothing is written to
disk, and only three members are read, besides the vocabularies that layers ask for
(`saved.assets`). What a member may expand to is bounded before it is read.
"""

from __future__ import annotations

import json
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from kspike_ref.saved import hdf5, limits
from kspike_ref.saved.text import printable

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_END_SIZE, _MAX_COMMENT, _LOCATOR_SIZE = 22, 0xFFFF, 20  # of a zip's last record, and before it


class ArchiveError(ValueError):
    """A model file that is damaged, hostile, or not what Keras writes.

    Parameters
    ----------
    message : str
        What is wrong; control characters are escaped, as it may quote the file.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class Archive(NamedTuple):
    """What a ``.keras`` file holds.

    Attributes
    ----------
    config : dict
        The serialised model.
    weights : Weights
        The values of its variables.
    keras_version : str
        The version of Keras that wrote it.
    by_name : bool
        Whether weights are stored under the names of the layers.
    """

    config: dict[str, Any]
    weights: Weights
    keras_version: str
    by_name: bool = False


class Assets(Protocol):
    """What layers saved in files of their own."""

    def holds(self, path: str) -> bool:
        """Return whether there is a file."""

    def read(self, path: str) -> bytes | None:
        """Return the contents of a file, None where there is none."""

    def close(self) -> None:
        """Close what was opened."""


class Weights:
    """The variables in an archive, found by path.

    Parameters
    ----------
    data : bytes
        The contents of ``model.weights.h5``.

    Attributes
    ----------
    assets : Assets or None
        What layers saved in files of their own; None in files that have no place for that.

    Raises
    ------
    ArchiveError
        If they cannot be read.
    """

    repeats_shared = False  # whether the weights of a shared layer are with each that holds it
    is_last_chance = False  # once all layers were tried: shared ones are where they are, or nowhere
    assets: Assets | None = None

    def __init__(self, data: bytes) -> None:
        self._file = guarded(hdf5.File, data)

    def names(self, path: str) -> list[str]:
        """Return the names of the variables at ``path``, in the order Keras numbers them."""
        members = guarded(self._file.children, f"{path}/vars") or {}
        return sorted(members, key=lambda name: (len(name), name))

    def holds(self, path: str) -> bool:
        """Return whether there is a group at ``path``."""
        return guarded(self._file.children, path) is not None

    def has_variables(self, path: str) -> bool:
        """Return whether there are variables at ``path``."""
        return bool(self.names(path))

    def of_layer(
        self, path: str, wanted: dict[str, tuple[int, ...]], layer: str
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Return all weights of one layer, without those of layers within.

        Parameters
        ----------
        path : str
            Where they are.
        wanted : dict of str to tuple of int
            The names and shapes that the configuration makes of them, in Keras' order.
        layer : str
            Whose weights they are, for messages.

        Returns
        -------
        dict of str to ndarray
            Their values.

        Raises
        ------
        ArchiveError
            If there are others.
        """
        names = self.names(path)
        if len(names) != len(wanted):
            raise ArchiveError(
                f"layer {layer!r} must have {len(wanted)} weights ({', '.join(wanted)}). "
                f"Received: {len(names)} at {path}/vars"
            )
        return {
            name: self.read(path, str(number), shape, layer)
            for number, (name, shape) in enumerate(wanted.items())
        }

    def check_all_read(self) -> None:
        """Refuse weights that no layer took; the layout by number has none of them."""

    def read(
        self, path: str, name: str, shape: tuple[int, ...], layer: str
    ) -> np.ndarray[Any, Any]:
        """Return one variable.

        Parameters
        ----------
        path, name : str
            The group and the variable's name in it.
        shape : tuple of int
            What the model's configuration makes of it.
        layer : str
            Whose variable it is, for messages.

        Returns
        -------
        ndarray
            Its values.

        Raises
        ------
        ArchiveError
            If it is missing, has another shape, or holds NaN or infinite values.
        """
        address = (guarded(self._file.children, f"{path}/vars") or {}).get(name)
        if address is None:
            raise ArchiveError(f"layer {layer!r}: the weight {path}/vars/{name} is missing")
        return read_values(self._file, address, shape, f"layer {layer!r}: {path}/vars/{name}")


def read_values(
    file: hdf5.File, address: int, shape: tuple[int, ...], what: str
) -> np.ndarray[Any, Any]:
    """Return the values of a dataset that must have a shape and be finite.

    Parameters
    ----------
    file : File
        Where it is.
    address : int
        Where it is in the file.
    shape : tuple of int
        What the model's configuration makes of it.
    what : str
        What it is, for messages.

    Returns
    -------
    ndarray
        Its values.

    Raises
    ------
    ArchiveError
        If it is another array.
    """
    dataset = guarded(file.dataset, address)
    if dataset.shape != shape:
        raise ArchiveError(
            f"{what} must have shape {shape}, as the configuration says. Received: {dataset.shape}"
        )
    values: np.ndarray[Any, Any] = guarded(file.read, dataset)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ArchiveError(f"{what} holds NaN or infinite values")
    return values


def read_archive(path: str | os.PathLike[str]) -> Archive:
    """Read a model file.

    Parameters
    ----------
    path : path_like
        A ``.keras`` file, or a folder with the same contents.

    Returns
    -------
    Archive
        Its configuration and weights.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    ArchiveError
        If it is not a model that Keras saved.
    """
    place = Path(path)
    if not place.exists():
        raise FileNotFoundError(f"no model file at {str(place)!r}")
    members = _read_folder(place) if place.is_dir() else _read_zip(place)
    config = read_json(members[_CONFIG], _CONFIG)
    metadata = read_json(members[_METADATA], _METADATA)
    return Archive(config, Weights(members[_WEIGHTS]), str(metadata.get("keras_version", "?")))


def _read_folder(folder: Path) -> dict[str, bytes]:
    members = {}
    for name in (_CONFIG, _METADATA, _WEIGHTS):
        place = folder / name
        try:
            status = place.lstat()
        except OSError:
            raise ArchiveError(f"{name} is missing in the folder {str(folder)!r}") from None
        if not stat.S_ISREG(status.st_mode):  # a link leads elsewhere, a pipe never ends
            raise ArchiveError(f"{name} must be a regular file in the folder {str(folder)!r}")
        if name != _WEIGHTS and status.st_size > limits.MAX_JSON:
            raise ArchiveError(f"{name} has {status.st_size} bytes, more than {limits.MAX_JSON}")
        members[name] = read_whole(place, status.st_size)
    return members


def read_whole(place: Path, size: int) -> bytes:
    """Read a file of a known size; what grew or was replaced meanwhile is refused.

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


def _read_zip(place: Path) -> dict[str, bytes]:
    if not stat.S_ISREG(place.stat().st_mode):
        raise ArchiveError(f"the model must be a file or a folder. Received: {str(place)!r}")
    with zip_errors(), opened_zip(place) as archive:
        size = place.stat().st_size
        return {name: read_member(archive, name, size) for name in (_CONFIG, _METADATA, _WEIGHTS)}


@contextmanager
def zip_errors() -> Iterator[None]:
    """Raise what goes wrong with a zip in the block as `ArchiveError`."""
    try:
        yield
    except ArchiveError:
        raise
    # NotImplementedError: another compression; RuntimeError: encrypted; the rest: damaged
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ArchiveError(f"not a readable .keras file: {error}") from None
    except (RuntimeError, ValueError, OverflowError, OSError, UnicodeError) as error:
        raise ArchiveError(f"not a readable .keras file: {error}") from None


@contextmanager
def opened_zip(place: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive whose list of files is within the limits."""
    with place.open("rb") as file:
        _check_directory(file.read, file.seek, place.stat().st_size)
        with zipfile.ZipFile(file) as archive:
            _check_names([info.filename for info in archive.infolist()])
            yield archive


def _check_directory(
    read: Callable[[int], bytes], seek: Callable[[int], int], file_size: int
) -> None:
    """Refuse a list of files that is too long, before `zipfile` builds an object for each."""
    tail_size = min(file_size, _END_SIZE + _MAX_COMMENT + _LOCATOR_SIZE)
    seek(file_size - tail_size)
    tail = read(tail_size)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + _END_SIZE > len(tail):
        raise ArchiveError("not a .keras file: the list of files at the end of a zip is missing")
    count = int.from_bytes(tail[at + 10 : at + 12], "little")
    size = int.from_bytes(tail[at + 12 : at + 16], "little")
    if tail[max(0, at - _LOCATOR_SIZE) : at].startswith(b"PK\6\7") or size == 0xFFFFFFFF:
        # A second list with 64-bit numbers, which would be believed instead of this one.
        raise ArchiveError("a zip64 archive, as for files of 4 GB: unzip it, and load the folder")
    if count > limits.MAX_MEMBERS or size > limits.MAX_DIRECTORY:
        raise ArchiveError(f"an archive of {count} files, whose list has {size} bytes: too many")
    end = file_size - tail_size + at
    seek(max(0, end - size))
    listed = read(min(size, end)).count(b"PK\1\2")  # zipfile believes the list, not the count
    if listed > limits.MAX_MEMBERS:
        raise ArchiveError(f"an archive of {listed} files: too many")
    seek(0)


def _check_names(names: list[str]) -> None:
    for name in names:
        parts = name.replace("\\", "/").split("/")
        if ".." in parts or name[:1] in ("/", "\\") or ":" in parts[0]:
            raise ArchiveError(f"a name that leaves the archive: {name!r}")
    for name in (_CONFIG, _METADATA, _WEIGHTS):
        if names.count(name) != 1:
            found = "missing" if name not in names else "there more than once"
            raise ArchiveError(f"{name} is {found} in the archive")


def read_member(archive: zipfile.ZipFile, name: str, file_size: int) -> bytes:
    """Return the contents of a member, whose sizes are checked first.

    Parameters
    ----------
    archive : ZipFile
        Where it is.
    name : str
        Its name, which is there.
    file_size : int
        The size of the archive.

    Returns
    -------
    bytes
        No more than the limits allow.

    Raises
    ------
    ArchiveError
        If it would be more, or less than it claims.
    """
    info = archive.getinfo(name)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ArchiveError(f"{name} is compressed in a way that Keras does not use")
    limit = max(limits.MAX_EXPANDED, limits.MAX_RATIO * info.compress_size)
    limit = limit if name == _WEIGHTS else limits.MAX_JSON
    if info.compress_size > file_size or info.file_size > limit:
        raise ArchiveError(
            f"{name} claims to expand from {info.compress_size} to {info.file_size} bytes, "
            f"more than an archive of {file_size} bytes may"
        )
    with archive.open(info) as member:
        data = member.read(info.file_size + 1)  # never more than that, whatever the stream says
    if len(data) != info.file_size:
        raise ArchiveError(f"{name} is truncated: {len(data)} of {info.file_size} bytes")
    return data


def read_json(data: bytes, name: str) -> dict[str, Any]:
    """Return the object that bytes of JSON hold, within the limits.

    Parameters
    ----------
    data : bytes
        The text.
    name : str
        What it is, for messages.

    Returns
    -------
    dict
        The object.

    Raises
    ------
    ArchiveError
        If it is none, or too large.
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


def guarded(function: Callable[..., Any], argument: Any) -> Any:
    """Call the HDF5 reader; what it refuses is the file's fault."""
    try:
        return function(argument)
    except hdf5.FormatError as error:
        raise ArchiveError(f"weights that cannot be read: {error}") from None
