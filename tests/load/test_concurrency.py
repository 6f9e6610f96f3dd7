"""Tests of many threads and processes, event loops and signal handlers: same bits, no deadlock."""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import kspike_ref

MODEL = Path(__file__).parents[1] / "golden" / "models" / "spiking.keras"
SECONDS = 240  # after this time a process counts as deadlocked

# The work of every thread of every process: two models, two sizes (with and without helpers).
WORK = """
import hashlib, sys, threading
import numpy as np, kspike_ref

def work(path, model, shared=None):
    found = hashlib.sha256()
    for size in (3, 400):
        x = np.random.default_rng(size).normal(scale=90, size=(size, 60, 4)).astype("f4")
        for one in (model, kspike_ref.load_model(path)):
            found.update(one.predict(x).tobytes())
        rates = np.repeat(np.abs(x), 60, axis=2)
        found.update(kspike_ref.spiking_activation(rates, seed=1)[0].tobytes())
        found.update(kspike_ref.alpha(rates, 0.02)[0].tobytes())
    return found.hexdigest()

def eight_threads(path, model=None):
    model = model or kspike_ref.load_model(path)
    found, start = [], threading.Barrier(8)
    def run():
        start.wait()
        found.append(work(path, model))
    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    return sorted(set(found)), len(found)
"""

PROCESSES = f"""{WORK}
import multiprocessing
def main(method, path):
    model = kspike_ref.load_model(path)
    before = eight_threads(path, model)  # helper threads are there when the process forks
    context = multiprocessing.get_context(method)
    with context.Pool(4) as pool:
        found = pool.starmap(eight_threads, [(path, model)] * 8, chunksize=1)
    print(len({{one for ones, _ in [before, *found] for one in ones}}), sum(n for _, n in found))
if __name__ == "__main__":
    main(*sys.argv[1:])
"""


@pytest.mark.parametrize(
    "method", ["fork", "spawn", pytest.param("forkserver", marks=pytest.mark.slow)]
)
def test_eight_threads_in_four_processes(method, tmp_path):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method}")
    script = tmp_path / "script.py"
    script.write_text(PROCESSES)
    command = [sys.executable, "-W", "ignore", str(script), method, str(MODEL)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert (done.returncode, done.stdout) == (0, "1 64\n"), done.stderr


def data(examples):
    rng = np.random.default_rng(examples)
    return rng.normal(scale=90, size=(examples, 60, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    return kspike_ref.load_model(MODEL)


def test_an_event_loop(model):
    """The model runs in threads and directly, while other tasks go on."""
    wanted = {n: model.predict(data(n)).tobytes() for n in (1, 300)}

    async def one(n):
        if n == 1:
            await asyncio.sleep(0)
            return n, model.predict(data(n)).tobytes()
        return n, (await asyncio.to_thread(model.predict, data(n))).tobytes()

    async def stream():
        x, state, outputs = data(1), model.initial_state(1), []
        for t in range(x.shape[1]):
            y, state = model.step(x[:, t], state)
            outputs.append(y)
            await asyncio.sleep(0)
        return 1, np.stack(outputs, axis=1).tobytes()

    async def all_of_them():
        jobs = [one(n) for n in (1, 300) * 10] + [stream() for _ in range(5)]
        return await asyncio.wait_for(asyncio.gather(*jobs), SECONDS)

    for n, found in asyncio.run(all_of_them()):
        assert found == wanted[n]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers")
def test_signal_handlers_that_run_models(model):
    """The handler may interrupt any Python code, even `predict`, and calls `predict` itself."""
    x, inner = data(200), data(2)
    wanted, within = model.predict(x).tobytes(), model.predict(inner).tobytes()
    answers = []

    def handler(number, frame):
        answers.append(model.predict(inner).tobytes())
        # On a slow machine, a repeating timer would interrupt the handler itself, without end.
        signal.setitimer(signal.ITIMER_REAL, 0.002)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.002)
    try:
        found = {model.predict(x).tobytes() for _ in range(200)}
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # a running handler would rearm it
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert found == {wanted}
    assert set(answers) == {within}


def test_threads_that_change_their_limits(model):
    wanted = hashlib.sha256(model.predict(data(400)).tobytes()).hexdigest()
    own = [kspike_ref.load_model(MODEL) for _ in range(8)]
    for count, one in enumerate(own, 1):
        one.num_threads = count
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda one: one.predict(data(400)).tobytes(), own * 4)
        assert {hashlib.sha256(y).hexdigest() for y in found} == {wanted}
    assert threading.active_count() < 8 + os.cpu_count() * 4 + 16


def test_a_model_is_pickled_while_it_runs():
    """As when a Dask worker passes it on: every copy has the bits of the model."""
    model, ended = kspike_ref.load_model(MODEL), threading.Event()
    wanted = [model.predict(data(count)).tobytes() for count in (1, 40)]

    def run(count):
        while not ended.is_set():
            count = (7 * count + 3) % 97 + 1  # new shapes: plans are made and costs remembered
            model.predict(data(count))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(2) as pool:
            running = [pool.submit(run, count) for count in (1, 5)]
            try:
                copies = [pickle.loads(pickle.dumps(model)) for _ in range(100)]
            finally:
                ended.set()
            for one in running:
                one.result(timeout=SECONDS)
    finally:
        sys.setswitchinterval(interval)
    for copy in copies[::20]:
        assert [copy.predict(data(count)).tobytes() for count in (1, 40)] == wanted
