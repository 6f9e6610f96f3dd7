"""Reads the subset of HDF5 that Keras writes, in Python alone, from bytes that nobody vouches for.

Libhdf5 is a large C library that was not made for hostile files: a mutated one may crash the
process, and links, external storage, virtual datasets and filters reach beyond the file or expand
without bound. Keras writes none of that: a superblock of version 0, groups as symbol tables, and
contiguous arrays. Whatever is not on this short list is refused, every offset is checked, and the
memory used is bounded by the size of the file: in a file that libhdf5 wrote, no two arrays, names
or entries share bytes, so no more of them are read than the file has bytes for.

References
----------
HDF5 File Format Specification Version 3.0, sections II (superblock), III.A (B-trees),
III.B to III.D (symbol tables and local heaps), and IV (object headers).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SUPERBLOCK_SIZE = 96
_ENTRY_SIZE = 40  # a symbol table entry with 8-byte offsets
_MAX_RANK = 32  # what HDF5 allows
_MAX_NAME = 1024  # bytes; names may overlap in the heap, so without a limit they grow quadratically
_MAX_HEADER = 64  # blocks of an object header; they may overlap too
_FIXED_STRING, _VARIABLE = 3, 9  # classes of types
_READS = 4  # how often an object header is read: as a member, for its values and its attributes

_DATASPACE, _DATATYPE, _EXTERNAL, _LAYOUT = 0x1, 0x3, 0x7, 0x8
_FILTERS, _ATTRIBUTE, _CONTINUATION, _SYMBOL_TABLE = 0xB, 0xC, 0x10, 0x11
_NEW_LINKS = (0x2, 0x6)  # link info and link messages: soft, external and user-defined links

# sign, exponent and mantissa of IEEE 754 and bfloat16 in HDF5's words: size → the eight bytes
# (bit offset, precision, exponent location and size, mantissa location and size), and NumPy's type
_FLOATS = {
    struct.pack("<HHBBBB", 0, 16, 10, 5, 0, 10): "f2",
    struct.pack("<HHBBBB", 0, 32, 23, 8, 0, 23): "f4",
    struct.pack("<HHBBBB", 0, 64, 52, 11, 0, 52): "f8",
}
_BFLOAT16 = struct.pack("<HHBBBB", 0, 16, 7, 8, 0, 7)


class FormatError(ValueError):
    """Bytes that are not HDF5, or HDF5 that Keras does not write."""


@dataclass(frozen=True)
class Dataset:
    """An array in the file, not read yet.

    Attributes
    ----------
    shape : tuple of int
        Its shape.
    dtype : str
        NumPy's name of its type, or ``"bfloat16"``.
    start, size : int
        Where its bytes are in the file.
    """

    shape: tuple[int, ...]
    dtype: str
    start: int
    size: int


class File:
    """The groups and datasets of an HDF5 file.

    Parameters
    ----------
    data : bytes
        The whole file.

    Raises
    ------
    FormatError
        If the file is not what Keras writes.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        head = self._bytes(0, _SUPERBLOCK_SIZE)
        if head[:8] != _SIGNATURE:
            raise FormatError("not an HDF5 file: the signature is missing")
        if head[8] not in (0, 1) or head[13:15] != b"\x08\x08":
            raise FormatError(f"a superblock that Keras does not write (version {head[8]})")
        start = 24 + 4 * head[8]  # version 1 has a field more
        base, _, end = struct.unpack_from("<QQQ", head, start)
        if base != 0 or end > len(data):
            raise FormatError(f"truncated: {end} bytes are promised, {len(data)} are there")
        (self.root,) = struct.unpack_from("<Q", self._bytes(start + 40, 8))
        self._groups: dict[int, dict[str, int]] = {}
        self._left = dict.fromkeys(("values", "names", "entries", "headers"), len(data))
        self._left["headers"] *= _READS
        self._left["heaps"] = len(data)
        self._left["strings"] = 2 * len(data)  # what is in a heap, and the references to it
        self._heaps: dict[int, dict[int, tuple[int, int]]] = {}

    def children(self, path: str) -> dict[str, int] | None:
        """Return the members of the group at ``path``, or None where there is no such group."""
        address = self.address(path)
        return None if address is None else self._members(address)

    def address(self, path: str) -> int | None:
        """Return where the object at ``path`` is, or None where there is none."""
        address = self.root
        for part in filter(None, path.split("/")):
            member = self._members(address).get(part)
            if member is None:
                return None
            address = member
        return address

    def attributes(self, address: int) -> dict[str, list[str] | None]:
        """Return the attributes of an object that are text.

        Parameters
        ----------
        address : int
            Where the object is.

        Returns
        -------
        dict of str to list of str
            The strings of each; None for attributes of another kind.

        Raises
        ------
        FormatError
            If they are damaged.
        """
        return {
            name: values
            for kind, body in self._messages(address)
            if kind == _ATTRIBUTE
            for name, values in [self._attribute(body)]
        }

    def dataset(self, address: int) -> Dataset:
        """Return the dataset whose object header is at ``address``.

        Parameters
        ----------
        address : int
            A value of what `children` returned.

        Returns
        -------
        Dataset
            What is there, not read.

        Raises
        ------
        FormatError
            If it is not a contiguous array of plain numbers inside this file.
        """
        found: dict[int, bytes] = {}
        for kind, body in self._messages(address):
            if kind in (_EXTERNAL, _FILTERS):
                raise FormatError("a dataset stored in another file or behind a filter")
            if kind in (_DATASPACE, _DATATYPE, _LAYOUT) and found.setdefault(kind, body) != body:
                raise FormatError("a dataset described twice")
        if len(found) != 3:
            raise FormatError("not a dataset: its shape, type or place is missing")
        shape = _shape(found[_DATASPACE])
        dtype, itemsize = _dtype(found[_DATATYPE])
        size = itemsize
        for length in shape:
            size *= length
        start = self._start(found[_LAYOUT], size)
        return Dataset(shape, dtype, start, size)

    def read(self, dataset: Dataset) -> np.ndarray[Any, Any]:
        """Return a copy of a dataset's values in the machine's byte order."""
        self._spend("values", dataset.size)
        raw = self._data[dataset.start : dataset.start + dataset.size]
        if dataset.dtype == "bfloat16":
            high = np.frombuffer(raw, "<u2").astype(np.uint32) << 16
            return high.view(np.float32).reshape(dataset.shape)
        values = np.frombuffer(raw, dataset.dtype).reshape(dataset.shape)
        return values.astype(values.dtype.newbyteorder("="))

    def _spend(self, what: str, size: int) -> None:
        """Count bytes of the file that are read; refuse those that must have been read before."""
        self._left[what] -= size
        if self._left[what] < 0:
            raise FormatError(f"{what} that share their bytes: more than {len(self._data)} in all")

    def _bytes(self, start: int, size: int) -> bytes:
        if start < 0 or size < 0 or start + size > len(self._data):
            raise FormatError(f"truncated: bytes {start} to {start + size} are not in the file")
        return self._data[start : start + size]

    def _messages(self, address: int) -> Iterator[tuple[int, bytes]]:
        """Yield the messages of a version 1 object header, continuations included."""
        version, _, count, _, size = struct.unpack("<BBHII", self._bytes(address, 12))
        if version != 1:
            raise FormatError("an object header that Keras does not write")
        blocks: list[Any] = [(address + 16, size)]
        seen: set[int] = set()
        for start, length in blocks:
            if len(seen) == _MAX_HEADER:
                raise FormatError("an object header in too many pieces")
            if start in seen:
                raise FormatError("an object header that contains itself")
            seen.add(start)
            self._spend("headers", length)
            block, at = self._bytes(start, length), 0
            while at + 8 <= length and count > 0:
                kind, body_size, flags = struct.unpack_from("<HHB", block, at)
                body = block[at + 8 : at + 8 + body_size]
                if len(body) < body_size:
                    raise FormatError("a message that is longer than its object header")
                at, count = at + 8 + body_size, count - 1
                if kind == _CONTINUATION:
                    blocks.append(_unpack("<QQ", body))
                elif flags & 2 and kind != _ATTRIBUTE:
                    raise FormatError("a shared message")
                else:
                    yield kind, body

    def _members(self, address: int) -> dict[str, int]:
        """Return name → address of what a group holds."""
        if address in self._groups:
            return self._groups[address]
        tables = []
        for kind, body in self._messages(address):
            if kind in _NEW_LINKS:
                raise FormatError("links that Keras does not write (soft, external, or new style)")
            if kind == _SYMBOL_TABLE:
                tables.append(_unpack("<QQ", body))
        if len(tables) != 1:
            raise FormatError("not a group")
        (tree, heap), members = tables[0], {}
        names = self._heap(heap)
        for offset, target, cache in self._entries(tree):
            if cache == 2:
                raise FormatError("a soft link")
            name = self._name(names, offset)
            if name in members:
                raise FormatError(f"two members with the same name, {name!r}")
            members[name] = target
        self._groups[address] = members
        return members

    def _heap(self, address: int) -> tuple[int, int]:
        """Return where a group's names start and end."""
        head = self._bytes(address, 32)
        if head[:4] != b"HEAP":
            raise FormatError("a group without names")
        size, _, start = struct.unpack_from("<QQQ", head, 8)
        if start + size > len(self._data):
            raise FormatError(f"truncated: bytes {start} to {start + size} are not in the file")
        return start, start + size

    def _name(self, names: tuple[int, int], offset: int) -> str:
        start = names[0] + offset
        end = self._data.find(b"\0", start, min(names[1], start + _MAX_NAME + 1))
        if end < 0:
            raise FormatError("a name that is too long, or outside its heap")
        self._spend("names", end - start + 1)
        try:
            return self._data[start:end].decode("utf-8")
        except UnicodeDecodeError:
            raise FormatError("a name that is not UTF-8") from None

    def _entries(self, tree: int) -> Iterator[tuple[int, int, int]]:
        """Yield name offset, address and kind of every entry below a B-tree node."""
        pending, seen = [tree], set()
        while pending:
            at = pending.pop()
            if at in seen:
                raise FormatError("a group that contains itself")
            seen.add(at)
            head = self._bytes(at, 8)
            (used,) = struct.unpack_from("<H", head, 6)
            if head[:4] == b"SNOD":
                self._spend("entries", used * _ENTRY_SIZE)
                table = self._bytes(at + 8, used * _ENTRY_SIZE)
                for i in range(used):
                    yield struct.unpack_from("<QQI", table, i * _ENTRY_SIZE)
            elif head[:5] == b"TREE\0":
                self._spend("entries", used * 16)
                keys = self._bytes(at + 24, (2 * used + 1) * 8)
                pending += struct.unpack(f"<{2 * used + 1}Q", keys)[1::2]
            else:
                raise FormatError("a group whose index is damaged")

    def _attribute(self, body: bytes) -> tuple[str, list[str] | None]:
        """Return the name and the strings of an attribute's message."""
        version, flags, *sizes = _unpack("<BBHHH", body)
        if version not in (1, 2, 3) or (version > 1 and flags):
            raise FormatError("an attribute that Keras does not write")
        at, parts = 9 if version == 3 else 8, []
        for size in sizes:
            parts.append(body[at : at + size])
            at += -(-size // 8) * 8 if version == 1 else size
        name, kind, space = parts
        text = name.rstrip(b"\0").decode("utf-8", "replace")
        (word,) = _unpack("<I", kind[4:8])
        if kind[0] & 15 not in (_FIXED_STRING, _VARIABLE) or (
            kind[0] & 15 == _VARIABLE and kind[1] & 15 != 1
        ):
            return text, None
        count = math.prod(_shape(space))
        data = body[at:]
        if count * word > len(data):
            raise FormatError("an attribute that is longer than its message")
        self._spend("strings", count * word)
        items = [data[i * word : (i + 1) * word] for i in range(count)] if word else []
        if kind[0] & 15 == _VARIABLE:
            items = [self._global(item) for item in items]
        return text, [item.rstrip(b"\0").decode("utf-8", "replace") for item in items]

    def _global(self, reference: bytes) -> bytes:
        """Return what a reference to a global heap stands for."""
        length, address, index = _unpack("<IQI", reference)
        if length == 0:
            return b""
        if address not in self._heaps:
            self._heaps[address] = self._collection(address)
        start, size = self._heaps[address].get(index, (0, -1))
        if length > size:
            raise FormatError("a string outside its heap")
        self._spend("strings", length)  # before it is copied: many references may lead to one
        return self._bytes(start, length)

    def _collection(self, address: int) -> dict[int, tuple[int, int]]:
        """Return number → place and size of the objects of a global heap."""
        head = self._bytes(address, 16)
        (size,) = struct.unpack_from("<Q", head, 8)
        if head[:4] != b"GCOL" or size < 16:
            raise FormatError("a global heap that is damaged")
        self._spend("heaps", size)
        self._bytes(address, size)
        objects, at = {}, address + 16
        while at + 16 <= address + size:
            index, _, length = struct.unpack_from("<HH4xQ", self._data, at)
            if index == 0:  # the free space at the end
                break
            if length > address + size - at - 16:
                raise FormatError("a global heap that is damaged")
            objects[index] = (at + 16, length)
            at += 16 + -(-length // 8) * 8
        return objects

    def _start(self, layout: bytes, size: int) -> int:
        """Return where a dataset of ``size`` bytes starts."""
        version, kind = layout[:1], layout[1:2]
        if version != b"\x03" or kind not in (b"\0", b"\1"):
            raise FormatError("a chunked or virtual dataset")
        if kind == b"\0":
            raise FormatError("a compact dataset")
        start, stored = _unpack("<QQ", layout[2:])
        if size == 0:
            return 0
        if stored != size:
            raise FormatError(f"a dataset of {size} bytes with {stored} bytes of storage")
        self._bytes(start, size)
        return int(start)


def _unpack(form: str, body: bytes) -> tuple[Any, ...]:
    if len(body) < struct.calcsize(form):
        raise FormatError("a message that is too short")
    return struct.unpack_from(form, body)


def _shape(body: bytes) -> tuple[int, ...]:
    version, rank = _unpack("<BB", body)
    if version not in (1, 2) or rank > _MAX_RANK:
        raise FormatError("a shape that Keras does not write")
    if version == 2 and body[3:4] == b"\2":
        raise FormatError("a dataset without values")
    return _unpack(f"<{rank}Q", body[8 if version == 1 else 4 :])


def _dtype(body: bytes) -> tuple[str, int]:
    kind, bits, _, _, size = _unpack("<BBBBI", body)
    if (
        kind & 15 == 8 and b"FALSE\0" in body and b"TRUE\0" in body and size == 1
    ):  # h5py's booleans: an enumeration
        return "u1", 1
    if kind & 15 == 5 and size == 2:  # opaque: h5py's form of NumPy's bfloat16
        return "bfloat16", 2
    order = ">" if bits & 1 else "<"
    if kind & 15 == 0 and size in (1, 2, 4, 8):
        return f"{order}{'i' if bits & 8 else 'u'}{size}", size
    if kind & 15 == 1:
        layout = body[8:16]
        if layout == _BFLOAT16 and size == 2 and order == "<":
            return "bfloat16", 2
        name = _FLOATS.get(layout)
        if name and int(name[1]) == size:
            return order + name, size
    raise FormatError("values that are not plain numbers")
