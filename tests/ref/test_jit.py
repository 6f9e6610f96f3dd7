"""Kernels from the disk: the same bits as Numba's own function, and nothing stale or strange."""

import copy
import functools
import importlib.util
import multiprocessing
import os
import pickle
import sys
import threading

import archives
import numpy as np
import pytest
from processes import run

import kspike_ref
from kspike_ref import (
    _chain,
    _compile,
    _convolve,
    _fingerprint,
    _jit,
    _kernels,
    _matmul,
    _objects,
    chain,
)

MODULE = """
import math
import numpy as np
from kspike_ref._jit import Deferred, kernel

FACTOR = 3.0

@kernel
def scaled(value, factor):
    return value * factor

@kernel
def scale(x, factors, count, exact, out):
    first, (second, last) = factors
    for i in range(count):
        out[i] = scaled(x[i], FACTOR) * first + second[i] * last if exact else -1
    return count - 1

@kernel
def fails(x, out):
    a, b, c = x
    out[0] = a + b + c

@kernel
def reshaped(x, scratch_size, out):
    scratch = np.empty((scratch_size, 2), x.dtype)
    table = x.reshape((-1, 2))
    for i in range(table.shape[0]):
        for j in range(2):
            scratch[i, j] = table[i, j]
    flat = scratch.reshape(-1)
    for i in range(x.size):
        out[i] = flat[x.size - 1 - i]

@kernel
def listed(x, out):
    out[0] = len([str(v) for v in x])
"""

