"""Reader for model files of all supported kinds."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from kspike_ref.layers.errors import UnsupportedLayerError
from kspike_ref.saved import container, hdf5
from kspike_ref.saved.archive import Archive, Weights
from kspike_ref.saved.assets import Assets
from kspike_ref.saved.errors import ArchiveError
from kspike_ref.saved.keras2 import upgrade
from kspike_ref.saved.legacy_h5 import read_legacy

_SAVE = "in Keras, save the model with model.save('model.keras') and load that file"
_NEWEST = 3  # the major version whose files are known


@contextmanager
def opened_model(path: str | os.PathLike[str]) -> Iterator[Archive]:
    """Open a model file of any supported kind; its vocabularies can be read in the ``with`` block.

    Parameters
    ----------
    path : path_like
        A ``.keras`` file of Keras 2 or 3, a folder with the same contents, or a whole-model
        ``.h5`` file.

    Returns
    -------
    context manager of Archive
        The contents, with the configuration as Keras 3 writes it.

    Raises
    ------
    FileNotFoundError
        If ``path`` does not exist.
    ArchiveError
        If the file is of another kind, or damaged.
    UnsupportedLayerError
        If a later major version of Keras wrote it.
    """
    place = Path(path)
    if not place.exists():
        raise FileNotFoundError(f"no model file at {str(place)!r}")
    with ExitStack() as stack:
        archive = _read(place, stack)
        version = re.match(r"\d+", archive.keras_version)
        if version is None:
            raise ArchiveError(
                f"the file must state the version of Keras. Received: {archive.keras_version!r:.40}"
            )
        major = int(version.group()[:9])
        if major > _NEWEST:
            raise UnsupportedLayerError([f"a file of Keras {archive.keras_version[:40]}"])
        yield archive if major == _NEWEST else archive._replace(config=upgrade(archive.config))


def _read(place: Path, stack: ExitStack) -> Archive:
    """Return the contents of a file or folder; a file that must stay open enters the stack."""
    if place.is_dir():
        if (place / "saved_model.pb").exists() or (place / "keras_metadata.pb").exists():
            raise ArchiveError(
                f"{str(place)!r} is a SavedModel folder, whose graph is TensorFlow's: load it in "
                f"TensorFlow; {_SAVE}"
            )
        return _read_keras(container.Folder(place))
    status = place.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ArchiveError(f"the model must be a file or a folder. Received: {str(place)!r}")
    try:
        file = stack.enter_context(place.open("rb"))
        head = file.read(64)
    except OSError as error:
        raise ArchiveError(f"{str(place)!r} cannot be read: {error.strerror}") from None
    if not head:
        raise ArchiveError(f"{str(place)!r} is empty; {_SAVE}")
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return read_legacy(container.read_whole(place, status.st_size))
    kind = None if head.startswith(b"PK") else _foreign(head, place.suffix.lower())
    if kind is not None:
        raise ArchiveError(f"{str(place)!r} is {kind}; {_SAVE}")
    return _read_keras(container.Zip(file))


def _read_keras(files: container.Zip | container.Folder) -> Archive:
    contents = container.read_files(files)
    config = container.read_json(contents[container.CONFIG], container.CONFIG)
    metadata = container.read_json(contents[container.METADATA], container.METADATA)
    weights = Weights(hdf5.File(contents[container.WEIGHTS]), Assets(files))
    return Archive(config, weights, str(metadata.get("keras_version", "?")))


def _foreign(head: bytes, suffix: str) -> str | None:
    """Return the kind of a file that is not a Keras model; None for an unknown kind."""
    if head[4:8] == b"TFL3" or suffix == ".tflite":
        return "a LiteRT (TensorFlow Lite) model"
    if suffix == ".pb":
        return "a TensorFlow graph"
    if suffix == ".onnx" or (head[:1] == b"\x08" and head[2:3] == b"\x12"):
        return "an ONNX model"
    if suffix == ".json" or head.lstrip()[:1] in (b"{", b"["):
        return "JSON: a model's configuration without its weights"
    if suffix in (".yaml", ".yml"):
        return "YAML: a model's configuration without its weights"
    if suffix in (".h5", ".hdf5"):
        return "not an HDF5 file despite its name: damaged, or another kind of file"
    if suffix in (".pt", ".pth"):
        return "a PyTorch file"
    return None
