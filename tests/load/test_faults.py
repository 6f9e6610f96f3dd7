"""Tests of full disks, missing permissions, changing files, interrupts, damaged kernel caches."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

import kspike_ref
from kspike_ref.saved import container
from kspike_ref.saved.files import opened_model

GOLDEN = Path(__file__).parents[1] / "golden" / "models"
KERAS_2 = GOLDEN.parent / "keras2"
MODEL = GOLDEN / "spiking.keras"

PREDICT = f"""
import sys, numpy as np, kspike_ref
model = kspike_ref.load_model({str(MODEL)!r})
x = np.random.default_rng(0).normal(scale=30, size=(2000, 7, 4)).astype("f4")
"""


def start(code, *arguments, **environment):
    """Start Python on some code, or on a module with arguments if the code is a module's name."""
    command = ["-c", code] if "\n" in code else ["-m", code, *map(str, arguments)]
    return subprocess.Popen(
        [sys.executable, *command],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process):
    """Wait for a process; return its exit status, output and errors."""
    out, errors = process.communicate(timeout=300)
    return process.returncode, out, errors


def data(examples=20):
    return np.random.default_rng(0).normal(scale=90, size=(examples, 7, 4)).astype(np.float32)


# --- A full disk


@pytest.fixture
def small_disk(tmp_path):
    """Yield a folder on a file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "kspike", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount a file system: run as root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_memory_map_on_a_full_disk(small_disk):
    """Without space reserved before the run, the process would end with SIGBUS."""
    code = f"""{PREDICT}
out = np.memmap({str(small_disk / "y")!r}, "f4", "w+", 0, (2000, 7, 3 * 4))[:, :, ::4]
whole = np.memmap({str(small_disk / "y")!r}, "f4", "r+", 0, (2000, 7, 12))
try:
    model.predict(x, out=out)
except OSError as error:
    print(error.errno, flush=True)
