"""Machine code on the disk: where it is, whether it may be trusted, and how it is loaded.

A file is a line of JSON and the object code. It is loaded only if it was written for the same
kernel, types, processor and versions, is complete, and is the user's own, writeable by nobody else:
machine code of strangers is not run.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import json
import os
import platform
import stat
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite  # type: ignore[import-not-found]
import llvmlite.binding as llvm  # type: ignore[import-not-found]
import numpy as np

from kspike_ref._fingerprint import UnknownDependencyError, fingerprint

FAILED = -(2**63)  # what machine code returns where its Python code would raise
_FORMAT = 1
_HEADER = object.__basicsize__
_engines: list[Any] = []  # keep the loaded code in memory
_Native = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_char_p)  # releases the GIL


class Place(NamedTuple):
    """Where an object is kept, what it was made from, and the name of its entry."""

    path: Path
    source: str
    symbol: str


class Made(NamedTuple):
    """Object code, the C functions it needs, and whether it returns nothing."""

    code: bytes
    needs: tuple[str, ...]
    is_void: bool


class Entry(NamedTuple):
    """Loaded machine code: packs the words of a call, and runs on the packed block."""

    pack: Callable[..., bytes]
    run: Callable[[bytes], Any]


def place(
    function: Callable[..., Any], types: tuple[Any, ...], options: dict[str, Any]
) -> Place | None:
    """Return where a kernel's object for some types is kept; None where it cannot be."""
    if not _array_fields_are_known():
        return None
    try:
        settings = [f"{name}={_plain(value)!r}" for name, value in sorted(options.items())]
        source = _digest(fingerprint(function), *settings)
    except UnknownDependencyError:
        return None
    kept_in = folder(function.__code__.co_filename)
    if kept_in is None:
        return None
    identity = _digest(repr(types), _machine())
    name = f"{function.__module__}.{function.__qualname__}"
    if not name.replace(".", "").isidentifier():  # a function within a function
        return None
    symbol = f"kspike_{function.__name__}_{_digest(source, identity)[:32]}"
    return Place(kept_in / f"{name}-{identity[:24]}.kso", source, symbol)


def _plain(option: Any) -> Any:
    return sorted(option) if isinstance(option, set) else option  # a set has no order of its own


def load(where: Place, layout: struct.Struct) -> Entry | None:
    """Load an object from the disk; None where there is none that may be used."""
    try:
        made = _read(where)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # absent, cut short, or somebody else's
    return None if made is None else load_object(where, made, layout)


def load_object(where: Place, made: Made, layout: struct.Struct) -> Entry | None:
    """Make object code callable; None where this process lacks a function that it needs."""
    try:
        address = _load(made, where.symbol)
    except RuntimeError:
        return None
    if not address:
        return None
    native, name = _Native(address), where.path.name

    def run(block: bytes) -> Any:
        result = native(block)
        if result == FAILED:
            raise RuntimeError(f"the kernel {name} failed")
        return result

    def run_void(block: bytes) -> None:
        if native(block):
            raise RuntimeError(f"the kernel {name} failed")

    return Entry(layout.pack, run_void if made.is_void else run)


def save(where: Place, made: Made) -> None:
    """Write an object for other processes; silently not where the folder cannot be written."""
    header = {
        "format": _FORMAT,
        "source": where.source,
        "symbol": where.symbol,
        "needs": made.needs,
        "is_void": made.is_void,
        "sha256": hashlib.sha256(made.code).hexdigest(),
    }
    import tempfile  # 10 ms that only a process that compiles needs

    with suppress(OSError):
        handle, name = tempfile.mkstemp(dir=where.path.parent, suffix=".tmp")  # mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(json.dumps(header).encode() + b"\n" + made.code)
            Path(name).replace(where.path)
        except OSError:
            Path(name).unlink(missing_ok=True)


