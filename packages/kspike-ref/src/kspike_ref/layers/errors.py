"""Errors that layers raise, and checks of shapes, masks and states."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kspike_ref.saved.archive import ArchiveError
from kspike_ref.saved.limits import MAX_ELEMENTS
from kspike_ref.saved.text import printable

Array = np.ndarray[Any, Any]
Shape = tuple[int | None, ...]
State = tuple[Array, ...]

_KINDS = {
    "b": "bools",
    "i": "signed integers",
    "u": "unsigned integers",
    "f": "floats",
    "O": "strings",
}


class UnsupportedLayerError(NotImplementedError):
    """A model holds layers, or uses of layers, that are not supported.

    Parameters
    ----------
    layers : sequence of str
        All unsupported layers, with their names and the reasons.

    Attributes
    ----------
    layers : tuple of str
        The same.
    """

    def __init__(self, layers: Sequence[str]) -> None:
        self.layers = tuple(printable(layer) for layer in layers)
        super().__init__(
            "this model uses layers or options that kspike_ref does not support "
            "(see kspike_ref.register_layer):\n  " + "\n  ".join(_by_kind(self.layers))
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return UnsupportedLayerError, (self.layers,)


def _by_kind(layers: Sequence[str]) -> list[str]:
    """Return one line per reason, with the names of the layers concerned."""
    names: dict[str, list[str]] = {}
    for text in layers:
        name, colon, why = text.partition(": ")
        names.setdefault(why if colon else text, []).append(name)
    lines = []
    for why, found in names.items():
        shown = ", ".join(found[:5]) + (f" and {len(found) - 5} others" if found[5:] else "")
        lines.append(why if found == [why] else f"{shown}: {why}")
    return lines


class UnsupportedUseError(Exception):
    """A use of a layer that is not supported; collected into one `UnsupportedLayerError`."""


class SavedElsewhereError(Exception):
    """The weights of a shared layer are saved with another layer, which is loaded later."""


def check_size(name: str, shape: Any) -> None:
    """Refuse an output shape that is invalid or too large for any real model."""
    for one in shape if isinstance(shape, list) else [shape]:
        lengths = [length for length in one if length is not None] if type(one) is tuple else [-1]
        is_shape = all(isinstance(length, int) and length >= 0 for length in lengths)
        if not is_shape or math.prod(lengths) > MAX_ELEMENTS:
            raise ArchiveError(
                f"layer {name!r} has an invalid output shape: {one}. One example may have at most "
                f"{MAX_ELEMENTS} elements"
            )


def mixing(what: str) -> UnsupportedUseError:
    """Return the error for an operation that mixes the examples of a batch."""
    return UnsupportedUseError(
        f"{what} mixes the examples of a batch, so the output would depend on batch_size. "
        "Keep axis 0 as the batch axis"
    )


def check_mask(axes: int | None, wanted: int) -> None:
    """Refuse a mask whose number of axes is not ``wanted``; None stands for no mask."""
    if axes is not None and axes != wanted:
        raise UnsupportedUseError(f"a mask with {axes} axes; Keras needs {wanted}")


def indices(x: Array, count: int) -> Array:
    """Return integers from 0 to ``count - 1`` as int64; refuse others."""
    index = x.astype(np.int64)
    if index.size and not 0 <= int(index.min()) <= int(index.max()) < count:
        raise ValueError(
            f"x must hold integers from 0 to {count - 1}. "
            f"Received: {int(index.min())} to {int(index.max())}"
        )
    return index


def check_rows(name: str, states: Sequence[Array], shapes: Sequence[Shape], rows: int) -> None:
    """Refuse states that do not fit the examples of a call.

    ``shapes`` are those of the states of one example; further states are not checked.
    """
    if len(states) < len(shapes):
        raise ValueError(f"layer {name!r} needs {len(shapes)} states. Received: {len(states)}")
    for state, shape in zip(states, shapes, strict=False):
        wanted = (rows, *shape)
        if state.shape == wanted:
            continue
        if state.shape[1:] == wanted[1:] and state.ndim:
            raise wrong_batch(name, len(state), rows)
        raise ValueError(
            f"state of layer {name!r} must have the shape {wanted}. Received: {state.shape}"
        )


def wrong_batch(name: str, given: int, rows: int) -> ValueError:
    """Return the error for a state whose number of examples differs from the input's."""
    examples = f"{given} example" if given == 1 else f"{given} examples"
    where = f" (layer {name!r})" if name else ""
    return ValueError(f"state is for {examples}, but x holds {rows}{where}")


def described(kinds: str, refused: Sequence[str]) -> str:
    """Return the types that a layer takes, in words: NumPy's kinds except some types."""
    wanted = [name for letter, name in _KINDS.items() if letter in kinds]
    return " and ".join(wanted) + (f" except {', '.join(refused)}" if refused else "")