"""
    status, out, errors = ended(start(code))
    assert (status, out) == (0, "28\n"), errors  # ENOSPC


def test_the_kernel_cache_on_a_full_disk(small_disk):
    (small_disk / "rest").write_bytes(bytes(200 << 10))
    code = f"{PREDICT}\nsys.stdout.buffer.write(model.predict(x).tobytes()[:0] + b'ran')"
    status, out, errors = ended(start(code, NUMBA_CACHE_DIR=str(small_disk / "cache")))
    assert (status, out) == (0, "ran"), errors
    assert not list(small_disk.rglob("*.tmp*"))


@pytest.fixture
def files(tmp_path):
    """Return the arguments of `kspike run` without the output file."""
    pytest.importorskip("typer")
    np.save(tmp_path / "x.npy", data(4000))
    return "run", MODEL, tmp_path / "x.npy", "-o"


def test_the_command_line_on_a_full_disk(small_disk, files):
    status, _, errors = ended(start("kspike_ref", *files, small_disk / "y.npy"))
    assert status == 1
    assert len(errors.splitlines()) == 1
    assert "y.npy" in errors
    assert "the disk may be full" in errors
    assert list(small_disk.iterdir()) == []


# --- Missing permissions


def as_nobody(function):
    """Call a function in a child process without root's rights; return the name of its error."""
    if not hasattr(os, "fork"):
        pytest.skip("no fork")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            function()
        except BaseException as error:
            os.write(writer, f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        found = file.read()
    os.waitpid(child, 0)
    return found


@pytest.fixture
def open_folder():
    """Yield a folder that all users may enter, unlike those of `tmp_path`."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_files_without_permission(open_folder):
    readable, secret = open_folder / "model.keras", open_folder / "secret.keras"
    for path, mode in ((readable, 0o644), (secret, 0)):
        shutil.copy(MODEL, path)
        path.chmod(mode)
    kspike_ref.load_model(readable)  # loads codecs, which nobody may not be allowed to read
    assert as_nobody(lambda: kspike_ref.load_model(readable)) == ""
    told = as_nobody(lambda: kspike_ref.load_model(secret))
    assert told.startswith("ArchiveError: "), told
    assert "ermission denied" in told
    folder = open_folder / "closed"
    folder.mkdir(mode=0)
    told = as_nobody(lambda: kspike_ref.load_model(folder / "model.keras"))
    assert told.startswith(("ArchiveError: ", "FileNotFoundError: ")), told


# --- A file that changes while it loads


def test_a_file_that_is_replaced_while_it_loads(tmp_path, monkeypatch):
    """The old file is read to its end."""
    place, other = tmp_path / "model.keras", tmp_path / "other.keras"
    shutil.copy(MODEL, place)
    shutil.copy(GOLDEN / "recurrent.keras", other)
    read = container.Zip.read

    def replaced(archive, name, size):
        if other.exists():
            other.replace(place)
        return read(archive, name, size)

    monkeypatch.setattr(container.Zip, "read", replaced)
    model = kspike_ref.load_model(place)
    wanted = kspike_ref.load_model(MODEL).predict(data())
    assert model.predict(data()).tobytes() == wanted.tobytes()


def test_an_h5_file_that_is_replaced_while_it_loads(tmp_path, monkeypatch):
    """The old file is read to its end."""
    place, other = tmp_path / "model.h5", tmp_path / "other.h5"
    shutil.copy(KERAS_2 / "recurrent.h5", place)
    shutil.copy(KERAS_2 / "embedded.h5", other)
    read, wanted = container.read_whole, names(place)

    def replaced(*arguments):
        other.replace(place)
        return read(*arguments)

    monkeypatch.setattr(container, "read_whole", replaced)
    assert names(place) == wanted


@pytest.mark.parametrize("keep", [0, 1000, 5000])
def test_a_file_that_is_cut_while_it_loads(tmp_path, monkeypatch, keep):
    place = tmp_path / "model.keras"
    shutil.copy(MODEL, place)
    read = container.Zip.read

    def cut(archive, name, size):
        os.truncate(place, keep)
        return read(archive, name, size)

    monkeypatch.setattr(container.Zip, "read", cut)
    with pytest.raises(kspike_ref.ArchiveError):
        kspike_ref.load_model(place)


def names(place):
    return tuple(layer.name for layer in kspike_ref.load_model(place).layers)


def test_two_models_that_take_turns_at_one_place(tmp_path):
    place, stop = tmp_path / "model.keras", threading.Event()
    sources = [MODEL, GOLDEN / "masked.keras"]
    wanted = {names(path) for path in sources}
    assert len(wanted) == 2
    shutil.copy(MODEL, place)

    def replace():
        turn = 0
        while not stop.is_set():
            turn = 1 - turn
            shutil.copy(sources[turn], tmp_path / "next")
            (tmp_path / "next").replace(place)

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        found = {names(place) for _ in range(100)}
    finally:
        stop.set()
        thread.join()
    assert found <= wanted


def test_a_vocabulary_of_another_file(tmp_path):
    """The vocabularies, which are read last, must not come from another file than the rest."""
    place, words = tmp_path / "model.keras", "assets/layers/a/vocabulary.txt"
    shutil.copy(MODEL, place)
    with zipfile.ZipFile(place, "a") as file:
        file.writestr(words, "first")
    shutil.copy(MODEL, tmp_path / "next")
    with zipfile.ZipFile(tmp_path / "next", "a") as file:
        file.writestr(words, "other")
    with opened_model(place) as archive:
        (tmp_path / "next").replace(place)
        assert archive.weights.assets.read("layers/a/vocabulary.txt") == b"first"


# --- Interrupts


LOOPS = {
    "load": "while True: kspike_ref.load_model(path)",
    "predict": "while True: model.predict(x)",
    "out": "while True: model.predict(x, out=y)",
    "batches": "for y in model.predict(itertools.repeat(x)): pass",
    "step": "while True: model.step(x[:, 0], model.initial_state(2000))",
}


@pytest.mark.parametrize("loop", LOOPS)
def test_ctrl_c_ends_a_loop_and_leaves_nothing(loop, tmp_path):
    code = f"""{PREDICT}
import itertools, signal, threading
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it in background jobs
path = {str(MODEL)!r}
y = np.memmap("y", "f4", "w+", 0, (2000, 7, 3))
model.predict(x), model.step(x[:, 0], model.initial_state(2000))
try:
    print("ready", flush=True)
    {LOOPS[loop]}
except KeyboardInterrupt:
    again = model.predict(x)
    assert np.isfinite(again).all()
    print("interrupted", threading.active_count() <= 3, flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n", process.communicate()[1]
    process.send_signal(signal.SIGINT)
    status, out, errors = ended(process)
    assert (status, out) == (0, "interrupted True\n"), errors
    assert [path.name for path in tmp_path.iterdir()] == ["y"]


# --- The kernel cache


FILTER = """
import sys, numpy as np, kspike_ref
from kspike_ref.kernels import time as t
y, _ = kspike_ref.lowpass(np.ones((1, 2, 3), "f4"), 0.1)
stats = t.lowpass_loop.stats
print(y.tobytes().hex(), sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


def filtered(folder, **more):
    """Run the filter in a process; return the answer, and how often it loaded and compiled."""
    status, out, errors = ended(start(FILTER, NUMBA_CACHE_DIR=str(folder), **more))
    assert status == 0, errors
    answer, *counts = out.split()
    return answer, tuple(map(int, counts))


def test_processes_that_write_the_cache_at_once(tmp_path):
    processes = [start(FILTER, NUMBA_CACHE_DIR=str(tmp_path / "cache")) for _ in range(4)]
    found = [ended(process) for process in processes]
    assert [status for status, _, _ in found] == [0] * 4, found
    assert len({out.split()[0] for _, out, _ in found}) == 1
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in written} == {".nbk"}  # no half-written files
    assert filtered(tmp_path / "cache")[1] == (1, 0)


def test_a_cache_that_is_damaged_again_and_again(tmp_path):
    answer, counts = filtered(tmp_path)
    assert counts == (0, 1)
    stop, rng = threading.Event(), np.random.default_rng(0)

    def damage_once():
        for path in tmp_path.rglob("*.nbk"):
            size = path.stat().st_size
            with path.open("r+b") as file:
                file.seek(int(rng.integers(size)))
                file.write(rng.bytes(16))

    def damage():
        while not stop.is_set():
            damage_once()

    damage_once()  # before the first process, however late the thread starts

    thread = threading.Thread(target=damage)
    thread.start()
    try:
        found = [ended(start(FILTER, NUMBA_CACHE_DIR=str(tmp_path))) for _ in range(3)]
    finally:
        stop.set()
        thread.join()
    assert [(status, out.split()[0]) for status, out, _ in found] == [(0, answer)] * 3, found
    assert found[0][1].split()[1:] == ["0", "1"]  # the damaged cache was not used
    filtered(tmp_path)  # compiles if the cache is still damaged
    assert filtered(tmp_path) == (answer, (1, 0))


def test_code_for_another_processor_is_not_run(tmp_path):
    answer, _ = filtered(tmp_path)
    elsewhere = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    assert filtered(tmp_path, **elsewhere) == (answer, (0, 1))
    assert filtered(tmp_path) == (answer, (1, 0))