FIRST_RESULT = """
import sys
import numpy as np, kspike_ref
from kspike_ref import _kernels as k, _matmul as m
m.multiply(np.ones((1, 3)), m.pack(np.ones((3, 2))), m.panel_width("f8"), np.ones((1, 2)))
kspike_ref.spiking_activation(np.ones((1, 2, 3), "f4"), seed=0)
kspike_ref.lowpass(np.ones((1, 2, 3)), 0.1)
kspike_ref.alpha(np.ones((1, 2, 3), "f4"), 0.1)
print([(f.loaded, f.compiled) for f in (m.multiply, k.spike, k.lowpass, k.alpha)])
print(sorted({"numba", "scipy"} & set(sys.modules)))
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    _objects.folder.cache_clear()
    yield tmp_path / "cache"
    _objects.folder.cache_clear()


@pytest.fixture
def module(tmp_path, cache, monkeypatch):
    """Writes and imports a module of kernels, as a new process would."""
    # Python tells sources by their length and by the second in which they were written.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load(source=MODULE):
        path = tmp_path / "kernels_of_a_test.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location("kernels_of_a_test", path)
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        return loaded

    return load


def arguments(dtype="f4", layout="C"):
    x = np.arange(6, dtype=dtype)
    x = np.repeat(x, 2)[::2] if layout == "A" else x
    return x, (0.5, (np.arange(6.0), 7)), 6, True, np.zeros(6)


def objects(cache):
    return sorted(cache.rglob("*.kso"))


def answer(kernel, *given):
    args = given or arguments()
    result = kernel(*args)
    assert result == 5
    return args[-1].tolist()


EXPECTED = [i * 1.5 + 7 * i for i in range(6)]


def test_a_second_process_imports_neither_numba_nor_scipy(tmp_path):
    first = run(FIRST_RESULT, NUMBA_CACHE_DIR=str(tmp_path)).splitlines()
    second = run(FIRST_RESULT, NUMBA_CACHE_DIR=str(tmp_path)).splitlines()
    assert first[0] == "[(0, 1), (0, 1), (0, 1), (0, 1)]"
    assert "numba" in first[1]
    assert second == ["[(1, 0), (1, 0), (1, 0), (1, 0)]", "[]"]


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "u1"])
@pytest.mark.parametrize("layout", ["C", "A"])
def test_arguments_of_all_kinds(module, dtype, layout):
    kernels = module()
    assert answer(kernels.scale, *arguments(dtype, layout)) == EXPECTED
    assert [entry is not None for entry in kernels.scale._entries.values()] == [True]
    *args, _, out = arguments(dtype, layout)
    assert kernels.scale(*args, False, out) == 5
    assert (out == -1).all()


def dense(dtype):
    rng = np.random.default_rng(0)
    b = _matmul.pack(rng.normal(size=(700, 45)).astype(dtype))
    a, out = rng.normal(size=(33, 700)).astype(dtype), np.ones((33, 45), dtype)
    return _matmul.multiply, (a, b, _matmul.panel_width(dtype), out)


def spike(dtype):
    x = np.random.default_rng(0).uniform(-300, 900, (2, 50, 37)).astype(dtype)
    height = np.dtype(dtype).type(1000)
    return _kernels.spike, (x, 2.0**32 * 1e-3, height, (0, 2, 0, 37), np.zeros((2, 37)), x * 0)


def alpha(dtype):
    x = np.random.default_rng(0).normal(size=(2, 51, 600)).astype(dtype)
    decay = np.random.default_rng(1).uniform(0, 1, 600)
    state = np.zeros((2, 2, 600))
    return _kernels.alpha, (x, decay, decay * 0.1, (0, 2, 0, 600), state, x * 0)


def pool(dtype):
    x = np.random.default_rng(0).normal(size=(2, 1, 7, 9, 3)).astype(dtype)
    geometry = np.array([[1, 3, 2], [1, 2, 2], [1, 1, 1], [0, 1, 0], [1, 4, 4]], np.intp)
    return _convolve.pool, (x, geometry, False, np.zeros((2, 1, 4, 4, 3), dtype))


def depthwise(dtype):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 1, 7, 9, 5)).astype(dtype)
    geometry = np.array([[1, 3, 3], [1, 2, 1], [1, 1, 2], [0, 1, 2], [1, 4, 9]], np.intp)
    weights = rng.normal(size=(9, 5, 2)).astype(dtype)
    return _convolve.depthwise, (x, geometry, weights, np.ones((2, 36, 5, 2), dtype))


def scatter(dtype):
    columns = np.random.default_rng(0).normal(size=(2, 1, 4, 5, 9, 6)).astype(dtype)
    geometry = np.array([[1, 3, 3], [1, 2, 2], [1, 1, 1], [0, 1, 0], [1, 8, 11]], np.intp)
    return _convolve.scatter, (columns, geometry, np.ones((2, 1, 8, 11, 6), dtype))


def test_bits_of_a_chain_are_those_of_numba(tmp_path, monkeypatch):
    """All kinds of rows: dense by events and not, spikes, both filters, a mean."""
    steps = [
        archives.input_layer(None, 40),
        archives.dense("first", 70, "relu"),
        archives.layer("SpikingActivation", "spikes", "kspike_tf", **archives.SPIKING),
        archives.dense("second", 130),
        archives.layer("Lowpass", "filter", "kspike_tf", dt=0.01),
        archives.layer("Alpha", "alpha", "kspike_tf", dt=0.01),
        archives.layer("GlobalAveragePooling1D", "mean"),
        archives.dense("last", 10),
    ]
    rng = np.random.default_rng(0)
    weights = {
        f"layers/dense{name}": [rng.normal(0, 1, shape).astype("f4"), np.ones(shape[1], "f4")]
        for name, shape in (("", (40, 70)), ("_1", (70, 130)), ("_2", (130, 10)))
    } | {"layers/spiking_activation": [], "layers/global_average_pooling1d": []}
    ones = np.full(130, 0.05, "f4")
    weights["layers/lowpass/layer/cell"] = [ones[None], ones[None]]
    weights["layers/alpha/layer/cell"] = [ones, ones]
    path = archives.archive(tmp_path / "m.keras", archives.sequential(*steps), weights)
    given = []
    monkeypatch.setattr(chain._chain, "run_chain", lambda *args: given.append(args))
    kspike_ref.load_model(path).predict(np.ones((7, 30, 40), np.float32))
    monkeypatch.undo()
    (args,) = given
    args[-1][:], args[8][:] = 0, 0  # room for outputs, and room to work in
    again = copy.deepcopy(args)
    _chain.run_chain(*args)
    _chain.run_chain.dispatcher(*again)
    assert np.isfinite(args[-1]).all()
    assert np.count_nonzero(args[-1]) == args[-1].size
    for one, other in zip(args, again, strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    assert None not in _chain.run_chain._entries.values()


@pytest.mark.parametrize("case", [dense, spike, alpha, pool, depthwise, scatter])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_bits_are_those_of_numba(case, dtype):
    """The object is linked and optimised as a whole, which may not change what it rounds."""
    kernel, args = case(dtype)
    _, again = case(dtype)
    kernel(*args)
    kernel.dispatcher(*again)
    for one, other in zip(args, again, strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    assert None not in kernel._entries.values()  # it was not Numba that did both


def test_an_object_is_loaded_by_the_next_process(module, cache):
    assert answer(module().scale) == EXPECTED
    (path,) = objects(cache)
    again = module()
    assert answer(again.scale) == EXPECTED
    assert (again.scale.loaded, again.scale.compiled) == (1, 0)
    assert objects(cache) == [path]
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("FACTOR = 3.0", "FACTOR = 5.0", 0.5 * 5 + 7),  # a global
        ("value * factor", "value * factor * 2", 10.0),  # what a kernel calls
        ("else -1", "else -2", 8.5),  # a constant
    ],
)
def test_a_changed_source_is_compiled_anew(module, cache, old, new, expected):
    answer(module().scale)
    changed = module(MODULE.replace(old, new))
    assert answer(changed.scale)[1] == expected
    assert (changed.scale.loaded, changed.scale.compiled) == (0, 1)
    assert len(objects(cache)) == 1  # in the place of the old one


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-9]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"[]\n"),
        lambda path: path.write_bytes(b"\xff\xfe\n"),
        lambda path: path.write_bytes(path.read_bytes().replace(b'"format": ', b'"format": 9')),
        lambda path: path.write_bytes(path.read_bytes().replace(b"sha256", b"sha512")),
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x01\x02"),
    ],
)
def test_a_damaged_object_is_replaced(module, cache, damage):
    answer(module().scale)
    (path,) = objects(cache)
    damage(path)
    again = module()
    assert answer(again.scale) == EXPECTED
    assert (again.scale.loaded, again.scale.compiled) == (0, 1)
    repaired = module()
    assert answer(repaired.scale) == EXPECTED
    assert repaired.scale.loaded == 1


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no owners of files")
def test_an_object_that_others_may_write_is_not_loaded(module, cache, monkeypatch):
    answer(module().scale)
    (path,) = objects(cache)
    path.chmod(0o620)
    again = module()
    assert answer(again.scale) == EXPECTED
    assert again.scale.loaded == 0
    assert path.stat().st_mode & 0o777 == 0o600  # written anew
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    stranger = module()
    assert answer(stranger.scale) == EXPECTED
    assert stranger.scale.loaded == 0


def test_without_a_place_for_the_cache(module, monkeypatch):
    monkeypatch.setattr(_objects, "folder", functools.cache(lambda filename: None))
    kernels = module()
    assert answer(kernels.scale) == EXPECTED
    assert (kernels.scale.loaded, kernels.scale.compiled) == (0, 1)


def test_numbas_function_without_a_place_for_its_cache(monkeypatch):
    """Numba raises where neither the source's folder nor the user's can be written."""
    calls = []

    def njit(**options):
        calls.append(options)
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(_compile.numba, "njit", njit)
    assert _compile.dispatcher(_jit.kernel(len)) is len
    assert [bool(options.get("cache")) for options in calls] == [True, False]
    assert all(options["nogil"] for options in calls)


def test_a_cache_that_cannot_be_written(module, cache, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkstemp", full)
    assert answer(module().scale) == EXPECTED
    assert objects(cache) == []


def test_what_needs_numba_itself_is_called_through_it(module):
    kernels, out = module(), np.zeros(1)
    kernels.listed(np.ones(3, np.int64), out)
    assert out[0] == 3
    assert list(kernels.listed._entries.values()) == [None]
    x, factors, count, exact, out = arguments()
    assert answer(kernels.scale, x, factors, np.uint8(count), exact, out) == EXPECTED
    assert list(kernels.scale._entries.values()) == [None]


def test_a_kernel_that_raises(module):
    kernels = module()
    kernels.fails(np.arange(3.0), out := np.zeros(1))
    assert out[0] == 3
    with pytest.raises(RuntimeError, match=r"the kernel kernels_of_a_test\.fails.* failed"):
        kernels.fails(np.arange(2.0), out)


@pytest.mark.parametrize("shape", [(6,), (3, 2), (1, 3, 1, 2), (0, 2)])
def test_scratch_arrays_and_other_shapes(module, shape):
    """What kernels take from Numba's runtime has a version of its own in the object."""
    kernels, out = module(), np.full(6, -1.0)
    x = np.arange(float(np.prod(shape))).reshape(shape)
    for _ in range(50):  # memory is given back, not twice
        kernels.reshaped(x, 400, out)
    assert out.tolist() == (x.reshape(-1)[::-1].tolist() or [-1.0] * 6)
    assert None not in kernels.reshaped._entries.values()


