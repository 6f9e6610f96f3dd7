"""The disk cache of compiled kernels: where it is, whether it may be trusted, what it is keyed by.

Numba's own cache (``cache=True``) falls short in four ways. It does not notice a change in a
function that a kernel calls, it ignores folders that it cannot write, it follows links, and it
unpickles whatever it finds. Unpickling runs code, so here a file is read only if the user or root
owns it and every folder above it, and nobody else can write to them.

What remains: on Windows the access lists of the folders decide, and are not looked at. Root, and
programs of the same user, can change the cache, as they can change this package. The checks rely
on the file system's owners and modes; a file server that reports false ones defeats them.

Private interfaces of Numba that this file relies on (tried with Numba 0.68):

- ``dispatcher._cache``, with ``load_overload``, ``save_overload`` and ``cache_path``;
- ``CompileResult._reduce`` and ``_rebuild``, ``numba.core.serialize.dumps``;
- ``codegen().magic_tuple()``, which names the processor and its features;
- ``numba.core.compiler_lock.global_compiler_lock``, held during a fork.

Where one is missing or fails, kernels are compiled in every process, with the same results.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import secrets
import stat
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm  # type: ignore[import-not-found]
import numba
import numpy as np

_FORMAT = 1
_MAX_BYTES = 1 << 24  # of a file; the largest kernel takes less than a thirtieth
_SUFFIX = ".nbk"
_SHARED_PREFIX = "kspike-"
# Settings of Numba that change the code it makes.
_SETTINGS = (
    "BOUNDSCHECK", "OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "ENABLE_AVX", "DEBUGINFO_DEFAULT",
    "LLVM_REFPRUNE_PASS", "LLVM_REFPRUNE_FLAGS", "EXTEND_VARIABLE_LIFETIMES",
)  # fmt: skip


def attach(dispatcher: Any) -> Any:
    """Give a compiled function this cache; return it.

    Parameters
    ----------
    dispatcher : callable
        What ``numba.njit`` returned; a plain function where the JIT is switched off.
    """
    if hasattr(dispatcher, "_cache"):
        dispatcher._cache = KernelCache(dispatcher.py_func)
    return dispatcher


class KernelCache:
    """The cached code of one kernel, in Numba's interface of a cache.

    Parameters
    ----------
    function : callable
        The kernel's Python function.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        file = function.__code__.co_filename
        self._name = f"{Path(file).stem}.{function.__qualname__.replace('<locals>.', '')}"
        self._function = (function.__module__, function.__qualname__, function.__code__.co_code)
        # Read now: the code that runs is that of the source as it was when it was imported.
        folder = Path(file).parent
        self._sources = _SOURCES if folder == Path(__file__).parent else _sources(folder)

    @property
    def cache_path(self) -> str | None:
        """The folder that code is written to, if there is one."""
        folder = writable_folder()
        return None if folder is None else str(folder)

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Return the compiled function for a signature, or None if it is not in the cache."""
        # Damage to the cache, or a change in Numba, costs a compilation and nothing else.
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
        """Write a compiled function for other processes, if there is a folder to write to."""
        with suppress(Exception):
            folder = writable_folder()
            if folder is None or result.library.has_dynamic_globals:
                return
            from numba.core.serialize import dumps

            key = self._key(signature, result.codegen)
            write(folder / self._file(key), key, dumps(result._reduce()))
            self._remove_older(folder)

    def enable(self) -> None:
        """Do nothing: the cache is always on, and never stale."""

    disable = flush = enable

    def _key(self, signature: Any, codegen: Any) -> bytes:
        versions = (sys.version, numba.__version__, llvm.llvm_version_info, np.__version__)
        settings = [(name, getattr(numba.config, name, None)) for name in _SETTINGS]
        machine = codegen.magic_tuple()
        parts = (_FORMAT, self._function, self._sources, str(signature), machine, versions)
        return hashlib.sha256(repr((parts, settings)).encode()).digest()

    def _file(self, key: bytes) -> str:
        return f"{self._name}-{self._sources[:12]}-{key.hex()[:32]}{_SUFFIX}"

    def _remove_older(self, folder: Path) -> None:
        """Delete the code of this kernel that was made from other sources."""
        for path in folder.glob(f"{self._name}-*{_SUFFIX}"):
            if not path.name.startswith(f"{self._name}-{self._sources[:12]}-"):
                with suppress(OSError):
                    path.unlink()


def read(path: Path, key: bytes) -> bytes | None:
    """Return what a file holds under a key; None if it may not be trusted or is damaged.

    Parameters
    ----------
    path : Path
        In a folder from `readable_folders`.
    key : bytes
        What the file must have been written for.
    """
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):  # a FIFO is not waited for
        flags |= getattr(os, name, 0)
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:
                return None
            if not _is_trusted(status):
                return None
            content = file.read(_MAX_BYTES)
    except OSError:
        return None
    digest, held, data = content[:32], content[32:64], content[64:]
    if held != key or hashlib.sha256(held + data).digest() != digest:
        return None
    return data


def write(path: Path, key: bytes, data: bytes) -> None:
    """Write a file in one piece, under a key.

    Parameters
    ----------
    path : Path
        In the folder from `writable_folder`. A link there is replaced, not followed.
    key, data : bytes
        The key, and what `read` returns for it.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    content = hashlib.sha256(key + data).digest() + key + data
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    # Readable by all, so that root can prepare a cache for others; there is no secret in it.
    handle = os.open(temporary, flags | getattr(os, "O_BINARY", 0), 0o644)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def readable_folders() -> list[Path]:
    """Return the folders to look into, without links in their paths; others may not write there."""
    found = [trusted(path) for path, _ in _places()]
    return [folder for folder in found if folder is not None]


