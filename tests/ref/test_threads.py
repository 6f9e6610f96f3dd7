"""Tests of threads, pools and forks: always the answer of one thread, and never a deadlock."""

import multiprocessing
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
import pytest

import kspike_ref
from kspike_ref.running import threads as _threads
from kspike_ref.synapses import LowpassDynamics


def answers(seed):
    """Call each kernel once, on arrays that `four_cores` divides among threads."""
    x = np.random.default_rng(seed).uniform(-500, 2000, (8, 40, 600)).astype(np.float32)
    return [
        kspike_ref.spiking_activation(x, seed=seed)[0],
        kspike_ref.lowpass(x, 0.01)[0],
        kspike_ref.alpha(x, 0.01)[0],
    ]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture
def four_cores(monkeypatch):
    """Make kernels use threads, however few cores there are and however little work."""
    monkeypatch.setattr(_threads, "_CORES", 4)
    monkeypatch.setattr(_threads, "WORTH_THREADS", 1 << 10)


@pytest.mark.usefixtures("four_cores")
def test_the_number_of_threads_does_not_change_the_answer():
    many = answers(0)
    for count in (1, 2, 3, None):
        with _threads.limit_threads(count):
            assert same(answers(0), many)


@pytest.mark.usefixtures("four_cores")
def test_calls_from_several_threads_at_once():
    """More callers than helpers, all of them threads of a pool."""
    expected = [answers(seed) for seed in range(3)]
    with ThreadPoolExecutor(8) as pool:
        for seed, result in enumerate(pool.map(answers, [0, 1, 2] * 8)):
            assert same(result, expected[seed % 3])


@pytest.mark.usefixtures("four_cores")
def test_helpers_work_and_the_limit_holds():
    seen = set()
    ready = threading.Barrier(3, timeout=30)

    def work(_region):
        if threading.get_ident() not in seen:
            seen.add(threading.get_ident())
            ready.wait()  # three threads are here at the same time, or this fails

    with _threads.limit_threads(3):
        _threads.run(work, 64, 100, 100)
    assert len(seen) == 3


def test_small_work_stays_on_the_calling_thread():
    seen = []
    _threads.run(lambda region: seen.append((threading.get_ident(), region)), 4, 10, 100)
    assert seen == [(threading.get_ident(), (0, 4, 0, 100))]


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize(("size", "regions"), [(2047, 1), (2048, 2), (5000, 4), (100_000, 16)])
def test_regions_are_not_too_small(size, regions):
    seen = []
    _threads.run(seen.append, size, 1, 1)
    assert len(seen) == regions


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("units", [1, 15, 16, 17, 1000, 5000, 20_000])
@pytest.mark.parametrize("parts", [1, 2, 8])
def test_regions_cover_everything_once(rows, units, parts):
    covered = np.zeros((rows, units), int)
    for first_row, last_row, first, last in _threads.split(rows, units, parts):
        covered[first_row:last_row, first:last] += 1
    assert (covered == 1).all()


@pytest.mark.usefixtures("four_cores")
def test_an_error_in_a_helper_is_raised():
    def work(_region):
        raise ArithmeticError("from a region")

    with pytest.raises(ArithmeticError, match="from a region"):
        _threads.run(work, 64, 100, 100)


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize("at_fault", ["caller", "helper"])
def test_an_error_waits_for_what_has_begun(at_fault):
    """Nothing runs when the error is raised; helpers stay usable."""
    caller, running = threading.get_ident(), []

    def work(_item):
        running.append(1)
        try:
            if (threading.get_ident() == caller) == (at_fault == "caller"):
                raise ArithmeticError(at_fault)
        finally:
            running.pop()

    def until_both_have_had_an_item():
        while True:
            _threads.share(work, range(50), 3)

    with pytest.raises(ArithmeticError, match=at_fault):
        until_both_have_had_an_item()
    assert not running
    seen = []
    _threads.share(seen.append, range(50), 3)
    assert sorted(seen) == list(range(50))


@pytest.mark.parametrize("at_fault", ["caller", "helper"])
def test_after_an_error_no_thread_begins_another_item(monkeypatch, at_fault):
    recorded = threading.Event()  # after the failure: the thread at fault reports or waits

    class Ended(SimpleQueue):
        def put(self, *args):
            recorded.set()
            super().put(*args)

        def get(self, *args):
            recorded.set()
            return super().get(*args)

    caller, begun = threading.get_ident(), []

    def work(item):
        begun.append(item)
        if (threading.get_ident() == caller) == (at_fault == "caller"):
            raise ArithmeticError(f"item {item}")
        assert recorded.wait(30)

    monkeypatch.setattr(_threads, "Ended", Ended)
    with pytest.raises(ArithmeticError, match="item"):
        _threads.share(work, range(1000), 3)
    assert len(begun) <= 3  # one per thread


@pytest.mark.usefixtures("four_cores")
def test_without_new_threads_the_caller_does_it_all(monkeypatch):
    """As at the interpreter's shutdown."""

    def no_thread(*_, **__):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    expected = answers(1)
    monkeypatch.setattr(_threads, "_helpers", _threads.Helpers())
    monkeypatch.setattr(_threads, "Thread", no_thread)
    assert same(answers(1), expected)


def test_limit_is_of_this_thread_and_ends():
    before = _threads.num_threads()
    elsewhere = []
    with _threads.limit_threads(1):
        assert _threads.num_threads() == 1
        other = threading.Thread(target=lambda: elsewhere.append(_threads.num_threads()))
        other.start()
        other.join()
    assert elsewhere == [before]
    assert _threads.num_threads() == before == _threads.cores()


@pytest.mark.parametrize("count", [0, -2, 1.5, True, "2"])
def test_bad_number_of_threads(count):
    message = rf"num_threads must be a positive integer or None\. Received: {count!r}"
    with pytest.raises(ValueError, match=message), _threads.limit_threads(count):
        pass


def test_kernels_release_the_gil():
    """Another Python thread sees an output with its first step written, but not yet its last."""
    x, out = np.ones((1, 1, 16), np.float32), np.zeros((1, 500_000, 16), np.float32)
    dynamics, level = LowpassDynamics(np.full(16, 0.01), 0.001), np.ones((1, 16))
    half_done, stop = threading.Event(), threading.Event()

    def watch():
        while not stop.is_set():
            first, last, still = out[0, 0, 0], out[0, -1, 0], out[0, 0, 0]
            if first and not last and still:
                half_done.set()

    other = threading.Thread(target=watch)
    other.start()
    try:
        with _threads.limit_threads(1):
            for _ in range(200):  # the other thread may have to wait for a core
                out[0, 0] = out[0, -1] = 0
                dynamics.run(x, level, out)
                if half_done.is_set():
                    break
    finally:
        stop.set()
        other.join()
    assert half_done.is_set()


def _in_a_child(queue):
    queue.put(pickle.dumps(answers(2)))


@pytest.mark.usefixtures("four_cores")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_starts_threads_of_its_own():
    expected = answers(2)  # starts the parent's pool
    assert _threads._helpers._count
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_a_child, args=(queue,))
    child.start()
    assert same(pickle.loads(queue.get(timeout=60)), expected)
    child.join(30)
    assert child.exitcode == 0
