"""Functions of arrays that programs compiled by XLA can call: its foreign function interface.

The structures are those of XLA's C API, of the version below; ``xla/ffi/api/c_api.h`` among
TensorFlow's header files describes them. Each begins with its size, by which XLA knows how much of
it there is, and a list of extensions: so fields at the end that we do not use are left out.

What XLA calls is machine code, which calls the driver of scans.
"""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_int, c_int64, c_size_t, c_uint32, c_void_p
from functools import cache
from typing import Any

from llvmlite import ir

from kspike_tf.scan import capi, code, driver, program
from kspike_tf.scan.code import BYTE, NUMBER, POINTER, WORD
from kspike_tf.scan.driver import MOST_ARGUMENTS

VERSION = 0, 2  # of the C API
METADATA = 1  # XLA_FFI_Extension_Metadata
TYPES = {11: 4, 12: 8}  # bytes of XLA_FFI_DataType_F32 and _F64


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
    ("metadata", c_void_p),
)
_Buffer = _structure(
    "_Buffer",
    *_HEAD,
    ("dtype", c_int),
    ("data", c_void_p),
    ("rank", c_int64),
    ("dims", c_void_p),
)
_Buffers = _structure(
    "_Buffers",
    *_HEAD,
    ("count", c_int64),
    ("kinds", c_void_p),
    ("buffers", c_void_p),
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
    ("make_error", c_void_p),
    ("error_message", c_void_p),
    ("destroy_error", c_void_p),
    ("register", ctypes.CFUNCTYPE(c_void_p, ctypes.POINTER(_Registration))),
)


@cache
def _api() -> Any:
    """Return the interface, or None where there is none of our version."""
    get = getattr(capi.library(), "XLA_FFI_GetApi", None)
    if get is None:
        return None
    get.restype = ctypes.POINTER(_Api)
    api = get().contents
    return api if (api.version.major, api.version.minor) == VERSION else None


def register(plans: dict[str, int]) -> bool:
    """Let XLA's programs on this machine's processor call scans.

    Parameters
    ----------
    plans : dict of str to int
        Addresses of plans, by the names that programs call scans by.

    Returns
    -------
    bool
        Whether they can.
    """
    api = _api()
    if api is None:
        return False
    handlers = _handlers(list(plans.values()))
    for name, handler in zip(plans, handlers, strict=True):
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


def _handlers(plans: list[int]) -> list[int]:
    """Return addresses of machine code that XLA calls, one for each scan."""
    module = ir.Module("kspike_tf_handlers")
    handle = _write_handle(module)
    for number, plan in enumerate(plans):
        handler = ir.Function(module, ir.FunctionType(POINTER, [POINTER]), f"handler{number}")
        b = ir.IRBuilder(handler.append_basic_block())
        b.ret(b.call(handle, [handler.args[0], b.inttoptr(WORD(plan), POINTER)]))
    engine = code.compiled(module, 0)
    return [int(engine.get_function_address(f"handler{n}")) for n in range(len(plans))]


def _write_handle(module: Any) -> Any:
    """Write what answers XLA: it is given a frame of its, and a plan."""
    handle = code.local(module, POINTER, [POINTER, POINTER], "handle")
    frame, plan = handle.args
    b = ir.IRBuilder(handle.append_basic_block())
    extension = code.field(b, frame, _Frame.extension, POINTER)
    with b.if_then(code.is_given(b, extension), likely=False):
        kind = code.field(b, extension, _Extension.kind, NUMBER)
        with b.if_then(b.icmp_signed("==", kind, NUMBER(METADATA))):
            _write_description(b, extension)
            b.ret(POINTER(None))
    message, counts = code.room(b, BYTE, driver.MESSAGE), code.room(b, WORD, 3)
    taken, args = _write_buffers(b, frame, _Frame.args)
    given, results = _write_buffers(b, frame, _Frame.results)
    for n, number in enumerate((taken, given, WORD(0))):
        b.store(number, code.at(b, counts, WORD(n), WORD))
    shape = code.room(b, POINTER, 1)
    with b.if_then(b.icmp_signed(">", taken, WORD(0)), likely=True):
        first = code.load(b, args[0], WORD(0), POINTER)
        b.store(code.field(b, first, _Buffer.rank, WORD), code.at(b, counts, WORD(2), WORD))
        b.store(code.field(b, first, _Buffer.dims, POINTER), shape)
    function = code.function_at(b, program.scan(), WORD, driver.KIND)
    arrays = *args[1:], *results[1:]
    failed = b.call(function, [plan, counts, b.load(shape, typ=POINTER), *arrays, message])
    with b.if_then(b.icmp_signed("!=", failed, WORD(0)), likely=False):
        b.ret(_write_error(b, failed, message))
    b.ret(POINTER(None))
    return handle


def _write_buffers(b: Any, frame: Any, field: Any) -> tuple[Any, tuple[Any, Any, Any]]:
    """Write where the memory of buffers is, and how many bytes each has.

    Returns the number of buffers, and pointers to them and to both of these.
    """
    count = b.load(_place(b, frame, field.offset + _Buffers.count.offset), typ=WORD)
    buffers = b.load(_place(b, frame, field.offset + _Buffers.buffers.offset), typ=POINTER)
    data, sizes = code.room(b, POINTER, MOST_ARGUMENTS), code.room(b, WORD, MOST_ARGUMENTS)
    # The driver refuses what is more, or less, than it expects.
    with code.each(b, WORD(0), code.smaller(b, count, WORD(MOST_ARGUMENTS))) as n:
        buffer = code.load(b, buffers, n, POINTER)
        b.store(code.field(b, buffer, _Buffer.data, POINTER), code.at(b, data, n, POINTER))
        kind, size = code.field(b, buffer, _Buffer.dtype, NUMBER), WORD(0)
        for number, each in TYPES.items():
            size = b.select(b.icmp_signed("==", kind, NUMBER(number)), WORD(each), size)
        place = code.at(b, sizes, n, WORD)
        b.store(size, place)
        lengths = code.field(b, buffer, _Buffer.dims, POINTER)
        with code.each(b, WORD(0), code.field(b, buffer, _Buffer.rank, WORD)) as axis:
            length = code.load(b, lengths, axis, WORD)
            b.store(b.mul(b.load(place, typ=WORD), length), place)
    return count, (buffers, data, sizes)


def _write_description(b: Any, extension: Any) -> None:
    """Write an answer to XLA, which asks what we are when we register."""
    metadata = code.field(b, extension, _Extension.metadata, POINTER)
    version = _Metadata.version.offset
    for field, number in zip((_Version.major, _Version.minor), VERSION, strict=True):
        b.store(NUMBER(number), _place(b, metadata, version + field.offset))
    b.store(NUMBER(0), _place(b, metadata, _Metadata.traits.offset))


def _write_error(b: Any, number: Any, message: Any) -> Any:
    error = code.room(b, BYTE, ctypes.sizeof(_Error))
    b.store(WORD(ctypes.sizeof(_Error)), _place(b, error, _Error.size.offset))
    b.store(POINTER(None), _place(b, error, _Error.extension.offset))
    b.store(message, _place(b, error, _Error.message.offset))
    b.store(b.trunc(number, NUMBER), _place(b, error, _Error.code.offset))
    return b.call(code.function_at(b, _api().make_error, POINTER, [POINTER]), [error])


def _place(b: Any, structure: Any, offset: int) -> Any:
    return code.at(b, structure, WORD(offset), BYTE)
