"""Arrays of careless or hostile callers: values, types, memory layouts and containers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

VALUES = [
    0.0, -0.0, 1.0, -1.0, 0.5, 250.0, 999.9, -3e4, 1e-45, -1e-40, 1e-300, 1e38, -1e38, 3.4e38,
    1e308, float("inf"), float("-inf"), float("nan"), 2.0**20, 2.0**31, 2.0**63, 65504.0,
]  # fmt: skip
FINITE = [v for v in VALUES if abs(v) < 1e5]
FLOATS = ["f2", "f4", "f4", "f4", "f8", "bfloat16", ">f4", ">f8", ">f2"]
OTHERS = ["i1", "u1", "i2", ">i4", "i8", "u8", "?"]
REFUSED = ["c8", "c16", "O", "U3", "S3", "M8[s]", "m8[s]", "V4"]
LAYOUTS = [
    "C", "F", "reversed", "strided", "broadcast", "read-only", "unaligned", "transposed", "slice",
]  # fmt: skip
CONTAINERS = ["array", "array", "list", "masked", "subclass", "protocol", "memmap", "buffer"]


class Subclass(np.ndarray):
    """Array whose operations return arrays of its own class."""


class Protocol:
    """Tensor of another library: it has ``__array__``, a shape and a type."""

    def __init__(self, array):
        self._array, self.shape, self.dtype = array, array.shape, array.dtype

    def __array__(self, dtype=None, copy=None):
        return np.array(self._array, dtype=dtype, copy=copy)

    def __len__(self):
        return len(self._array)


@dataclass
class Given:
    """An argument, and the same numbers as an ordinary array."""

    passed: Any
    plain: np.ndarray
    label: str
    base: np.ndarray  # the memory, which must not change


def _typed(kind):
    return np.dtype(ml_dtypes.bfloat16) if kind == "bfloat16" else np.dtype(kind)


@st.composite
def arrays(draw, shape, kinds=None, values=VALUES, smallest=0):
    """Draw a `Given`; ``shape`` holds lengths, and None for any length."""
    sizes = tuple(draw(st.integers(smallest, 4)) if n is None else n for n in shape)
    kind = draw(st.sampled_from(kinds or FLOATS + OTHERS))
    pool = np.array(draw(st.lists(st.sampled_from(values), min_size=1, max_size=12)))
    with np.errstate(all="ignore"):
        plain = np.resize(pool, sizes).astype(_typed(kind))
    layout = draw(st.sampled_from(LAYOUTS))
    container = draw(st.sampled_from(CONTAINERS))
    passed, base = _laid_out(plain, layout)
    plain = np.array(passed)
    passed = _contained(passed, container)
    return Given(passed, plain, f"{kind} {sizes} {layout} {container}", base)


def _laid_out(x, layout):
    """Return an array of the same values and its memory; "broadcast" repeats the first step."""
    if layout == "F":
        y = np.asfortranarray(x)
    elif layout == "reversed":
        y = np.ascontiguousarray(x[..., ::-1])[..., ::-1]
    elif layout == "strided":
        y = np.repeat(x, 3, axis=-1)[..., ::3]
    elif layout == "broadcast" and x.ndim > 2 and x.shape[1]:
        y = np.broadcast_to(x[:, :1], x.shape)
    elif layout == "unaligned" and not x.dtype.hasobject:
        room = np.zeros(x.nbytes + 1, np.uint8)
        y = room[1:].view(x.dtype).reshape(x.shape)
        y[...] = x
    elif layout == "transposed":
        y = np.ascontiguousarray(x.T).T
    elif layout == "slice":
        y = np.pad(x, [(1, 2)] * x.ndim)[tuple(slice(1, n + 1) for n in x.shape)]
    else:
        y = x.copy()
    if layout == "read-only":
        y.setflags(write=False)
    return y, y if y.base is None else y.base


def _contained(x, container):
    if container == "list":
        return x.tolist() if x.size else x
    if container == "masked":
        return np.ma.masked_array(x, mask=False)
    if container == "subclass":
        return x.view(Subclass)
    if container == "protocol":
        return Protocol(x)
    if container == "memmap":
        return x.view(np.memmap)
    if container == "buffer" and x.dtype.kind in "fiu" and x.dtype.isnative and x.size:
        return memoryview(x)
    return x


def run(check, cases, **strategies):
    """Check a property on ``cases`` examples, the same ones each time."""
    options = settings(
        max_examples=cases,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    options(given(**strategies)(check))()


def same(one, other):
    """Return whether two arrays have the same shape, type and bits; all NaNs count as equal."""
    one, other = np.asarray(one), np.asarray(other)
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))
