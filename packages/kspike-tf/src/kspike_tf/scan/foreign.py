"""Functions of arrays that programs compiled by XLA can call: its foreign function interface.

The structures are those of XLA's C API, of the version below; ``xla/ffi/api/c_api.h`` among
TensorFlow's header files describes them. Each begins with its size, by which XLA knows how much of
it there is, and a list of extensions: so fields at the end that we do not use are left out.

What XLA calls is machine code, which calls Python. For in the main thread Python runs handlers of
signals wherever it is, before our first line too: what then returns to C is no result.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import POINTER, addressof, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from llvmlite import ir

from kspike_tf.scan import machine

VERSION = 0, 2  # of the C API
METADATA = 1  # XLA_FFI_Extension_Metadata
TYPES = {11: "f4", 12: "f8"}  # XLA_FFI_DataType_F32 and _F64, as NumPy has it

# What functions raise, as XLA_FFI_Error_Code: but for interrupts, that of TensorFlow's
# numpy_function.
CANCELLED, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL = 1, 3, 8, 12, 13
CODES = {
    KeyboardInterrupt: CANCELLED,
    ValueError: INVALID_ARGUMENT,
    TypeError: INVALID_ARGUMENT,
    MemoryError: RESOURCE_EXHAUSTED,
    NotImplementedError: UNIMPLEMENTED,
}
DONE = 1  # where the address of an error would be


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
_Callback = ctypes.CFUNCTYPE(None, POINTER(_Frame), POINTER(c_size_t))
_Text = _structure("_Text", ("start", c_char_p), ("length", c_size_t))
_Registration = _structure(
    "_Registration",
    *_HEAD,
    ("name", _Text),
    ("platform", _Text),
    ("earlier_stages", c_void_p * 3),
    ("execute", c_size_t),
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


def register(functions: dict[str, Callable[..., Any]]) -> bool:
    """Let XLA's programs on this machine's processor call functions.

    Parameters
    ----------
    functions : dict of str to callable
        By the names that programs call them by. Each takes arrays, and one more for its first
        result; it returns a list of arrays.

    Returns
    -------
    bool
        Whether they can.
    """
    api = _api()
    if api is None:
        return False
    callbacks = [_callback(each) for each in functions.values()]
    handlers, kept = _handlers(callbacks)
    # XLA calls them for as long as the process lives.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object([*callbacks, kept]))
    for name, handler in zip(functions, handlers, strict=True):
        label, platform = name.encode(), b"Host"
        registration = _Registration(
            size=ctypes.sizeof(_Registration),
            name=_Text(label, len(label)),
            platform=_Text(platform, len(platform)),
            execute=handler,
        )
        if api.register(ctypes.byref(registration)):  # which gives the address of an error
            return False
    return True


def _handlers(callbacks: list[Any]) -> tuple[list[int], Any]:
    """Return addresses of machine code that calls back, and what has to be kept for it."""
    word, pointer = ir.IntType(64), ir.IntType(8).as_pointer()
    lost = _Error(
        size=ctypes.sizeof(_Error), message=b"interrupted, as printed before", code=CANCELLED
    )
    make_error = ctypes.cast(_api().make_error, c_void_p).value
    module = ir.Module("kspike_tf_handlers")
    for number, callback in enumerate(callbacks):
        kind = ir.FunctionType(pointer, [pointer])
        handler = ir.Function(module, kind, f"handler{number}")
        b = ir.IRBuilder(handler.append_basic_block())
        found = b.alloca(word)
        b.store(word(0), found)
        back = ir.FunctionType(ir.VoidType(), [pointer, word.as_pointer()]).as_pointer()
        address = ctypes.cast(callback, c_void_p).value
        b.call(b.inttoptr(word(address), back), [handler.args[0], found])
        result = b.load(found, typ=word)
        with b.if_then(b.icmp_unsigned("==", result, word(0))):  # it did not come to its end
            make = b.inttoptr(word(make_error), kind.as_pointer())
            b.ret(b.call(make, [b.inttoptr(word(addressof(lost)), pointer)]))
        result = b.select(b.icmp_unsigned("==", result, word(DONE)), word(0), result)
        b.ret(b.inttoptr(result, pointer))
    engine = machine.compiled(module)
    return [engine.get_function_address(f"handler{n}") for n in range(len(callbacks))], lost


def _callback(function: Callable[..., Any]) -> Any:
    """Return a function for C that writes down how it went: `DONE`, or the address of an error."""

    def call(frame: Any, found: Any) -> None:
        try:
            if frame.contents.extension:
                _describe(frame.contents.extension)
            else:
                _run(function, frame.contents)
        except BaseException as error:
            found[0] = _error(error)
        else:
            found[0] = DONE

    return _Callback(call)


def _run(function: Callable[..., Any], frame: Any) -> None:
    results = _arrays(frame.results)
    found = function(*_arrays(frame.args), results[0])
    for each, result in zip(found, results, strict=True):
        if each is not result:
            result[...] = each


def _describe(address: int) -> None:
    """Answer XLA, which asks what we are when we register."""
    extension = ctypes.cast(address, POINTER(_Extension)).contents
    if extension.kind == METADATA:
        metadata = extension.metadata.contents
        metadata.version.major, metadata.version.minor = VERSION
        metadata.traits = 0


def _error(error: BaseException) -> Any:
    message = f"{type(error).__name__}: {error}".encode(errors="replace")
    code = next((code for kind, code in CODES.items() if isinstance(error, kind)), INTERNAL)
    made = _Error(size=ctypes.sizeof(_Error), message=message, code=code)
    return _api().make_error(ctypes.byref(made))


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
