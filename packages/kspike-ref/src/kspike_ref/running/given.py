"""The caller's inputs: nested structures, arrays and shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kspike_ref import dtypes
from kspike_ref import strings as _strings
from kspike_ref.layers.errors import Array, Shape
from kspike_ref.layers.shape import InputLayer


def still(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without its time axis."""
    return (shape[0], *shape[2:])


def is_nested(structure: Any, x: list[Any] | tuple[Any, ...]) -> bool:
    """Return whether a list has the nested structure of the inputs, and is not a flat list."""
    if not isinstance(structure, list) or len(structure) != len(x):
        return False
    inner = [given for one, given in zip(structure, x, strict=True) if not isinstance(one, str)]
    return any(isinstance(given, list | tuple | Mapping) for given in inner)


def in_order(structure: Any, x: Any) -> list[Any]:
    """Flatten a nested structure of values in the order of the model's inputs."""
    if isinstance(structure, dict):
        if not isinstance(x, Mapping) or set(x) != set(structure):
            came = ", ".join(map(str, x)) if isinstance(x, Mapping) else type(x).__name__
            raise ValueError(f"x must hold {', '.join(structure)}. Received: {came}")
        return [end for key in sorted(structure) for end in in_order(structure[key], x[key])]
    if isinstance(structure, list):
        if not isinstance(x, list | tuple) or len(x) != len(structure):
            came = str(len(x)) if isinstance(x, list | tuple) else type(x).__name__
            raise ValueError(f"x must hold a list of {len(structure)} inputs. Received: {came}")
        pairs = zip(structure, x, strict=True)
        return [end for inner, given in pairs for end in in_order(inner, given)]
    return [x]


def axes_of(values: Any) -> int:
    """Return the number of axes of nested numbers; -1 if they are ragged."""
    try:
        return int(np.ndim(values))
    except ValueError:
        return -1


def holds_arrays(x: Any, wanted: int) -> bool:
    """Return whether a list holds whole inputs, not the examples of one input."""
    return len(x) > 1 and all(isinstance(item, np.ndarray) and item.ndim == wanted for item in x)


_PADDED = "Pad the sequences to one length, and mark the padding by a Masking layer in the model"


def array_of(layer: InputLayer, values: Any) -> Array:
    """Return an input as an array of real numbers, or of strings if the model takes strings."""
    name = layer.name
    if type(values) is np.ndarray and values.dtype.kind in "fiub" and not layer.is_text:
        return values
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise TypeError(
            f"x must not be a masked array at {name!r}: its mask would be lost. Fill it with "
            "x.filled(value), and put a Masking layer with that mask_value into the model"
        )
    if layer.is_text:
        return _strings.text(name, values)
    try:
        array = dtypes.real(values, f"x must be an array at {name!r}")
    except ValueError as error:  # ragged lists
        raise ValueError(f"{error} {_PADDED}") from error
    if array.dtype.kind == "O" and array.ndim and len({np.shape(each) for each in array}) > 1:
        raise ValueError(
            f"x must hold sequences of one length at {name!r}. Received: "
            f"{type(values).__name__} of different lengths. {_PADDED}"
        )
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"x must hold real numbers at {name!r}. Received: dtype={array.dtype}"
            + (
                f"; the model's Input has dtype={layer.input_dtype.name!r}, and takes no strings"
                if array.dtype.kind in "UST"
                else ""
            )
        )
    return array


def in_type_of(layer: InputLayer, x: Array) -> Array:
    """Return an array in the type that the model takes; a repeated step stays repeated."""
    if x.dtype == layer.input_dtype and not layer.is_text:
        return x
    one = x[:, :1] if x.ndim > 1 and x.strides[1] == 0 else x
    made = _strings.encoded(layer.name, one) if layer.is_text else one.astype(layer.input_dtype)
    return made if one is x else np.broadcast_to(made, x.shape)


def fits_shape(given: Sequence[int], shape: Shape) -> bool:
    """Return whether lengths match a shape, in which None stands for any length."""
    if len(given) != len(shape):
        return False
    for n, m in zip(shape, given, strict=True):  # noqa: SIM110 (all() takes twice the time)
        if n is not None and n != m:
            return False
    return True


def is_shape(value: Any) -> bool:
    """Return whether a value is a sequence of lengths."""
    return isinstance(value, list | tuple) and all(
        isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 0 for n in value
    )
