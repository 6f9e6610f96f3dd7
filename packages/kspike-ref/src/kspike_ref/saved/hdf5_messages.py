"""The messages in HDF5 object headers: shapes, types and positions of arrays, and attributes.

References
----------
HDF5 File Format Specification Version 3.0, section IV.A.2 (data object header messages).
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from kspike_ref.saved.errors import ArchiveError

DATASPACE, DATATYPE, EXTERNAL, LAYOUT = 0x1, 0x3, 0x7, 0x8
FILTERS, ATTRIBUTE, CONTINUATION, SYMBOL_TABLE = 0xB, 0xC, 0x10, 0x11
NEW_LINKS = (0x2, 0x6)  # link info and link messages: soft, external and user-defined links

_MAX_RANK = 32  # HDF5's limit
_FIXED_STRING, _VARIABLE = 3, 9  # type classes

# IEEE 754 and bfloat16 in HDF5's terms: position of the sign; bit offset, precision, position and
# size of the exponent and the mantissa, and the bias of the exponent; then NumPy's type.
_FLOATS = {
    (15, struct.pack("<HHBBBBI", 0, 16, 10, 5, 0, 10, 15)): "f2",
    (31, struct.pack("<HHBBBBI", 0, 32, 23, 8, 0, 23, 127)): "f4",
    (63, struct.pack("<HHBBBBI", 0, 64, 52, 11, 0, 52, 1023)): "f8",
    (15, struct.pack("<HHBBBBI", 0, 16, 7, 8, 0, 7, 127)): "bfloat16",
}
_IMPLIED_BIT = 0x20  # in the flags of a float: the mantissa has a leading one that is not stored
# h5py's booleans: an enumeration of int8, with two names and their values.
_BOOLEAN = struct.pack("<BBHIHH8s8sBB", 0x10, 8, 0, 1, 0, 8, b"FALSE", b"TRUE", 0, 1)


class FormatError(ArchiveError):
    """Bytes that are not HDF5, or HDF5 that Keras does not write.

    Parameters
    ----------
    message : str
        The fault.
    """

    def __init__(self, message: str) -> None:
        super().__init__(f"weights that cannot be read: {message}")


class Attribute(NamedTuple):
    """An attribute of an object.

    Attributes
    ----------
    name : str
        Its name.
    items : list of bytes, or None
        The texts, or references to them; None if the attribute is not text.
    are_references : bool
        Whether the items point into a global heap.
    """

    name: str
    items: list[bytes] | None
    are_references: bool


def unpack(form: str, body: bytes) -> tuple[Any, ...]:
    """Return the numbers at the start of a message; see `struct.unpack_from`."""
    if len(body) < struct.calcsize(form):
        raise FormatError("a message that is too short")
    return struct.unpack_from(form, body)


def shape_of(body: bytes) -> tuple[int, ...]:
    """Return the shape in a dataspace message."""
    version, rank = unpack("<BB", body)
    if version not in (1, 2) or rank > _MAX_RANK:
        raise FormatError("a shape that Keras does not write")
    if version == 2 and body[3:4] == b"\2":
        raise FormatError("a dataset without values")
    return unpack(f"<{rank}Q", body[8 if version == 1 else 4 :])


def type_of(body: bytes) -> tuple[str, int]:
    """Return NumPy's name of the type in a datatype message, or ``"bfloat16"``, and its size."""
    kind, bits, sign, unused, size = unpack("<BBBBI", body)
    kind &= 15
    order = ">" if bits & 1 else "<"
    if kind == 8 and size == 1 and body[8:].startswith(_BOOLEAN):
        return "u1", 1
    if kind == 5 and size == 2:  # opaque: h5py's form of NumPy's bfloat16
        return "bfloat16", 2
    if kind == 0 and size in (1, 2, 4, 8):
        is_whole = body[8:12] == struct.pack("<HH", 0, 8 * size)
        if is_whole and bits & ~9 == sign == unused == 0:
            return f"{order}{'i' if bits & 8 else 'u'}{size}", size
    if kind == 1 and bits & ~1 == _IMPLIED_BIT and not unused:
        name = _FLOATS.get((sign, body[8:20]))
        if name == "bfloat16" and size == 2 and order == "<":
            return name, size
        if name and name[1:] == str(size):
            return order + name, size
    raise FormatError("values that are not plain numbers")


def start_of(layout: bytes, size: int) -> int:
    """Return the position of a dataset of ``size`` bytes, from its layout message."""
    version, kind = layout[:1], layout[1:2]
    if version != b"\x03" or kind not in (b"\0", b"\1"):
        raise FormatError("a chunked or virtual dataset")
    if kind == b"\0":
        raise FormatError("a compact dataset")
    start, stored = unpack("<QQ", layout[2:])
    if size == 0:
        return 0
    if stored != size:
        raise FormatError(f"a dataset of {size} bytes with {stored} bytes of storage")
    return int(start)


def attribute_of(body: bytes) -> Attribute:
    """Return the attribute in a message."""
    version, flags, *sizes = unpack("<BBHHH", body)
    if version not in (1, 2, 3) or (version > 1 and flags):
        raise FormatError("an attribute that Keras does not write")
    at, parts = 9 if version == 3 else 8, []
    for size in sizes:
        parts.append(body[at : at + size])
        at += -(-size // 8) * 8 if version == 1 else size
    name, kind, space = parts
    text = name.rstrip(b"\0").decode("utf-8", "replace")
    (word,) = unpack("<I", kind[4:8])
    type_class = kind[0] & 15
    are_references = type_class == _VARIABLE and kind[1] & 15 == 1
    if type_class != _FIXED_STRING and not are_references:
        return Attribute(text, None, False)
    data, count = body[at:], 1
    for length in shape_of(space):
        count *= length
    if count * word > len(data):
        raise FormatError("an attribute that is longer than its message")
    items = [data[i * word : (i + 1) * word] for i in range(count)] if word else []
    return Attribute(text, items, are_references)
