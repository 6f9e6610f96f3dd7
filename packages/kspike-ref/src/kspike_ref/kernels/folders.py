"""Folders for compiled code that only the user and root can change.

Loading compiled code runs it. A folder is trusted if the user or root owns it and every folder
above it, and no other user can write to any of them. Windows uses access-control lists instead of
owners and modes; they are not checked. A file server that reports false owners defeats the check.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

_SHARED_PREFIX = "kspike-"


def readable_folders() -> list[Path]:
    """Return the trusted folders to read compiled code from, with links resolved."""
    found = [trusted(path) for path, _ in _places()]
    return [folder for folder in found if folder is not None]


def writable_folder() -> Path | None:
    """Return the trusted folder to write to, created if missing; None if there is none."""
    for path, mode in _places(make=True):
        with suppress(OSError):
            _make(path, mode)
            folder = trusted(path)
            if folder is not None and os.access(folder, os.W_OK | os.X_OK):
                return folder
    return None


def trusted(path: Path, may_be_shared: bool = False) -> Path | None:
    """Return a folder's path with links resolved, or None if another user could change it.

    Parameters
    ----------
    path : Path
        The folder.
    may_be_shared : bool
        Whether the folder itself may be like ``/tmp``: every user may write to it, but only the
        owner of a file may remove that file. The folders above it always may.
    """
    if not hasattr(os, "geteuid"):  # Windows
        return path.resolve() if path.is_dir() else None
    try:
        path.stat()  # fails for circular links, and for more links than the system follows
        return _checked(path.absolute(), may_be_shared)
    except OSError:
        return None


def is_private(status: os.stat_result) -> bool:
    """Return whether the user or root owns a file or folder and only its owner may write."""
    if not hasattr(os, "geteuid"):
        return True
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022


def _checked(path: Path, may_be_shared: bool) -> Path | None:
    """Resolve the links of an absolute path; return None if a folder on the way is untrusted."""
    if path.parent != path:
        folder = _checked(path.parent, may_be_shared=True)
        if folder is None:
            return None
        if path.name == "..":
            return _checked(folder.parent, may_be_shared)
        path = folder / path.name
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        is_own = status.st_uid in (0, os.geteuid())
        return _checked(path.parent / path.readlink(), may_be_shared) if is_own else None
    is_sticky = bool(status.st_mode & stat.S_ISVTX) and status.st_uid in (0, os.geteuid())
    is_safe = is_private(status) or (is_sticky and may_be_shared)
    return path if is_safe and stat.S_ISDIR(status.st_mode) else None


def _places(make: bool = False) -> list[tuple[Path, int]]:
    """Return the folders that may hold compiled code, and the modes to create them with."""
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
    with suppress(RuntimeError):  # no home folder
        places.append((_user_cache() / own, 0o700))
    return places


def _own_folders(shared: Path, make: bool) -> list[Path]:
    """Return this user's folders in a shared one; others cannot predict their names."""
    found = []
    for path in sorted(shared.glob(f"{_SHARED_PREFIX}*")):
        with suppress(OSError):
            status = path.lstat()
            is_closed = stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o077
            if is_closed and status.st_uid == os.geteuid():
                found.append(path)
    if not found and make:
        with suppress(OSError):
            found.append(Path(tempfile.mkdtemp(prefix=_SHARED_PREFIX, dir=shared)))
    return found


def _make(path: Path, mode: int) -> None:
    """Create a folder and its missing parents, writable by this user alone."""
    if path.exists():
        return
    _make(path.parent, mode)
    if trusted(path.parent, may_be_shared=True) is None:
        raise PermissionError(f"others may write to {path.parent}")
    with suppress(FileExistsError):
        path.mkdir(mode)


def _user_cache() -> Path:
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home()))) / "kspike" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "kspike"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kspike"
