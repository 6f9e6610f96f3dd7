"""The disk cache of compiled kernels: one file per kernel and signature, in a trusted folder.

Numba's own cache (``cache=True``) is not enough: it misses changes in functions that a kernel
calls, ignores folders that it cannot write, unpickles every file that it finds, whoever owns it,
and fails on a damaged one. This cache names a file by a digest of all sources, versions and
settings. It reads a file only if the user or root owns it and no other user can write to it.

Remaining risk: root and the user's own programs can change the cache, as they can change this
package.

Private interfaces of Numba that this file relies on (tried with Numba 0.68):

- ``dispatcher._cache``, with ``load_overload``, ``save_overload``, ``flush`` and ``cache_path``;
- ``CompileResult._reduce`` and ``_rebuild``, ``numba.core.serialize.dumps``;
- ``codegen().magic_tuple()``, which names the processor and its features;
- ``numba.core.compiler_lock.global_compiler_lock``, held during a fork.

If one is missing or fails, every process compiles its kernels, with the same results.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import secrets
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm  # type: ignore[import-not-found]
import numba
import numpy as np

from kspike_ref.kernels.folders import is_private, readable_folders, writable_folder

MAX_BYTES = 1 << 24  # per file; the largest kernel takes less than a thirtieth of it
SUFFIX = ".nbk"
# Numba settings that change the generated code.
_SETTINGS = (
    "BOUNDSCHECK", "OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "ENABLE_AVX", "DEBUGINFO_DEFAULT",
    "LLVM_REFPRUNE_PASS", "LLVM_REFPRUNE_FLAGS", "EXTEND_VARIABLE_LIFETIMES",
)  # fmt: skip


def attach(dispatcher: Any) -> Any:
    """Attach this cache to a compiled function and return the function.

    Parameters
    ----------
    dispatcher : callable
        The result of ``numba.njit``; a plain function if the JIT is switched off.
    """
    if hasattr(dispatcher, "_cache"):
        dispatcher._cache = KernelCache(dispatcher.py_func)
    return dispatcher


class KernelCache:
    """The cached code of one kernel, with the interface of Numba's caches.

    Parameters
    ----------
    function : callable
        The kernel's Python function.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        file = Path(function.__code__.co_filename)
        self._sources = _digest(file.parent)
        self._name = f"{file.stem}.{function.__qualname__.replace('<locals>.', '')}-"
        self._function = (function.__module__, function.__qualname__, function.__code__.co_code)

    @property
    def cache_path(self) -> str | None:
        """The folder for new code, or None if no folder is writable."""
        folder = writable_folder()
        return None if folder is None else str(folder)

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Return the compiled function for a signature, or None if it is not in the cache."""
        # A damaged cache or a change in Numba costs a compilation and nothing else.
        with suppress(Exception):
            target_context.refresh()
            key = self._key(signature, target_context.codegen())
            for folder in readable_folders():
                data = read(folder / self._file(key), key)
                if data is not None:
                    from numba.core.compiler import CompileResult

                    return CompileResult._rebuild(target_context, *pickle.loads(data))  # noqa: S301
        _announce()
        return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Save a compiled function for other processes, if a folder is writable."""
        with suppress(Exception):
            folder = writable_folder()
            if folder is None or result.library.has_dynamic_globals:
                return
            from numba.core.serialize import dumps

            key = self._key(signature, result.codegen)
            write(folder / self._file(key), key, dumps(result._reduce()))
            for path in folder.glob(f"{self._name}*{SUFFIX}"):
                if not path.name.startswith(self._name + self._sources[:12]):  # from older sources
                    path.unlink(missing_ok=True)

    def flush(self) -> None:
        """Do nothing. Numba calls this before it recompiles, but cached code is never stale."""

    def _key(self, signature: Any, codegen: Any) -> bytes:
        versions = (sys.version, numba.__version__, llvm.llvm_version_info, np.__version__)
        settings = [getattr(numba.config, name, None) for name in _SETTINGS]
        machine = codegen.magic_tuple()
        parts = (self._function, self._sources, str(signature), machine, versions, settings)
        return hashlib.sha256(repr(parts).encode()).digest()

    def _file(self, key: bytes) -> str:
        return f"{self._name}{self._sources[:12]}-{key.hex()[:32]}{SUFFIX}"


def read(path: Path, key: bytes) -> bytes | None:
    """Return the data of a file, or None if it is damaged, not trusted or has another key.

    Parameters
    ----------
    path : Path
        In a folder from `readable_folders`.
    key : bytes
        The key that the file was written under.
    """
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):  # never wait for a FIFO
        flags |= getattr(os, name, 0)
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            is_small = stat.S_ISREG(status.st_mode) and status.st_size <= MAX_BYTES
            if not is_small or not is_private(status):
                return None
            content = file.read(MAX_BYTES)
    except OSError:
        return None
    digest, held, data = content[:32], content[32:64], content[64:]
    if held != key or hashlib.sha256(held + data).digest() != digest:
        return None
    return data


def write(path: Path, key: bytes, data: bytes) -> None:
    """Write data and their key to a file in one step: other processes see all of it or nothing.

    Parameters
    ----------
    path : Path
        In the folder from `writable_folder`. A link there is replaced, not followed.
    key, data : bytes
        The key, and the data that `read` returns for it.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    content = hashlib.sha256(key + data).digest() + key + data
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    # Readable by everyone, so that root can prepare a cache for others; it holds no secrets.
    handle = os.open(temporary, flags, 0o644)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@functools.cache  # later edits do not change the code that this process runs
def _digest(folder: Path) -> str:
    """Return a digest of the Python sources in a kernel's folder and in this one.

    Numba identifies a kernel by its own code alone. The functions it calls are in these folders.
    """
    digest = hashlib.sha256()
    for path in sorted({*folder.glob("*.py"), *Path(__file__).parent.glob("*.py")}):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)} ".encode() + content)
    return digest.hexdigest()


@functools.cache  # once per process
def _announce() -> None:
    """Say on a terminal that kernels are being compiled."""
    if sys.stderr is None or not sys.stderr.isatty():
        return
    folder = writable_folder()
    where = "in every process: no cache folder can be written" if folder is None else "once"
    print(f"kspike_ref: compiling kernels for this machine, {where}", file=sys.stderr)  # noqa: T201


def _hold_compiler_during_forks() -> None:
    """Make forks wait for running compilations, or a child could wait for the lock forever."""
    if not hasattr(os, "register_at_fork"):
        return
    with suppress(ImportError):
        from numba.core.compiler_lock import global_compiler_lock as lock

        os.register_at_fork(
            before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
        )


_hold_compiler_during_forks()
