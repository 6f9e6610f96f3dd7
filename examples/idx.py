"""Reader for IDX files, the format of MNIST and Fashion-MNIST.

A file holds two zero bytes, the type of its values, the number of axes, their lengths as 32-bit
big-endian integers, and the values. Files may be compressed with gzip.
"""

import gzip
import math
import pathlib
from typing import BinaryIO, NamedTuple

import numpy as np

UNSIGNED_BYTES = 8  # the type of all MNIST files
MAX_AXES = 4
MAX_VALUES = 2**29  # MNIST's training images are 47 million


class Images(NamedTuple):
    """Images (examples, height, width, 1) from 0 to 1, and labels; a part is held out."""

    images: np.ndarray
    labels: np.ndarray
    held_out: np.ndarray
    held_out_labels: np.ndarray


def read_idx(path: pathlib.Path) -> np.ndarray:
    """Return the array of unsigned bytes in an IDX file.

    Raises
    ------
    ValueError
        If the file is not an IDX file of bytes, is too large, or has another length than it states.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as file:
        try:
            return _read(file)
        except (EOFError, gzip.BadGzipFile) as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
        except ValueError as error:
            raise ValueError(f"{path} {error}") from None


def _read(file: BinaryIO) -> np.ndarray:
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0":
        raise ValueError("must be an IDX file, which begins with two zero bytes")
    kind, axes = head[2:]
    if kind != UNSIGNED_BYTES or not 1 <= axes <= MAX_AXES:
        raise ValueError(
            f"must hold unsigned bytes (type 8) on 1 to {MAX_AXES} axes. "
            f"Received: type {kind}, {axes} axes"
        )
    lengths = file.read(4 * axes)
    if len(lengths) < 4 * axes:
        raise ValueError("ends within its header")
    shape = tuple(int(n) for n in np.frombuffer(lengths, ">u4"))
    if math.prod(shape) > MAX_VALUES:
        raise ValueError(f"must hold at most {MAX_VALUES} values. Received: shape={shape}")
    values = file.read(math.prod(shape) + 1)  # one more, to notice a file that is too long
    if len(values) != math.prod(shape):
        raise ValueError(f"must hold {math.prod(shape)} values, and holds fewer or more")
    return np.frombuffer(values, np.uint8).reshape(shape)


def load_images(folder: pathlib.Path) -> Images:
    """Read the four files of MNIST or Fashion-MNIST in a folder.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is damaged, or images and labels do not match.
    """
    parts = []
    for part in ("train", "t10k"):
        images = read_idx(_find(folder, f"{part}-images", 3))
        labels = read_idx(_find(folder, f"{part}-labels", 1))
        if images.ndim != 3 or labels.shape != images.shape[:1] or not len(labels):
            raise ValueError(
                f"{folder}: images must be (examples, height, width), with a label each. Received "
                f"for {part}: {images.shape} and {labels.shape}"
            )
        parts += [(images[..., None] / np.float32(255)).astype(np.float32), labels.astype(int)]
    return Images(*parts)


def _find(folder: pathlib.Path, name: str, axes: int) -> pathlib.Path:
    names = [f"{name}{dot}idx{axes}-ubyte{end}" for dot in "-." for end in ("", ".gz")]
    for each in names:
        if (folder / each).is_file():
            return folder / each
    raise FileNotFoundError(f"{folder} has no file {names[0]}, compressed or not")
