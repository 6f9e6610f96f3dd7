"""Arrays in files: .npy, .npz, .csv and images."""

from __future__ import annotations

import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kspike_ref.cli.output import replacing

Array = NDArray[Any]

ARRAYS = (".npy", ".npz", ".csv")
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
_STARTS = {".npy": b"\x93NUMPY", ".npz": b"PK"}
# Errors of NumPy and zipfile for damaged files; RuntimeError is for encrypted ones.
_DAMAGED = (ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)
_LONGEST_CELL = 20  # characters of a cell that an error quotes
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's names, by the number of channels


def read_array(name: str) -> Array | dict[str, Array]:
    """Read the arrays of a file.

    Parameters
    ----------
    name : str
        The path of a ``.npy``, ``.npz`` or ``.csv`` file; ``file.npz:x_test`` for one array of it.

    Returns
    -------
    ndarray or dict of str to ndarray
        A ``.npy`` file as a memory map; a dictionary for a ``.npz`` file of several arrays.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is damaged, or of another kind.
    """
    path, key = _split(name)
    suffix = path.suffix.lower()
    if suffix not in ARRAYS:
        raise ValueError(f"{path}: not an array ({', '.join(ARRAYS)}) or an image")
    if suffix == ".csv":
        return _read_csv(path)
    try:
        _check_start(path, suffix)
        if suffix == ".npy":
            array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
            return array
        with np.load(path, allow_pickle=False) as archive:
            return _from_archive(archive, key)
    except _DAMAGED as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error


def one_array(name: str) -> Array:
    """Read a file that holds one array, as `read_array` does."""
    found = read_array(name)
    if isinstance(found, dict):
        raise ValueError(  # noqa: TRY004 (the file is wrong, not a type)
            f"{name}: holds {', '.join(found)}: name one of them, as {name}:{next(iter(found))}"
        )
    return found


def read_images(names: Sequence[str], shape: Sequence[int | None]) -> Array:
    """Read images as one batch of pixels from 0 to 255.

    Parameters
    ----------
    names : sequence of str
        Paths of images of one size.
    shape : sequence of int or None
        The shape of an example: height, width and channels, without channels, or pixels alone.

    Returns
    -------
    (batch, ...) ndarray of uint8

    Raises
    ------
    OSError
        If a file cannot be read.
    ValueError
        If the model takes no images, or the sizes differ; or a file is not an image, or holds
        several frames, pixels of more than 8 bits, or transparent ones for a model without a
        fourth channel.
    """
    if not 1 <= len(shape) <= 3:
        raise ValueError(
            f"{names[0]}: the model takes examples of shape {tuple(shape)}, not images"
        )
    channels = shape[2] if len(shape) == 3 else 1
    if channels not in _MODES:
        raise ValueError(
            f"{names[0]}: the model takes {channels} channels, and images have 1, 3 or 4"
        )
    images = [_read_image(name, _MODES[channels]) for name in names]
    for name, image in zip(names, images, strict=True):
        if image.shape != images[0].shape:
            raise ValueError(
                f"{name}: all images must have one size. Received: {image.shape[:2]} pixels, and "
                f"{images[0].shape[:2]} in {names[0]}"
            )
    pixels = np.stack(images)
    if len(shape) == 1:
        return pixels.reshape(len(pixels), -1)
    return pixels[..., np.newaxis] if len(shape) == 3 and channels == 1 else pixels


