"""Tests of the cache of compiled kernels: warm later, never stale, never another user's code."""

import multiprocessing
import os
import pickle
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import archives
import numba.core.compiler
import numpy as np
import pytest
from processes import run

import kspike_ref
from kspike_ref.kernels import cache, folders, kernel
from kspike_ref.kernels import time as loops

posix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no owners of files")
KEY = b"k" * 32

# Prints how often the kernel was loaded, and how often it was compiled.
FILTER = """
import sys, numpy as np, kspike_ref
from kspike_ref.kernels import time as t
y, _ = kspike_ref.lowpass(np.ones((1, 2, 3), "f4"), 0.1)
stats = t.lowpass_loop.stats
print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""
LOADED, COMPILED = "1 0\n", "0 1\n"


def add_one(x):
    """Add one to every element: a kernel of this file."""
    for i in range(x.size):
        x[i] += 1


def origin():
    """Return whether a new kernel is loaded or compiled, in the format of `FILTER`'s output."""
    fresh, x = kernel(add_one), np.zeros(3)
    fresh(x)
    assert x.tolist() == [1, 1, 1]
    stats = fresh.stats
    return f"{sum(stats.cache_hits.values())} {sum(stats.cache_misses.values())}\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return the cache folder of a test."""
    chosen = tmp_path / "cache"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(chosen))
    return folders.writable_folder()


def files(path):
    return sorted(path.rglob("*.nbk"))


# Later processes


def test_a_second_process_compiles_nothing(folder):
    assert run(FILTER) == COMPILED
    assert [path.name.split("-")[0] for path in files(folder)] == ["time.lowpass_loop"]
    assert run(FILTER) == LOADED


def test_other_settings_of_numba_are_other_code(folder, monkeypatch):
    assert origin() == COMPILED
    with monkeypatch.context() as patch:
        patch.setattr(numba.config, "BOUNDSCHECK", 1)
        assert origin() == COMPILED
    assert origin() == LOADED


def test_other_types_are_other_code(folder):
    fresh = kernel(add_one)
    for dtype in (np.float32, np.float64, np.int32):
        fresh(np.zeros(3, dtype))
    assert len(files(folder)) == 3


@pytest.fixture
def package(tmp_path):
    """Return the folder of a copy of the package that a test may change."""
    source = Path(kspike_ref.__file__).parent
    target = tmp_path / "site" / "kspike_ref"
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    return target


PAIR = """
import numpy as np, kspike_ref
y, _ = kspike_ref.alpha(np.ones((1, 2, 600)), 0.1)
print(float(y[0, 1, 0]))
"""


