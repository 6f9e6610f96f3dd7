"""TensorFlow's library, which has its C API and XLA's."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import tensorflow as tf


@cache
def library() -> Any:
    """Return the library, or None if there is none."""
    found = list(Path(tf.sysconfig.get_lib()).glob("libtensorflow_framework*"))
    return ctypes.CDLL(str(found[0])) if found else None


def address(name: str) -> int:
    """Return where one of its functions is."""
    return ctypes.cast(getattr(library(), name), ctypes.c_void_p).value or 0