def test_bound_arguments(module):
    kernels = module()
    x, factors, count, exact, out = arguments()
    bound = kernels.scale.bind(x, factors, count, exact, out)
    del factors  # the arrays in it belong to the call now
    for scale in (1, 2):
        x[:] = scale * np.arange(6)
        assert bound() == 5
        assert out.tolist() == [scale * i * 1.5 + 7 * i for i in range(6)]
    unpacked = kernels.listed.bind(np.ones(4, np.int64), out)
    unpacked()
    assert out[0] == 4


def test_many_threads_call_for_the_first_time(module):
    kernels, answers, start = module(), [], threading.Barrier(8)

    def work():
        start.wait()
        answers.append(answer(kernels.scale))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [EXPECTED] * 8
    assert kernels.scale.compiled == 1


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_child_processes(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method}")
    x = np.full((1, 4, 2), 250.0)
    # A function of the package, not of this file: a spawned child could not import that.
    with multiprocessing.get_context(method).Pool(1) as pool:
        spikes, _ = pool.apply(kspike_ref.spiking_activation, (x,), {"initial_voltage": 0.0})
    assert spikes[0, 3].tolist() == [1000.0, 1000.0]


def test_a_fork_waits_for_a_compilation():
    """A child whose parent forked in the middle of one would never get the lock."""
    if not hasattr(os, "fork"):
        pytest.skip("no fork")
    held, release = threading.Event(), threading.Event()

    def compile_something():
        with _jit._lock:
            held.set()
            release.wait(0.2)

    other = threading.Thread(target=compile_something)
    other.start()
    held.wait()
    child = os.fork()
    if child == 0:
        os._exit(0 if _jit._lock.acquire(timeout=5) else 1)
    assert os.waitpid(child, 0)[1] == 0
    other.join()


def test_kernels_are_pickled_by_name():
    assert pickle.loads(pickle.dumps(_kernels.spike)) is _kernels.spike


def test_without_the_jit():
    code = "\n".join(line for line in FIRST_RESULT.splitlines() if "m.multiply(" not in line)
    lines = run(code, NUMBA_DISABLE_JIT="1").splitlines()
    assert lines == ["[(0, 0), (0, 0), (0, 0), (0, 0)]", "[]"]


def test_a_fingerprint_tells_apart_what_code_depends_on():
    def made(value):
        return lambda x: x + value

    prints = {_fingerprint.fingerprint(made(value)) for value in (1, 2, 1.0, (1,), "a", None)}
    assert len(prints) == 6
    assert _fingerprint.fingerprint(made(1)) == _fingerprint.fingerprint(made(1))
    with pytest.raises(_fingerprint.UnknownDependencyError, match="value is a list"):
        _fingerprint.fingerprint(made([]))
