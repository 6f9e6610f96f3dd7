"""Arrays of strings: checks of inputs, and conversion to the form that layers take.

Layers take object arrays that hold UTF-8 text as bytes, as in TensorFlow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_KINDS = "UST"  # kinds of NumPy's string types: str, bytes and StringDType


def text(name: str, values: Any) -> Array:
    """Return an input of strings as an array.

    Parameters
    ----------
    name : str
        The input's name, for messages.
    values : array_like of str or bytes
        NumPy's string types, objects, or nested lists.

    Returns
    -------
    ndarray
        Of a NumPy string type, or of objects that are str or bytes.

    Raises
    ------
    TypeError
        If it holds anything but strings.
    ValueError
        If nested lists are ragged.
    """
    try:
        is_list = isinstance(values, list | tuple | str | bytes)
        array: Array = np.array(values, dtype=object) if is_list else np.asarray(values)
    except ValueError as error:
        raise ValueError(f"x must be an array at {name!r}. Received: {error}") from None
    if array.dtype.kind in _KINDS:
        return array
    came = f"dtype={array.dtype}"
    if array.dtype.kind == "O":
        strange = next((one for one in array.flat if not isinstance(one, str | bytes)), None)
        if strange is None and not any(one is None for one in array.flat):
            return array
        came = f"{type(strange).__name__} {strange!r:.80}"
    raise TypeError(
        f"x must hold strings (str or bytes) at {name!r}, whose Input has dtype='string'. "
        f"Received: {came}"
    )


def encoded(name: str, array: Array) -> Array:
    """Encode an array of strings as an object array of UTF-8 bytes.

    Parameters
    ----------
    name : str
        The input's name, for messages.
    array : ndarray
        A result of `text`.

    Returns
    -------
    ndarray
        Of the same shape.

    Raises
    ------
    ValueError
        If a string holds half of a surrogate pair, which UTF-8 cannot encode.
    """
    try:
        words = [
            one.encode() if isinstance(one, str) else bytes(one)
            for one in array.reshape(-1).tolist()
        ]
    except UnicodeEncodeError as error:
        raise ValueError(f"x must hold text that UTF-8 can encode at {name!r}: {error}") from None
    return objects(words, array.shape)


def objects(words: list[Any], shape: tuple[int, ...]) -> Array:
    """Return a list of strings as an object array with a shape."""
    made = np.empty(len(words), object)
    made[:] = words
    return made.reshape(shape)