def is_image(name: str) -> bool:
    """Return whether a path has the suffix of an image."""
    return Path(name).suffix.lower() in IMAGES


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays in one step, in the format of the path's suffix.

    Parameters
    ----------
    path : Path
        A ``.npz`` file for any arrays; a ``.npy`` file for one; a ``.csv`` file for one with at
        most two axes.
    arrays : mapping of str to ndarray
        The arrays by name.

    Raises
    ------
    ValueError
        If the format cannot hold them.
    OSError
        If the file cannot be written.
    """
    check_format(path, {name: array.ndim for name, array in arrays.items()})
    suffix = path.suffix.lower()
    first = next(iter(arrays.values()))
    with replacing(path) as beside:
        if suffix == ".npz":
            _write_archive(beside, arrays)
        elif suffix == ".npy":
            np.save(beside, first, allow_pickle=False)
        else:
            np.savetxt(beside, first, delimiter=",", fmt="%.9g")


def check_format(path: Path, ranks: Mapping[str, int]) -> None:
    """Refuse arrays that the format of a file cannot hold.

    Parameters
    ----------
    path : Path
        The file, as in `write_arrays`.
    ranks : mapping of str to int
        The arrays' numbers of axes, by name.

    Raises
    ------
    ValueError
        If the arrays need another format, or a name would lead out of the folder in which a
        ``.npz`` file is unpacked.
    """
    suffix = path.suffix.lower()
    if suffix != ".npz" and len(ranks) > 1:
        raise ValueError(f"{path}: {len(ranks)} arrays need a .npz file: {', '.join(ranks)}")
    if suffix == ".csv" and (rank := next(iter(ranks.values()))) > 2:
        raise ValueError(f"{path}: an array of {rank} axes needs a .npy or .npz file")
    if suffix == ".npz" and (unsafe := [name for name in ranks if not _is_safe(name)]):
        raise ValueError(
            f"{path}: layer names become file names in a .npz file and must stay inside its "
            f"folder. Received: {', '.join(map(repr, unsafe))}"
        )


def _is_safe(name: str) -> bool:
    """Return whether a member of an archive, unpacked anywhere, stays in the folder."""
    parts = name.replace("\\", "/").split("/")
    is_absolute = not parts[0] or parts[0].endswith(":")  # a Windows drive
    return not is_absolute and ".." not in parts


def _write_archive(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays as `numpy.savez` does, which takes no array named ``file``."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def _split(name: str) -> tuple[Path, str | None]:
    """Return a path, and the name of an array in the file if one follows a colon."""
    start, colon, key = name.rpartition(":")
    if colon and start.lower().endswith(".npz") and not Path(name).exists():
        return Path(start), key
    return Path(name), None


def _check_start(path: Path, suffix: str) -> None:
    with path.open("rb") as file:
        if not file.read(8).startswith(_STARTS[suffix]):
            raise ValueError(f"it is not a {suffix} file")


def _from_archive(archive: Any, key: str | None) -> Array | dict[str, Array]:
    names = list(archive.files)
    if key is not None and key not in names:
        raise ValueError(f"no array {key!r}; it holds {', '.join(names) or 'none'}")
    if not names:
        raise ValueError("it holds no arrays")
    wanted = names if key is None else [key]
    arrays = {one: np.asarray(archive[one]) for one in wanted}
    return arrays if len(arrays) > 1 else arrays[wanted[0]]


def _read_csv(path: Path) -> Array:
    """Return the rows of a file of numbers, without a header line."""
    skip = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            skip = 1 if _is_header(file.readline()) else 0
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # about files without rows
            return np.loadtxt(
                path, np.float64, delimiter=",", skiprows=skip, ndmin=2, encoding="utf-8-sig"
            )
    except UnicodeDecodeError:
        raise ValueError(f"{path}: cannot be read: it is not text in UTF-8") from None
    except (ValueError, UserWarning) as error:
        fault = _fault(path, skip) or str(error)
        raise ValueError(f"{path}: cannot be read: {fault}") from error


def _is_header(line: str) -> bool:
    """Return whether a first line holds only names; a line with a number is data."""
    cells = [cell.strip() for cell in line.split("#")[0].split(",")]
    return any(cells) and not any(map(_is_number, cells))


def _is_number(cell: str) -> bool:
    if "_" in cell or not cell.isascii():  # float accepts these, loadtxt does not
        return False
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _quoted(cell: str) -> str:
    """Return the text of a cell, quoted for an error message."""
    hint = "; columns are separated by commas" if set(cell) & set("; \t") else ""
    return repr(cell[:_LONGEST_CELL]) + hint if cell else "nothing"


def _fault(path: Path, skip: int) -> str | None:
    """Return the first fault in a file of numbers, by line and column, or None."""
    width = 0
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, 1):
            text = line.split("#")[0].strip("\r\n")  # as in loadtxt
            if number <= skip or not text:
                continue
            cells = [cell.strip() for cell in text.split(",")]
            for column, cell in enumerate(cells, 1):
                if not _is_number(cell):
                    came = _quoted(cell)
                    names = "; a line of names must hold no numbers" if number == 1 else ""
                    return (
                        f"line {number}, column {column} must be a number. Received: {came}{names}"
                    )
            width = width or len(cells)
            if len(cells) != width:
                return f"line {number} must have {width} columns, as before. Received: {len(cells)}"
    return None if width else "it holds no numbers"


def _read_image(name: str, mode: str) -> Array:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise ValueError(f"{name}: images need Pillow: pip install 'kspike-ref[cli]'") from None
    try:
        with Image.open(name) as image:
            _check_image(image, mode)
            return np.asarray(image.convert(mode))
    except UnidentifiedImageError:
        raise ValueError(
            f"{name}: cannot be read: Pillow does not recognise it as an image"
        ) from None
    except (Image.DecompressionBombError, SyntaxError, ValueError) as error:
        raise ValueError(f"{name}: cannot be read: {error}") from error


def _check_image(image: Any, mode: str) -> None:
    """Refuse an image whose conversion to a mode would lose pixels or values."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise ValueError(f"it holds {frames} frames: save each as an image of its own")
    if image.mode == "F" or image.mode.startswith("I"):
        raise ValueError(
            f"it has more than 8 bits a pixel (mode {image.mode}): save it with 8, or its pixels "
            "as .npy"
        )
    if mode != "RGBA" and image.has_transparency_data:
        least, _ = image.convert("RGBA").getchannel("A").getextrema()
        if least < 255:
            raise ValueError("it has transparent pixels: save it on a background")
