"""Keras' type promotion rules for NumPy arrays.

NumPy and Keras disagree on result types: the sum of bools is int64 in NumPy and int32 in Keras, the
square root of int8 is float16 in NumPy and float32 in Keras. Models follow Keras' rules, which are
JAX's [1]_ with two exceptions of Keras on TensorFlow: int64 and float64 are kept, and uint64
becomes uint32.

Half-precision types have names here, but no arrays: NumPy has no bfloat16, and its float16 is slow.
Where Keras computes in ``float16`` or ``bfloat16``, kspike_ref computes in float32; see `computed`.

References
----------
.. [1] "Type promotion semantics", JAX documentation,
   https://docs.jax.dev/en/latest/type_promotion.html
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
DType = np.dtype[Any]

HALVES = ("float16", "bfloat16")
FLOATS = (*HALVES, "float32", "float64")
_BITS = {f"{kind}{bits}": bits for kind in ("int", "uint") for bits in (8, 16, 32, 64)}
NAMES = ("bool", *_BITS, *FLOATS)


def result_type(*types: Any) -> str:
    """Return the name of the type in which Keras computes an operation.

    Parameters
    ----------
    *types : str, dtype, or the Python types bool, int and float
        The types of the operands. ``int`` and ``float`` stand for Python numbers, which are weak:
        they do not widen the type of a tensor of their own kind.

    Returns
    -------
    str
        The same as `keras.backend.result_type` on TensorFlow, with ``floatx() == "float32"``.

    Raises
    ------
    ValueError
        If a type is neither boolean, nor an integer, nor a real number.
    """
    if not types:
        return "float32"
    weak = {kind for kind in (int, float) if any(one is kind for one in types)}  # `==` is laxer
    strong = {_name(kind) for kind in types if kind is not int and kind is not float}
    if floats := strong & set(FLOATS):
        return floats.pop() if len(floats) == 1 else _wider_float(floats)
    if float in weak:
        return "float32"
    if integers := strong - {"bool"}:
        found = _wider_integer(integers)
        return "uint32" if found == "uint64" else found
    return "int32" if int in weak else "bool"


def _name(kind: Any) -> str:
    """Return Keras' name for a type that is not weak."""
    name = "bool" if kind is bool else str(getattr(kind, "name", kind))
    if name not in NAMES:
        raise ValueError(f"a type must be one of {', '.join(NAMES)}. Received: {kind!r:.80}")
    return name


def _wider_float(names: set[str]) -> str:
    """Return the type that holds several float types; neither half type holds the other."""
    return "float64" if "float64" in names else "float32"


def _wider_integer(names: set[str]) -> str:
    """Return the type that holds several integer types, or float32 if no integer type does."""
    signed = max((_BITS[name] for name in names if name[0] == "i"), default=0)
    unsigned = max((_BITS[name] for name in names if name[0] == "u"), default=0)
    if not signed:
        return f"uint{unsigned}"
    bits = max(signed, 2 * unsigned)  # a signed type holds an unsigned one of half its size
    return f"int{bits}" if bits <= 64 else "float32"


def computed(kind: Any) -> DType:
    """Return the NumPy type that holds tensors of a Keras type: float32 for half precision."""
    name = _name(kind)
    return np.dtype("float32" if name in HALVES else name)


def kind_of(value: Any) -> Any:
    """Return the type of an array or a Python number, for `result_type`."""
    if isinstance(value, bool | int | float) and not isinstance(value, np.generic):
        return type(value)
    return np.asarray(value).dtype


def common_type(*values: Any) -> DType:
    """Return the NumPy type in which an operation on arrays and Python numbers computes."""
    return computed(result_type(*(kind_of(value) for value in values)))


def promoted(*values: Any) -> list[Array]:
    """Return arrays and Python numbers as arrays of their common type, copied only to cast them."""
    dtype = common_type(*values)
    return [np.asarray(value).astype(dtype, copy=False) for value in values]


def unified(arrays: list[Array]) -> list[Array]:
    """Return arrays in their common type, without copies if all have one type already."""
    return promoted(*arrays) if len({x.dtype for x in arrays}) > 1 else arrays


def smallest(dtype: DType) -> Any:
    """Return the smallest value of a type, which is the maximum of an empty array."""
    if dtype.kind == "f":
        return dtype.type(-np.inf)
    return np.False_ if dtype.kind == "b" else dtype.type(np.iinfo(dtype).min)


def largest(dtype: DType) -> Any:
    """Return the largest value of a type, which is the minimum of an empty array."""
    if dtype.kind == "f":
        return dtype.type(np.inf)
    return np.True_ if dtype.kind == "b" else dtype.type(np.iinfo(dtype).max)


def cut(x: Array, dtype: DType) -> Array:
    """Cast real numbers to a type; for integers, drop fractions and clip to the type's limits.

    TensorFlow's cast does the same on processors with vector instructions; NumPy's wraps around.
    """
    if dtype.kind == "f":
        return x.astype(dtype, copy=False)
    if dtype.kind == "b":
        return x != 0
    limits = np.iinfo(dtype)
    highest = float(limits.max) if dtype.itemsize < 8 else np.nextafter(float(limits.max), 0)
    return np.nan_to_num(x.astype(np.float64)).clip(float(limits.min), highest).astype(dtype)


def float_type(kind: Any) -> DType:
    """Return the result type of means and of functions such as ``exp``: never an integer."""
    return computed(result_type(kind, float))


def sum_type(kind: Any) -> DType:
    """Return the result type of sums and products: at least 32 bits, so that small integers fit.

    The sum of bools is int32.
    """
    dtype = computed(kind)
    if dtype.kind == "b" or (dtype.kind == "i" and dtype.itemsize < 4):
        return np.dtype("int32")
    if dtype.kind == "u" and dtype.itemsize < 4:
        return np.dtype("uint32")
    return dtype


def cast(x: Array, dtype: DType) -> Array:
    """Cast an array; an input repeated over time by stride 0 stays repeated."""
    if x.ndim > 1 and x.shape[1] > 1 and x.strides[1] == 0:
        return np.broadcast_to(x[:, :1].astype(dtype), x.shape)
    return x.astype(dtype, copy=False)


def array(values: Any, must: str) -> Array:
    """Return values as an array, also those of other libraries.

    Parameters
    ----------
    values : array_like
        Also tensors of other libraries. PyTorch does not convert tensors that are on a device, of
        bfloat16, or part of a gradient.
    must : str
        The start of an error message, such as ``"x must be an array of numbers"``.

    Raises
    ------
    TypeError
        If the library of the values does not convert them; the message quotes its error.
    ValueError
        If nested lists are ragged.
    """
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{must}. Received: {error}") from error
    except (RuntimeError, TypeError) as error:
        raise TypeError(f"{must}. Received: {type(values).__name__}; {error}") from error


def real(values: Any, must: str) -> Array:
    """Return an array of a type that NumPy can compute with; arguments and errors as in `array`.

    Half-precision Keras models return bfloat16 of the package ml_dtypes; it becomes float32.
    """
    found = array(values, must)
    return found.astype(np.float32) if found.dtype.name == "bfloat16" else found
