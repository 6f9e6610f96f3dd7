"""Functions of arrays that programs compiled by XLA can call: its foreign function interface.

The structures are those of XLA's C API, of the version below; ``xla/ffi/api/c_api.h`` among
TensorFlow's header files describes them. Each begins with its size, by which XLA knows how much of
it there is, and a list of extensions: so fields at the end that we do not use are left out.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

VERSION = 0, 2  # of the C API
INTERNAL = 13  # XLA_FFI_Error_Code_INTERNAL
TYPES = {11: "f4", 12: "f8"}  # XLA_FFI_DataType_F32 and _F64, as NumPy has it

_handlers: list[Any] = []  # XLA keeps their addresses


def _structure(name: str, *fields: tuple[str, Any]) -> Any:
    return type(name, (ctypes.Structure,), {"_fields_": list(fields)})


_HEAD = ("size", c_size_t), ("extension", c_void_p)
_Version = _structure("_Version", *_HEAD, ("major", c_int), ("minor", c_int))
_Metadata = _structure(
    "_Metadata",
    ("size", c_size_t),
    ("version", _Version),
    ("traits", c_uint32),
    ("state_type", c_int64),
)
_Extension = _structure(
    "_Extension",
    ("size", c_size_t),
    ("kind", c_int),
    ("next", c_void_p),
    ("metadata", POINTER(_Metadata)),
)
_Buffer = _structure(
    "_Buffer",
    *_HEAD,
    ("dtype", c_int),
    ("data", c_void_p),
    ("rank", c_int64),
    ("dims", POINTER(c_int64)),
)
_Buffers = _structure(
    "_Buffers",
    *_HEAD,
    ("count", c_int64),
    ("kinds", c_void_p),
    ("buffers", POINTER(POINTER(_Buffer))),
)
_Frame = _structure(
    "_Frame",
    *_HEAD,
    ("api", c_void_p),
    ("context", c_void_p),
    ("stage", c_int),
    ("args", _Buffers),
    ("results", _Buffers),
)
_Handler = ctypes.CFUNCTYPE(c_void_p, POINTER(_Frame))
_Text = _structure("_Text", ("start", c_char_p), ("length", c_size_t))
_Registration = _structure(
    "_Registration",
    *_HEAD,
    ("name", _Text),
    ("platform", _Text),
    ("earlier_stages", c_void_p * 3),
    ("execute", _Handler),
    ("traits", c_uint32),
)
_Error = _structure("_Error", *_HEAD, ("message", c_char_p), ("code", c_int))
_Api = _structure(
    "_Api",
    *_HEAD,
    ("version", _Version),
    ("internal", c_void_p),
    ("make_error", ctypes.CFUNCTYPE(c_void_p, POINTER(_Error))),
    ("error_message", c_void_p),
    ("destroy_error", c_void_p),
    ("register", ctypes.CFUNCTYPE(c_void_p, POINTER(_Registration))),
)


@cache
def _api() -> Any:
    """Return the interface, or None where there is none of our version."""
    try:
        path = next(Path(tf.sysconfig.get_lib()).glob("libtensorflow_framework*"))
        get = ctypes.CDLL(str(path)).XLA_FFI_GetApi
    except (StopIteration, OSError, AttributeError):
        return None
    get.restype = POINTER(_Api)
    api = get().contents
    return api if (api.version.major, api.version.minor) == VERSION else None


def register(name: str, function: Callable[..., Any]) -> bool:
    """Let XLA's programs on this machine's processor call a function.

    Parameters
    ----------
    name : str
        By which programs call it.
    function : callable
        Takes arrays, and one more for its first result; returns a list of arrays.

    Returns
    -------
    bool
        Whether they can.
    """
    api = _api()
    if api is None:
        return False
    label, platform = name.encode(), b"Host"
    registration = _Registration(
        size=ctypes.sizeof(_Registration),
        name=_Text(label, len(label)),
        platform=_Text(platform, len(platform)),
        execute=_handler(function),
    )
    _handlers.append(registration)
    return not api.register(ctypes.byref(registration))  # which gives the address of an error


def _handler(function: Callable[..., Any]) -> Any:
    def handle(frame: Any) -> Any:
        try:
            if frame.contents.extension:  # XLA asks what we are
                return _describe(frame.contents.extension)
            results = _arrays(frame.contents.results)
            found = function(*_arrays(frame.contents.args), results[0])
            for each, result in zip(found[1:], results[1:], strict=True):
                result[...] = each
        except BaseException as error:  # C knows no exceptions
            return _error(f"{type(error).__name__}: {error}")
        return None

    return _Handler(handle)


def _describe(extension: int) -> None:
    metadata = ctypes.cast(extension, POINTER(_Extension)).contents.metadata.contents
    metadata.version.major, metadata.version.minor = VERSION
    metadata.traits = 0


def _error(message: str) -> Any:
    error = _Error(size=ctypes.sizeof(_Error), message=message.encode(), code=INTERNAL)
    return _api().make_error(ctypes.byref(error))


class _Memory:
    """Memory of XLA's, as NumPy takes it."""

    def __init__(self, buffer: Any) -> None:
        self.__array_interface__ = {
            "version": 3,
            "typestr": "=" + TYPES[buffer.dtype],
            "shape": tuple(buffer.dims[: buffer.rank]),
            "data": (buffer.data or 0, False),
        }


def _arrays(buffers: Any) -> list[np.ndarray]:
    each = buffers.buffers
    return [np.asarray(_Memory(each[n].contents)) for n in range(buffers.count)]
