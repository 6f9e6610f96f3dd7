"""A reader for the subset of HDF5 that Keras writes, in pure Python.

Libhdf5 is a large C library that was not made for hostile files: a mutated file may crash the
process, and links, external storage, virtual datasets and filters reach beyond the file or expand
without limit. Keras writes none of these: only a superblock of version 0, groups as symbol tables,
and contiguous arrays. The reader refuses everything else, checks every offset, and limits its
memory by the size of the file: in a file that libhdf5 wrote, no two arrays, names or entries share
bytes, so it reads no more of them than the file has bytes for.

References
----------
HDF5 File Format Specification Version 3.0, sections II (superblock), III.A (B-trees),
III.B to III.D (symbol tables and local heaps), III.E (global heap), and IV.A.1 (object headers).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from kspike_ref.saved import hdf5_messages as messages
from kspike_ref.saved.hdf5_messages import FormatError, unpack

__all__ = ["Dataset", "File", "FormatError"]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SUPERBLOCK_SIZE = 96
_ENTRY_SIZE = 40  # a symbol table entry with 8-byte offsets
_MAX_NAME = 1024  # bytes; names may overlap in the heap, so without a limit they grow quadratically
_MAX_HEADER = 64  # blocks of an object header; they may overlap too

_OF_DATASET = (messages.DATASPACE, messages.DATATYPE, messages.LAYOUT)

# Limits on the bytes that are read in all, as multiples of the file's size. An object header is
# read up to four times: as a member, for its values and for its attributes. A string is read twice:
# the text in a heap, and the reference to it.
_BUDGET = {"values": 1, "names": 1, "entries": 1, "heaps": 1, "strings": 2, "headers": 4}


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
        The position and number of its bytes in the file.
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
        If the file is not in the form that Keras writes.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        head = self._bytes(0, _SUPERBLOCK_SIZE)
        if head[:8] != _SIGNATURE:
            raise FormatError("not an HDF5 file: the signature is missing")
        if head[8] not in (0, 1) or head[13:15] != b"\x08\x08":
            raise FormatError(f"a superblock that Keras does not write (version {head[8]})")
        start = 24 + 4 * head[8]  # version 1 has one more field
        base, _, end = struct.unpack_from("<QQQ", head, start)
        if base != 0 or end > len(data):
            raise FormatError(f"truncated: the header states {end} bytes, the file has {len(data)}")
        (self.root,) = struct.unpack_from("<Q", self._bytes(start + 40, 8))
        self._groups: dict[int, dict[str, int]] = {}
        self._left = {what: times * len(data) for what, times in _BUDGET.items()}
        self._heaps: dict[int, dict[int, tuple[int, int]]] = {}

    def children(self, path: str) -> dict[str, int] | None:
        """Return the members of the group at ``path``, or None if there is no such group."""
        address = self.address(path)
        return None if address is None else self._members(address)

    def address(self, path: str) -> int | None:
        """Return the address of the object at ``path``, or None if there is no such object."""
        address = self.root
        for part in filter(None, path.split("/")):
            member = self._members(address).get(part)
            if member is None:
                return None
            address = member
        return address

    def attributes(self, address: int) -> dict[str, list[str] | None]:
        """Return the text attributes of an object.

        Parameters
        ----------
        address : int
            The address of its header in the file.

        Returns
        -------
        dict of str to list of str
            Their strings; None for an attribute that is not text.

        Raises
        ------
        FormatError
            If an attribute is damaged.
        """
        found = {}
        for kind, body in self._messages(address):
            if kind == messages.ATTRIBUTE:
                attribute = messages.attribute_of(body)
                found[attribute.name] = self._text(attribute)
        return found

    def dataset(self, address: int) -> Dataset:
        """Return the dataset whose object header is at ``address``.

        Parameters
        ----------
        address : int
            An address from `children` or `address`.

        Returns
        -------
        Dataset
            The array, not read yet.

        Raises
        ------
        FormatError
            If it is not a contiguous array of plain numbers inside this file.
        """
        found: dict[int, bytes] = {}
        for kind, body in self._messages(address):
            if kind in (messages.EXTERNAL, messages.FILTERS):
                raise FormatError("a dataset stored in another file or behind a filter")
            if kind in _OF_DATASET and found.setdefault(kind, body) != body:
                raise FormatError("a dataset described twice")
        if len(found) != 3:
            raise FormatError("not a dataset: its shape, type or place is missing")
        shape = messages.shape_of(found[messages.DATASPACE])
        dtype, size = messages.type_of(found[messages.DATATYPE])
        for length in shape:
            size *= length
        start = messages.start_of(found[messages.LAYOUT], size)
        self._check(start, size)
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
        """Count bytes that are read; refuse more than a file without shared bytes can hold."""
        self._left[what] -= size
        if self._left[what] < 0:
            raise FormatError(
                f"{what} overlap: they need more than the file's {len(self._data)} bytes"
            )

    def _check(self, start: int, size: int) -> None:
        """Refuse bytes outside the file."""
        if start < 0 or size < 0 or start + size > len(self._data):
            raise FormatError(f"truncated: bytes {start} to {start + size} are not in the file")

    def _bytes(self, start: int, size: int) -> bytes:
        self._check(start, size)
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
                raise FormatError("an object header with too many continuation blocks")
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
                if kind == messages.CONTINUATION:
                    blocks.append(unpack("<QQ", body))
                elif flags & 2 and kind != messages.ATTRIBUTE:
                    raise FormatError("a shared message")
                else:
                    yield kind, body

    def _members(self, address: int) -> dict[str, int]:
        """Return the addresses of a group's members by name."""
        if address in self._groups:
            return self._groups[address]
        tables = []
        for kind, body in self._messages(address):
            if kind in messages.NEW_LINKS:
                raise FormatError("links that Keras does not write (soft, external, or new style)")
            if kind == messages.SYMBOL_TABLE:
                tables.append(unpack("<QQ", body))
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
        """Return the start and the end of a group's names."""
        head = self._bytes(address, 32)
        if head[:4] != b"HEAP":
            raise FormatError("a group without names")
        size, _, start = struct.unpack_from("<QQQ", head, 8)
        self._check(start, size)
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

    def _text(self, attribute: messages.Attribute) -> list[str] | None:
        """Return the strings of an attribute, or None for other kinds of values."""
        if attribute.items is None:
            return None
        self._spend("strings", sum(map(len, attribute.items)))
        items = attribute.items
        if attribute.are_references:
            items = [self._global(item) for item in items]
        return [item.rstrip(b"\0").decode("utf-8", "replace") for item in items]

    def _global(self, reference: bytes) -> bytes:
        """Return the text to which a reference into a global heap points."""
        length, address, index = unpack("<IQI", reference)
        if length == 0:
            return b""
        if address not in self._heaps:
            self._heaps[address] = self._collection(address)
        start, size = self._heaps[address].get(index, (0, -1))
        if length > size:
            raise FormatError("a string outside its heap")
        self._spend("strings", length)  # before the copy: many references may share a text
        return self._bytes(start, length)

    def _collection(self, address: int) -> dict[int, tuple[int, int]]:
        """Return the positions and sizes of the objects in a global heap, by number."""
        head = self._bytes(address, 16)
        (size,) = struct.unpack_from("<Q", head, 8)
        if head[:4] != b"GCOL" or size < 16:
            raise FormatError("a global heap that is damaged")
        self._spend("heaps", size)
        self._check(address, size)
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