def writable_folder() -> Path | None:
    """Return the folder to write to, made where it is missing; None if there is none."""
    for path, mode in _places(make=True):
        with suppress(OSError):
            _make(path, mode)
            folder = trusted(path)
            if folder is not None and os.access(folder, os.W_OK | os.X_OK):
                return folder
    return None


def _places(make: bool = False) -> list[tuple[Path, int]]:
    """Return the folders that may hold the cache, and the modes to make them with."""
    here = Path(__file__).parent
    own = f"kspike_ref_{hashlib.sha256(str(here).encode()).hexdigest()[:16]}"
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    if chosen:
        base = Path(chosen).absolute()
        shared = trusted(base, may_be_shared=True)
        if shared is None or trusted(base) is not None:
            return [(base / own, 0o755)]
        return [(path, 0o700) for path in _own_folders(shared, make)]
    places = [(here / "__pycache__", 0o755)]
    with suppress(RuntimeError):  # no home
        places.append((_user_cache() / own, 0o700))
    return places


def _own_folders(shared: Path, make: bool) -> list[Path]:
    """Return this user's folders in one that all may write to; their names are not predictable."""
    found = []
    for path in sorted(shared.glob(f"{_SHARED_PREFIX}*")):
        with suppress(OSError):
            status = path.lstat()
            private = stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o077
            if private and status.st_uid == os.geteuid():
                found.append(path)
    if not found and make:
        with suppress(OSError):
            found.append(Path(tempfile.mkdtemp(prefix=_SHARED_PREFIX, dir=shared)))
    return found


def _make(path: Path, mode: int) -> None:
    """Make a folder and those above it, none of them writable by others."""
    if path.exists():
        return
    _make(path.parent, mode)
    if trusted(path.parent, may_be_shared=True) is None:
        raise PermissionError(f"others may write to {path.parent}")
    with suppress(FileExistsError):
        path.mkdir(mode)


def trusted(path: Path, may_be_shared: bool = False) -> Path | None:
    """Return a folder's path without links, or None if somebody else could change what is in it.

    Parameters
    ----------
    path : Path
        Absolute.
    may_be_shared : bool
        Whether the folder itself, like those above it, may be one to which all may write but from
        which only owners may remove (``/tmp``).
    """
    if not hasattr(os, "geteuid"):  # Windows
        return path.resolve() if path.is_dir() else None
    rest = list(path.absolute().parts[::-1])
    current = Path(rest.pop())
    links = 0
    with suppress(OSError):
        while True:
            status = current.lstat()
            if status.st_uid not in (0, os.geteuid()):
                return None
            if stat.S_ISLNK(status.st_mode):
                links += 1
                target = current.readlink()
                rest += [part for part in target.parts[::-1] if part != target.anchor]
                current = Path(target.anchor) if target.is_absolute() else current.parent
                if links > 40:
                    return None
                continue
            if not stat.S_ISDIR(status.st_mode):
                return None
            is_sticky = status.st_mode & stat.S_ISVTX and (rest or may_be_shared)
            if status.st_mode & 0o022 and not is_sticky:
                return None
            if not rest:
                return current
            part = rest.pop()
            current = current.parent if part == ".." else current / part
    return None


def _is_trusted(status: os.stat_result) -> bool:
    """Return whether a file is the user's or root's, and writable by nobody else."""
    if not hasattr(os, "geteuid"):
        return True
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022


def _user_cache() -> Path:
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home()))) / "kspike" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "kspike"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kspike"


def _sources(folder: Path) -> str:
    """Return a digest of the Python sources in a folder and in this one.

    Numba knows a kernel by its own code alone. What a kernel calls is in these folders.
    """
    digest = hashlib.sha256()
    for path in sorted({*folder.glob("*.py"), *Path(__file__).parent.glob("*.py")}):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)} ".encode() + content)
    return digest.hexdigest()


_SOURCES = _sources(Path(__file__).parent)
_announced = False


def _announce() -> None:
    """Say on a terminal, once, that there is something to wait for."""
    global _announced
    if _announced or sys.stderr is None or not sys.stderr.isatty():
        return
    _announced = True
    folder = writable_folder()
    where = "in every process: no cache folder can be written" if folder is None else "once"
    print(f"kspike_ref: compiling kernels for this machine, {where}", file=sys.stderr)  # noqa: T201


def _hold_compiler_during_forks() -> None:
    """Let a fork wait for compilations, or a child would never get the lock."""
    if not hasattr(os, "register_at_fork"):
        return
    with suppress(ImportError):
        from numba.core.compiler_lock import global_compiler_lock as lock

        os.register_at_fork(
            before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
        )


_hold_compiler_during_forks()
