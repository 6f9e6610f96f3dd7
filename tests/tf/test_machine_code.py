"""Tests of the kernels' machine code: when it is compiled, its results, refused arrays."""

import math
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from equations import DT, spikes, spikes_by_steps, spiking_data

from kspike_tf.scan.cpu import compiled, driver, kernels, tensorflow_op, xla_handler
from kspike_tf.scan.portable import saved_graphs


def test_machine_code_refuses_arrays_that_do_not_fit():
    x, state, ratio = np.zeros((2, 5, 3)), np.zeros((2, 1, 3)), np.zeros(3)

    def refused(message, x=x, state=state, ratio=ratio, back=None):
        kind = kernels.LOWPASS_BACK if back else kernels.LOWPASS
        with pytest.raises(ValueError, match=message):
            compiled.run(kind, [x, state, ratio, *(back or [])])

    refused("argument 0 of lowpass must be float16 in C order", x.astype(np.float16))
    refused(r"argument 0 of lowpass must be .* got float64 \(5, 3\)", x[0])
    refused("argument 0 .* in another order", x.transpose(1, 0, 2))
    refused("argument 1 of lowpass must be float64 .*, got float32", state=state.astype("f"))
    refused("argument 1 .* in another order", state=np.zeros((2, 2, 3))[:, ::2])
    refused("states have batch size 4, but the sequence has 2", state=np.zeros((2, 2, 3)))
    refused("argument 2 of lowpass has 32 bytes instead of 24", ratio=np.zeros(4))
    refused("argument 0 of lowpass must be float64 .*, got >f8", x.astype(">f8"))
    refused("argument 3 .* has 192 bytes instead of 240", back=[x[:, 1:].copy(), state])
    refused("argument 4 of lowpass_back has 24 bytes instead of 48", back=[x, state[:1]])
    refused("lowpass_back must have 5 arguments, .* got 4", back=[x])
    refused("argument 3 of lowpass_back must be float64", back=[x.astype("f"), state])


@pytest.fixture
def without_machine_code():
    """Forget the machine code of spikes, as in a new process."""
    for kind, plan in compiled.PLANS.items():
        if kind[0] is kernels.SPIKES:
            plan["kernel"] = plan["handle"] = 0
    for function in (saved_graphs.in_graph, tensorflow_op.registered):
        function.cache_clear()


JIT_COMPILE = pytest.mark.parametrize(
    "jit_compile", [False, pytest.param(True, marks=pytest.mark.xla_calls)]
)


@pytest.mark.xla_calls
def test_a_loaded_program_has_machine_code_made(without_machine_code):
    args = [tf.constant(each) for each in spiking_data((2, 5, 3))]
    scanned = tf.function(spikes, jit_compile=True).get_concrete_function(*args)
    # As in a process that has loaded a compiled function.
    plan = compiled.PLANS[kernels.SPIKES, "f"]
    plan["kernel"] = plan["handle"] = 0
    np.testing.assert_array_equal(scanned(*args)[0], spikes_by_steps(*map(np.asarray, args))[0])
    assert plan["kernel"]
    assert plan["handle"]


# Python prints exceptions of its callbacks.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.xla_calls
def test_an_interrupt_of_a_loaded_program_is_an_error(monkeypatch, without_machine_code):
    args = [tf.constant(each) for each in spiking_data((2, 5, 3))]
    scanned = tf.function(spikes, jit_compile=True).get_concrete_function(*args)
    compiled.PLANS[kernels.SPIKES, "f"]["handle"] = 0

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(xla_handler, "prepare", interrupted)
        with pytest.raises(tf.errors.CancelledError, match="of a scan was interrupted or failed"):
            scanned(*args)
    np.testing.assert_array_equal(scanned(*args)[0], spikes_by_steps(*map(np.asarray, args))[0])


@JIT_COMPILE
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_while_it_is_compiled(error, jit_compile, monkeypatch, without_machine_code):
    args = [tf.constant(each) for each in spiking_data((2, 5, 3))]

    def failing(*_):
        raise error("no machine code")

    scanned = tf.function(spikes, jit_compile=jit_compile)
    with monkeypatch.context() as patched:
        patched.setattr(compiled, "compiled", failing)
        with pytest.raises(error):
            scanned(*args)
    np.testing.assert_array_equal(scanned(*args)[0], spikes_by_steps(*map(np.asarray, args))[0])


