"""Example data in batches.

Arrays, including memory-mapped ones, are sliced and never copied as a whole. Data sets and
generators provide their own batches.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np

from kspike_energy.counting.nodes import Shape
from kspike_energy.counting.shapes import fits, flat_shapes

__all__ = ["batches", "check_arrays", "like", "named", "peek", "shapes_of_data"]


def batches(data: Any, shapes: Any = None, batch_size: int = 32) -> Iterator[Any]:
    """Yield batches of example data.

    Parameters
    ----------
    data : array_like, list or dict of array_like, or iterable of batches
        Anything that ``model.predict`` takes: arrays; or a data set, generator or sequence object
        whose elements are batches ``x``, ``(x, y)`` or ``(x, y, weights)``.
    shapes : tuple, or list or dict of tuple, optional
        Shapes of the model's inputs, with None for batch.
    batch_size : int, optional
        Examples in a batch of arrays.

    Yields
    ------
    object
        One batch, in the structure of the model's inputs.

    Raises
    ------
    TypeError
        If the data is none of these.
    ValueError
        If it is empty, or its shape differs from that of the model's inputs.
    """
    if isinstance(data, (str, bytes)):
        raise TypeError(f"example_data must be arrays or batches. Received: {data!r:.60}")
    if _is_stream(data):
        for element in _elements(data):
            yield check_arrays(element[0] if isinstance(element, tuple) else element, shapes)
        return
    arrays = check_arrays(data, shapes)
    lengths = {len(array) for _, array in named(arrays)}
    if len(lengths) != 1:
        raise ValueError(
            f"the arrays of example_data must have the same number of examples. "
            f"Received: {sorted(lengths)}"
        )
    (length,) = lengths
    for start in range(0, length, batch_size):
        parts = [np.asarray(array[start : start + batch_size]) for _, array in named(arrays)]
        yield like(arrays, parts)


def check_arrays(data: Any, shapes: Any) -> Any:
    """Return data with arrays at its leaves; raise if they are empty or do not fit the model.

    Parameters
    ----------
    data : array_like, or list or dict of array_like
        One batch, or all examples.
    shapes : tuple, or list or dict of tuple, or None
        Shapes of the model's inputs.

    Raises
    ------
    TypeError
        If they are not real numbers.
    ValueError
        If one is empty, or has another shape.
    """
    arrays = _arrays(data)
    for name, array in named(arrays):
        if len(array.shape) == 0 or array.shape[0] == 0:
            raise ValueError(
                f"example_data{name} is empty: measuring rates needs at least one example. "
                f"Received: shape={tuple(array.shape)}"
            )
    if shapes is None:
        return arrays
    for (name, array), shape in zip(named(arrays), _wanted(arrays, shapes), strict=True):
        given = tuple(array.shape)
        if not fits(given, shape):
            raise ValueError(
                f"example_data{name} must have the shape {shape}. Received: shape={given}"
            )
    return arrays


def _is_stream(data: Any) -> bool:
    """Return whether the data are batches: a generator, a data set, a sequence object."""
    if isinstance(data, (np.ndarray, list, tuple, Mapping)) or hasattr(data, "__array__"):
        return False
    return isinstance(data, Iterable) or hasattr(data, "__getitem__")


def _elements(data: Any) -> Iterator[Any]:
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):  # a Keras PyDataset
        for index in range(len(data)):
            yield data[index]
    elif isinstance(data, Iterable):
        yield from data


def _arrays(data: Any) -> Any:
    """Return the data with arrays at its leaves; a list of numbers becomes one array."""
    if isinstance(data, Mapping):
        return {key: _array(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)) and data and all(hasattr(d, "shape") for d in data):
        return [_array(value) for value in data]
    return _array(data)


def _array(value: Any) -> Any:
    array = value if hasattr(value, "shape") else np.asarray(value)
    if np.dtype(getattr(array.dtype, "as_numpy_dtype", array.dtype)).kind in "OcV":
        raise TypeError(f"example_data must hold real numbers. Received: dtype={array.dtype}")
    return array


def named(arrays: Any) -> list[tuple[str, Any]]:
    """Return the arrays of data, with their places for messages."""
    if isinstance(arrays, Mapping):
        return [(f"[{key!r}]", array) for key, array in arrays.items()]
    if isinstance(arrays, list | tuple):
        return [(f"[{index}]", array) for index, array in enumerate(arrays)]
    return [("", arrays)]


def like(structure: Any, values: list[Any]) -> Any:
    """Return values in the structure of data: a dictionary, a list, or the only one."""
    if isinstance(structure, Mapping):
        return dict(zip(structure, values, strict=True))
    return values if isinstance(structure, list | tuple) else values[0]


def _wanted(arrays: Any, shapes: Any) -> list[Any]:
    """Return the shapes in the order of the arrays."""
    if isinstance(arrays, Mapping) and isinstance(shapes, Mapping):
        missing = sorted(set(shapes) ^ set(arrays))
        if missing:
            raise ValueError(
                f"example_data must have the keys {sorted(shapes)}. Received: {sorted(arrays)}"
            )
        return [shapes[key] for key in arrays]
    flat = flat_shapes(shapes)
    given = len(named(arrays))
    if len(flat) != given:
        expected = "1 array" if len(flat) == 1 else f"{len(flat)} arrays"
        raise ValueError(f"example_data must hold {expected}. Received: {given}")
    return flat


def peek(data: Any) -> tuple[Any, Any]:
    """Return the first batch of a stream, or all arrays; and data that still holds that batch."""
    if data is None or isinstance(data, (str, bytes)) or not _is_stream(data):
        return data, data
    elements = _elements(data)
    first = next(elements, None)
    if first is None:
        return None, iter(())
    return first[0] if isinstance(first, tuple) else first, chain([first], elements)


def shapes_of_data(arrays: Any, shapes: Any, *, time: bool = False) -> Any:
    """Return the inputs' shapes, with open lengths filled in from data.

    The batch stays open. So does axis 1 if no other length is open, because it is time.

    Parameters
    ----------
    arrays : array_like, or list or dict of array_like
        A batch of data.
    shapes : object
        Shapes of the model's inputs.
    time : bool, optional
        Whether to fill in time as well.

    Returns
    -------
    object
        The shapes; None without data or without shapes.
    """
    if arrays is None or shapes is None or isinstance(arrays, (str, bytes)):
        return None
    arrays = check_arrays(arrays, shapes)
    filled = [
        _fill(shape, tuple(array.shape), time)
        for (_, array), shape in zip(named(arrays), _wanted(arrays, shapes), strict=True)
    ]
    return like(arrays, filled)


def _fill(shape: Shape, given: tuple[int, ...], time: bool) -> Shape:
    if not time and all(length is not None for length in shape[2:]):
        return shape
    return (None, *given[1:])