def _read(where: Place) -> Made | None:
    with where.path.open("rb") as file:
        if not _is_ours(os.fstat(file.fileno())):
            return None
        header = json.loads(file.readline())
        code = file.read()
    if header["format"] != _FORMAT or header["source"] != where.source:
        return None
    if header["symbol"] != where.symbol or header["sha256"] != hashlib.sha256(code).hexdigest():
        return None
    return Made(code, tuple(map(str, header["needs"])), bool(header["is_void"]))


def _is_ours(status: os.stat_result) -> bool:
    """Return whether a file is the user's own and writeable by nobody else."""
    if not hasattr(os, "geteuid"):
        return True  # Windows: the folders' access lists tell
    others = stat.S_IWGRP | stat.S_IWOTH
    return status.st_uid == os.geteuid() and not status.st_mode & others


def _load(made: Made, symbol: str) -> int:
    """Give object code to LLVM; return the address of its entry, or 0."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine())
    # Asked after there is an engine: the first one makes the process's own functions known.
    if any(not llvm.address_of_symbol(name) for name in made.needs):
        return 0  # LLVM would end the process
    engine.add_object_file(llvm.ObjectFileRef.from_data(made.code))
    engine.finalize_object()
    _engines.append(engine)
    return int(engine.get_function_address(symbol))


def _target_machine() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine()


@lru_cache(maxsize=1)
def _array_fields_are_known() -> bool:
    """Look whether an array's data, shape and strides are where machine code reads them."""
    array = np.zeros((3, 5), np.int16)[:, ::2]
    data, _, shape, strides = (
        ctypes.c_size_t.from_address(id(array) + _HEADER + 8 * i).value for i in range(4)
    )
    if ctypes.sizeof(ctypes.c_size_t) != 8 or data != array.ctypes.data:
        return False
    pair = ctypes.c_ssize_t * 2
    return (
        tuple(pair.from_address(shape)) == array.shape
        and tuple(pair.from_address(strides)) == array.strides
    )


@lru_cache(maxsize=1)
def _machine() -> str:
    """Describe all that is not of the kernel: the processor, versions, and Numba's settings."""
    settings = sorted(
        (name, value)
        for name, value in os.environ.items()
        if name.startswith("NUMBA_") and name not in ("NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS")
    )
    features = sorted(llvm.get_host_cpu_features().items())
    parts = (llvm.get_host_cpu_name(), features, platform.machine(), sys.platform, settings)
    versions = (sys.version, llvmlite.__version__, llvm.llvm_version_info, _numba(), _HEADER)
    ours = [Path(__file__).with_name(f"{name}.py") for name in ("_jit", "_compile", "_runtime")]
    own = [_digest(path.read_text(encoding="utf-8")) for path in ours]
    return repr((_FORMAT, parts, versions, own))


def _numba() -> str:
    """Return what tells Numba's version, without importing Numba."""
    spec = importlib.util.find_spec("numba")
    if spec is None or spec.origin is None:
        return "none"
    version = Path(spec.origin).with_name("_version.py")
    return _digest(version.read_text()) if version.exists() else spec.origin


@lru_cache(maxsize=64)
def folder(filename: str) -> Path | None:
    """Return the cache folder for a source file: the first that can be written."""
    source = Path(filename)
    if not source.is_file():
        return None
    own = f"{source.parent.name}_{_digest(str(source.parent.resolve()))[:16]}"
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    if chosen:
        candidates = [Path(chosen) / own]
    else:
        candidates = [source.parent / "__pycache__"]
        with suppress(RuntimeError):  # no home
            candidates.append(_user_cache() / own)
    for candidate in candidates:
        with suppress(OSError):
            # Python's own cache is for all users, the others for this one.
            mode = 0o777 if candidate.name == "__pycache__" else 0o700
            candidate.mkdir(mode=mode, parents=True, exist_ok=True)
            if os.access(candidate, os.W_OK):
                return candidate
    return None


def _user_cache() -> Path:
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home()))) / "kspike" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "kspike"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kspike"


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
