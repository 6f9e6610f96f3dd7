"""The kernels' machine code: when it is made, what it does, which arrays it refuses."""

import math
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from equations import DT, spikes, spikes_by_steps, spiking_data

from kspike_tf.scan import driver, host, kernels, machine, operations, program


def test_machine_code_refuses_arrays_that_do_not_fit():
    x, state, ratio = np.zeros((2, 5, 3)), np.zeros((2, 1, 3)), np.zeros(3)

    def refused(message, x=x, state=state, ratio=ratio, back=None):
        kind = kernels.lowpass_back if back else kernels.lowpass
        with pytest.raises(ValueError, match=message):
            program.run(kind, [x, state, ratio, *(back or [])])

    refused("argument 0 of lowpass must be float16 in C order", x.astype(np.float16))
    refused(r"argument 0 of lowpass must be .* got float64 \(5, 3\)", x[0])
    refused("argument 0 .* in another order", x.transpose(1, 0, 2))
    refused("argument 1 of lowpass must be float64 .*, got float32", state=state.astype("f"))
    refused("argument 1 .* in another order", state=np.zeros((2, 2, 3))[:, ::2])
    refused("states are of 4 examples, and the sequence of 2", state=np.zeros((2, 2, 3)))
    refused("argument 2 of lowpass has 32 bytes instead of 24", ratio=np.zeros(4))
    refused("argument 0 of lowpass must be float64 .*, got >f8", x.astype(">f8"))
    refused("argument 3 .* has 192 bytes instead of 240", back=[x[:, 1:].copy(), state])
    refused("argument 4 of lowpass_back has 24 bytes instead of 48", back=[x, state[:1]])
    refused("lowpass_back must have 5 arguments, got 4", back=[x])
    refused("argument 3 of lowpass_back must be float64", back=[x.astype("f"), state])


@pytest.fixture
def without_machine_code(monkeypatch):
    """As if no spikes had been scanned in this process."""
    program._wait_for_makers()  # of other tests
    for kind, plan in program.PLANS.items():
        if kind[0] is kernels.spikes:
            monkeypatch.setattr(plan, "steps", 0)
            monkeypatch.setattr(program, "_makers", {})


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.xla_calls)])
def test_machine_code_is_made_when_it_is_needed(jit_compile, monkeypatch, without_machine_code):
    # As in a process that has loaded a compiled function.
    args = [tf.constant(each) for each in spiking_data((2, 5, 3))]
    monkeypatch.setattr(program, "begin", lambda *_: None)
    scanned = tf.function(spikes, jit_compile=jit_compile).get_concrete_function(*args)
    monkeypatch.undo()
    program.PLANS[kernels.spikes, "f"].steps = 0
    np.testing.assert_array_equal(scanned(*args)[0], spikes_by_steps(*map(np.asarray, args))[0])
    assert program.PLANS[kernels.spikes, "f"].steps


# Python prints what its callbacks and threads raise.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.xla_calls)])
def test_an_interrupt_while_it_is_made_is_an_error(jit_compile, monkeypatch, without_machine_code):
    args = [tf.constant(each) for each in spiking_data((2, 5, 3))]

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(program, "begin", lambda *_: None)
        scanned = tf.function(spikes, jit_compile=jit_compile)
        patched.setattr(program, "finish", interrupted)
        with pytest.raises(tf.errors.CancelledError, match="interrupted"):
            scanned(*args)
    np.testing.assert_array_equal(scanned(*args)[0], spikes_by_steps(*map(np.asarray, args))[0])


def test_an_interrupt_before_it_is_begun_is_forgotten(monkeypatch, without_machine_code):
    def interrupted(_):
        raise KeyboardInterrupt

    args = spiking_data((2, 5, 3))
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            spikes(*map(tf.constant, args))
    np.testing.assert_array_equal(spikes(*map(tf.constant, args))[0], spikes_by_steps(*args)[0])