def test_a_changed_callee_is_compiled_anew(folder, package):
    """`alpha_loop` calls `alpha_pair`, and its own code does not change."""
    here = {"PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    before = float(run(PAIR, **here))
    assert float(run(PAIR, **here)) == before
    (own,) = {path.parent for path in files(folder.parent)}
    old = set(files(own))
    module = package / "kernels" / "time.py"
    text = module.read_text()
    assert text.count("        out1[i] = level\n") == 1
    module.write_text(text.replace("        out1[i] = level\n", "        out1[i] = 2 * level\n"))
    assert float(run(PAIR, **here)) == 2 * before
    assert not old & set(files(own))  # the old code is gone


@pytest.mark.slow
def test_after_warming_up_nothing_is_compiled(tmp_path, folder):
    """Models that use every kernel, in a process that cannot write to the cache."""
    code = "import sys; from kspike_ref import warm_up; sys.exit(warm_up.main([]))"
    assert str(folder) in run(code)
    check = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import numba.core.event, numpy as np, kspike_ref
from kspike_ref import warm_up
compiled = []
class Listener(numba.core.event.Listener):
    def on_start(self, event): compiled.append(str(event.data["dispatcher"]))
    def on_end(self, event): pass
numba.core.event.register("numba:compile", Listener())
warm_up.compile_all()
for path in {[str(p) for p in models(tmp_path)]!r}:
    warm_up.run_model(kspike_ref.load_model(path))
    model = kspike_ref.load_model(path)
for dtype in ("f4", "f8"):
    kspike_ref.spiking_activation(np.ones((1, 2, 3), dtype), seed=0)
    kspike_ref.lowpass(np.ones((1, 2, 3), dtype), 0.1)
    kspike_ref.alpha(np.ones((1, 2, 3), dtype), 0.1, time_major=True)
print(compiled)
"""
    assert run(check) == "[]\n"


def models(tmp_path):
    golden = Path(__file__).parents[1] / "golden" / "models"
    own = archives.archive(tmp_path / "digits.keras", *archives.digits())
    return [own, *sorted(golden.glob("*.keras"))]


@pytest.mark.slow
def test_warming_up_for_a_model(tmp_path, folder):
    path = archives.archive(tmp_path / "digits.keras", *archives.digits())
    code = f"import sys; from kspike_ref import warm_up; sys.exit(warm_up.main([{str(path)!r}]))"
    assert str(folder) in run(code)
    assert "time.spike_loop" in {file.name.split("-")[0] for file in files(folder)}


def test_warming_up_says_what_is_wrong(tmp_path, folder, monkeypatch, capsys):
    from kspike_ref import warm_up

    assert warm_up.main([str(tmp_path / "no.keras")]) == 1
    assert "no.keras" in capsys.readouterr().err
    monkeypatch.setattr(folders, "writable_folder", lambda: None)
    assert warm_up.main([]) == 1
    assert "no folder for the cache can be written" in capsys.readouterr().err


# A cache that cannot be written

# Imports come first: other users may not be allowed to read the interpreter's own folder.
UNPRIVILEGED = """
import os, numpy, numba, kspike_ref
import numba.core.compiler, numba.core.registry
numba.core.registry.cpu_target.target_context.refresh()
os.setgroups([]), os.setgid(65534), os.setuid(65534)
"""


@posix
def test_a_cache_of_root_starts_warm_for_others():
    """Root ignores permissions, so the second process drops root and cannot write the cache."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    # Not in pytest's own folder, which other users cannot enter.
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        here = {"NUMBA_CACHE_DIR": name}
        assert run(FILTER, **here) == COMPILED
        alone = f"import os\nprint(os.access({name!r}, os.W_OK))"
        assert run(UNPRIVILEGED + FILTER + alone, **here) == LOADED + "False\n"


@posix
def test_a_folder_without_write_permission_is_read(folder, monkeypatch):
    cache.write(folder / "f", KEY, b"data")
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    assert folders.writable_folder() is None
    assert [cache.read(path / "f", KEY) for path in folders.readable_folders()] == [b"data"]


def test_without_any_folder(tmp_path, monkeypatch):
    """A file stands where the folder should be."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    assert [origin(), origin()] == [COMPILED, COMPILED]


def test_a_full_disk(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        cache.write(folder / "f", KEY, b"data")
    assert list(folder.iterdir()) == []
    assert loops.spike_loop._cache.save_overload(None, None) is None  # no error: the call continues


# Trusted files


def test_what_was_written_is_read(folder):
    cache.write(folder / "f", KEY, b"data")
    assert cache.read(folder / "f", KEY) == b"data"
    assert cache.read(folder / "f", b"x" * 32) is None
    assert cache.read(folder / "none", KEY) is None
    if os.name == "posix":
        assert (folder / "f").stat().st_mode & 0o022 == 0


@pytest.mark.parametrize("change", ["cut", "empty", "header", "body", "longer"])
def test_damaged_files_are_not_read(folder, change):
    path = folder / "f"
    cache.write(path, KEY, b"data")
    content = path.read_bytes()
    flipped = {"header": 40, "body": len(content) - 1}.get(change)
    if flipped is not None:
        content = content[:flipped] + bytes([content[flipped] ^ 1]) + content[flipped + 1 :]
    content = {"cut": content[:-1], "empty": b"", "longer": content + b"x"}.get(change, content)
    path.write_bytes(content)
    assert cache.read(path, KEY) is None


def test_a_damaged_file_is_replaced(folder):
    origin()
    (path,) = files(folder)
    path.write_bytes(path.read_bytes()[:-9])
    assert [origin(), origin()] == [COMPILED, LOADED]


@pytest.mark.parametrize("data", [b"no pickle", pickle.dumps((1, 2)), pickle.dumps(None)])
def test_a_file_that_holds_no_code_is_replaced(folder, data):
    origin()
    (path,) = files(folder)
    cache.write(path, path.read_bytes()[32:64], data)
    assert [origin(), origin()] == [COMPILED, LOADED]


@posix
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_files_that_others_may_write_are_not_read(folder, mode):
    cache.write(folder / "f", KEY, b"data")
    (folder / "f").chmod(mode)
    assert cache.read(folder / "f", KEY) is None


@posix
def test_files_of_others_are_not_read(folder, monkeypatch):
    cache.write(folder / "f", KEY, b"data")
    status = list((folder / "f").stat())
    status[stat.ST_UID] = os.geteuid() + 1
    monkeypatch.setattr(os, "fstat", lambda _: os.stat_result(status))
    assert cache.read(folder / "f", KEY) is None


@posix
def test_links_are_not_followed(folder, tmp_path):
    cache.write(tmp_path / "elsewhere", KEY, b"data")
    (folder / "f").symlink_to(tmp_path / "elsewhere")
    assert cache.read(folder / "f", KEY) is None
    cache.write(folder / "f", KEY, b"own")  # replaces the link
    assert cache.read(folder / "f", KEY) == b"own"
    assert cache.read(tmp_path / "elsewhere", KEY) == b"data"


@posix
def test_a_fifo_and_a_huge_file_are_skipped(folder, monkeypatch):
    os.mkfifo(folder / "fifo")
    begin = time.process_time()
    assert cache.read(folder / "fifo", KEY) is None  # a blocking open would never return
    with (folder / "huge").open("wb") as file:
        file.truncate(cache.MAX_BYTES + 1)
    monkeypatch.setattr(os, "fdopen", reads_nothing(os.fdopen))
    assert cache.read(folder / "huge", KEY) is None
    assert cache.read(folder, KEY) is None  # a folder
    assert time.process_time() - begin < 5


def reads_nothing(fdopen):
    """Return an `os.fdopen` whose files must not be read."""

    class File:
        def __init__(self, handle, mode):
            self.file = fdopen(handle, mode)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def fileno(self):
            return self.file.fileno()

        def read(self, *_):
            raise AssertionError("was read")

    return File


# Trusted folders


@posix
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777])
def test_folders_that_others_may_write_are_not_used(tmp_path, mode):
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "inner").mkdir(mode=0o700)
    (tmp_path / "open").chmod(mode)
    assert folders.trusted(tmp_path / "open") is None
    inner = folders.trusted(tmp_path / "open" / "inner")
    assert inner == (tmp_path / "open" / "inner" if mode == 0o1777 else None)


@posix
def test_folders_of_others_are_not_used(tmp_path, monkeypatch):
    if os.geteuid() == 0:
        os.chown(tmp_path, 65534, 65534)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert folders.trusted(tmp_path) is None
    (tmp_path / "inner").mkdir()
    assert folders.trusted(tmp_path / "inner") is None


@posix
def test_links_in_a_path_are_followed_with_the_same_rules(tmp_path):
    (tmp_path / "real" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real/../real")
    assert folders.trusted(tmp_path / "link" / "inner") == tmp_path / "real" / "inner"
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "open" / "back").symlink_to(tmp_path / "real")
    (tmp_path / "around").symlink_to("open/back")  # passes through a folder that others may write
    assert folders.trusted(tmp_path / "around" / "inner") is None
    (tmp_path / "loop").symlink_to("loop")
    assert folders.trusted(tmp_path / "loop") is None


@posix
def test_in_a_shared_folder_the_own_one_has_no_predictable_name(tmp_path, monkeypatch):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(shared))
    planted = shared / "kspike-planted"
    planted.mkdir()
    planted.chmod(0o755)  # our folders are not readable to others
    assert folders.readable_folders() == []
    own = folders.writable_folder()
    assert own.parent == shared
    assert own != planted
    assert own.stat().st_mode & 0o777 == 0o700
    assert folders.readable_folders() == [own]
    assert folders.writable_folder() == own
    shared.chmod(0o777)  # anyone may rename its contents
    assert folders.readable_folders() == []
    assert folders.writable_folder() is None


@posix
def test_folders_are_made_for_this_user_alone(tmp_path, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))
    monkeypatch.setattr(folders, "__file__", str(tmp_path / "missing" / "x" / "folders.py"))
    (tmp_path / "missing").write_text("")  # no folder can be made here
    mask = os.umask(0o002)
    try:
        folder = folders.writable_folder()
    finally:
        os.umask(mask)
    assert folder.is_relative_to(tmp_path / "home" / "cache" / "kspike")
    assert folder.stat().st_mode & 0o777 == 0o700


# Changes of Numba's internal interfaces


@pytest.mark.parametrize("name", ["_reduce", "_rebuild"])
def test_without_numbas_interfaces_kernels_are_compiled(folder, monkeypatch, name):
    monkeypatch.delattr(numba.core.compiler.CompileResult, name)
    assert [origin(), origin()] == [COMPILED, COMPILED]


def test_a_dispatcher_without_a_cache_is_left_alone():
    assert cache.attach(len) is len


# Messages to users


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a pseudo-terminal")
def test_a_terminal_says_when_there_is_something_to_wait_for(folder):
    assert on_a_terminal(FILTER).count("compiling kernels for this machine, once") == 1
    assert "compiling" not in on_a_terminal(FILTER)
    done = subprocess.run(
        [sys.executable, "-c", FILTER],
        env=os.environ | {"NUMBA_CACHE_DIR": str(folder.parent / "other")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""


def on_a_terminal(code):
    """Return what a process writes to standard error if that is a terminal."""
    import pty

    ours, theirs = pty.openpty()
    done = subprocess.run([sys.executable, "-c", code], stderr=theirs, check=True, timeout=300)
    os.close(theirs)
    written = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        try:
            while part := terminal.read(4096):
                written += part
        except OSError:  # raised by Linux when the other side is closed
            pass
    assert done.returncode == 0
    return written.decode()


# Threads, forks and processes


def test_many_threads_call_for_the_first_time(folder):
    code = """
import threading, numpy as np, kspike_ref
from kspike_ref.kernels import time as t
answers, start = [], threading.Barrier(8)
def work():
    start.wait()
    answers.append(kspike_ref.lowpass(np.ones((1, 2, 3), "f4"), 0.1)[0].tobytes())
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(answers), len(set(answers)), sum(t.lowpass_loop.stats.cache_misses.values()))
"""
    assert run(code) == "8 1 1\n"


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_child_processes(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method}")
    x = np.full((1, 4, 2), 250.0)
    # A function of the package: a spawned child could not import one of this file.
    with multiprocessing.get_context(method).Pool(1) as pool:
        spikes, _ = pool.apply(kspike_ref.spiking_activation, (x,), {"initial_voltage": 0.0})
    assert spikes[0, 3].tolist() == [1000.0, 1000.0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_waits_for_a_compilation():
    """If a parent forked during a compilation, its child would never get the lock."""
    from numba.core.compiler_lock import global_compiler_lock

    held, release = threading.Event(), threading.Event()

    def compile_something():
        with global_compiler_lock:
            held.set()
            release.wait(0.2)

    other = threading.Thread(target=compile_something)
    other.start()
    held.wait()
    child = os.fork()
    if child == 0:
        os._exit(0 if global_compiler_lock._lock.acquire(timeout=5) else 1)
    assert os.waitpid(child, 0)[1] == 0
    other.join()


def test_kernels_are_pickled():
    again = pickle.loads(pickle.dumps(loops.spike_loop))
    assert again.py_func.__qualname__ == "spike_loop"


def test_without_the_jit():
    code = """
import numpy as np, kspike_ref
print(kspike_ref.lowpass(np.ones((1, 2, 1)), 0.1)[0].round(4).tolist())
"""
    assert run(code, NUMBA_DISABLE_JIT="1") == run(code)