def test_a_fork_waits_until_it_is_compiled(monkeypatch, without_machine_code):
    begun, goes_on, by_numba = threading.Event(), threading.Event(), compiled.compiled

    def slow(*args):
        begun.set()
        assert goes_on.wait(60)
        return by_numba(*args)

    monkeypatch.setattr(compiled, "compiled", slow)
    thread = threading.Thread(target=compiled.prepare, args=(kernels.SPIKES, "f"))
    thread.start()
    assert begun.wait(60)
    threading.Timer(0.2, goes_on.set).start()
    pid = os.fork()
    if not pid:
        os._exit(0 if compiled.PLANS[kernels.SPIKES, "f"]["kernel"] else 1)
    assert os.waitpid(pid, 0)[1] == 0
    thread.join()


@JIT_COMPILE
def test_threads_may_be_the_first_at_once(jit_compile, without_machine_code):
    args, barrier = spiking_data((2, 5, 3)), threading.Barrier(4)
    expected = spikes_by_steps(*args)[0]

    def first(_):
        scanned = tf.function(lambda *args: spikes(*args), jit_compile=jit_compile)
        barrier.wait(60)
        return scanned(*map(tf.constant, args))[0]

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(first, range(4)):
            np.testing.assert_array_equal(found, expected)


def weights_of(kernel, given):
    """Return a kernel's weights; NumPy's exponentials have other last digits."""
    if kernel.shared:
        return given[0] * kernels.TICKS, 1 / given[0]
    e, minus = (np.vectorize(getattr(math, name))(-given[0]) for name in ("exp", "expm1"))
    return e, given[1] if kernel.given > 1 else -minus, e * given[0], e * (1 - given[0])


def step_of(kernel, x, g, states, weights):
    """Take one step by the kernel's formula; return the output and the states."""
    if kernel.shared:
        rate = np.where(x < 0, 0, x) if kernel is kernels.RECTIFIED_SPIKES else x
        voltage, count = kernels.spike_step(*states, rate.astype(np.float64), weights[0])
        return count.astype(x.dtype) * x.dtype.type(weights[1]), [voltage]
    u, g, (e, gain, slope, _) = x.astype(np.float64), g.astype(np.float64), weights
    if kernel is kernels.LOWPASS:
        y = kernels.lowpass_step(*states, u, e)
        return y, [y]
    if kernel is kernels.ALPHA:
        states = kernels.alpha_step(*states, u, e, slope)
        return states[0], states
    if kernel is kernels.LOWPASS_BACK:
        states, d_x = kernels.lowpass_back_step(states, u, g, e, gain)
    else:
        states, d_x = kernels.alpha_back_step(states, u, g, weights)
    return d_x, states


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("units", [1, 19, driver.BLOCK + 3])
@pytest.mark.parametrize("kernel", kernels.KERNELS, ids=lambda kernel: kernel.name)
def test_machine_code_does_what_its_formula_says(kernel, units, dtype):
    rng = np.random.default_rng(3)
    batch, steps, count = 3, 4, kernel.states
    x = rng.normal(0, 900, (batch, steps, units)).astype(dtype)
    state = rng.normal(size=(batch, count, units))
    given = [np.float64(DT)] if kernel.shared else list(rng.uniform(0, 1, (kernel.given, units)))
    ends = [rng.normal(size=x.shape).astype(dtype), rng.normal(size=state.shape)]
    args = [x, state, *given, *(ends if kernel.backwards else [])]
    found = compiled.run(kernel, [each.copy() for each in args])

    now = list(np.moveaxis(ends[1] if kernel.backwards else state, 1, 0))
    now += [np.zeros_like(now[0])] * (kernel.rows - count)
    weights, outputs = weights_of(kernel, given), np.empty_like(x)
    for t in reversed(range(steps)) if kernel.backwards else range(steps):
        outputs[:, t], now = step_of(kernel, x[:, t], ends[0][:, t], now, weights)
    np.testing.assert_array_equal(found[0], outputs)
    np.testing.assert_array_equal(found[1], np.stack(now[:count], 1))
    if kernel.backwards:
        changes = np.stack(now[count:-1], 1)
        total = now[-1].sum(0) + (state * changes).sum((0, 1))
        # Both sums have the same terms, in another order.
        scale = np.abs(now[-1]).sum(0) + np.abs(state * changes).sum((0, 1))
        assert (np.abs(found[2] - total) <= 1e-14 * scale).all()


def test_machine_code_of_large_arrays():
    # Uses huge pages, several threads and blocks of units.
    shape = (6, 50, 2 * driver.BLOCK + 77)
    rates, voltage = spiking_data(shape)
    assert rates.nbytes > driver.WORTH_HUGE
    found = tf.function(spikes)(*map(tf.constant, (rates, voltage)))
    for mine, expected in zip(found, spikes_by_steps(rates, voltage), strict=True):
        np.testing.assert_array_equal(mine, expected)