def test_a_fork_waits_until_it_is_made(monkeypatch, without_machine_code):
    compiled = program.machine.compiled
    begun, goes_on = threading.Event(), threading.Event()

    def slow(*args):
        begun.set()
        assert goes_on.wait(60)
        return compiled(*args)

    monkeypatch.setattr(program.machine, "compiled", slow)
    program.begin(kernels.spikes, "f")
    assert begun.wait(60)
    threading.Timer(0.2, goes_on.set).start()
    pid = os.fork()
    if not pid:
        os._exit(0 if program.PLANS[kernels.spikes, "f"].steps else 1)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.xla_calls)])
def test_threads_may_be_the_first_at_once(jit_compile, monkeypatch, without_machine_code):
    for function in (host._of_any_shape, operations._registered, operations._machine_code):
        function.cache_clear()
    args, barrier = spiking_data((2, 5, 3)), threading.Barrier(4)
    expected = spikes_by_steps(*args)[0]

    def first(_):
        scanned = tf.function(lambda *args: spikes(*args), jit_compile=jit_compile)
        barrier.wait(60)
        return scanned(*map(tf.constant, args))[0]

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(first, range(4)):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_cannot_make_it_is_followed_by_an_error(monkeypatch, without_machine_code):
    def failed(*_):
        raise RuntimeError("no machine code")

    monkeypatch.setattr(program.machine, "compiled", failed)
    with pytest.raises(RuntimeError, match="no machine code"):
        program.finish(kernels.spikes, "f")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("units", [1, 19, machine.BLOCK + 3])
@pytest.mark.parametrize("kind", kernels.ALL, ids=lambda kind: kind.name)
def test_machine_code_does_what_its_formula_says(kind, units, dtype, monkeypatch):
    rng = np.random.default_rng(3)
    batch, steps, count = 3, 4, kind.visible
    x = rng.normal(0, 900, (batch, steps, units)).astype(dtype)
    state = rng.normal(size=(batch, count, units))
    given = [np.float64(DT) if kind.shared else rng.uniform(0, 1, units) for _ in range(kind.given)]
    ends = [rng.normal(size=x.shape).astype(dtype), rng.normal(size=state.shape)]
    args = [x, state, *given, *(ends if kind.backwards else [])]
    found = program.run(kind, [each.copy() for each in args])

    now = list(np.moveaxis(ends[1] if kind.backwards else state, 1, 0))
    now += [np.zeros_like(now[0])] * (kind.states - count)
    # NumPy has exponentials of its own for some processors, which differ in the last digit.
    for name in ("exp", "expm1"):
        monkeypatch.setattr(kernels, name, np.vectorize(getattr(math, name)))
    coefficients, outputs = kind.coefficients(*given), np.empty_like(x)
    for t in reversed(range(steps)) if kind.backwards else range(steps):
        inputs = [x[:, t], ends[0][:, t]] if kind.backwards else [x[:, t]]
        now, (outputs[:, t],) = kind.formula(now, inputs, coefficients)
    np.testing.assert_array_equal(found[0], outputs)
    np.testing.assert_array_equal(found[1], np.stack(now[:count], 1))
    if kind.backwards:
        changes = np.stack(now[count:-1], 1)
        total = now[-1].sum(0) + (state * changes).sum((0, 1))
        # The sums are of the same terms in another order.
        scale = np.abs(now[-1]).sum(0) + np.abs(state * changes).sum((0, 1))
        assert (np.abs(found[2] - total) <= 1e-14 * scale).all()


def test_machine_code_of_large_arrays():
    # Huge pages, several threads and blocks of units.
    shape = (6, 50, 2 * machine.BLOCK + 77)
    rates, voltage = spiking_data(shape)
    assert rates.nbytes > driver.WORTH_HUGE
    found = tf.function(spikes)(*map(tf.constant, (rates, voltage)))
    for mine, expected in zip(found, spikes_by_steps(rates, voltage), strict=True):
        np.testing.assert_array_equal(mine, expected)
