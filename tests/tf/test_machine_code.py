"""Tests of the kernels' machine code: when it is compiled, its results, refused arrays."""

import ctypes
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from equations import DT, spikes, spikes_by_steps, spiking_data

from kspike_tf.scan.choose import Way, run
from kspike_tf.scan.cpu import (
    compiled,
    driver,
    kernels,
    observers,
    tensorflow_op,
    xla_handler,
)
from kspike_tf.scan.portable import loop, saved_graphs


def test_machine_code_refuses_arrays_that_do_not_fit():
    x, state, ratio = np.zeros((2, 5, 3)), np.zeros((2, 1, 3)), np.zeros(3)

    def refused(x=x, state=state, ratio=ratio, back=None, message="wrong numbers, types, axes"):
        kernel = kernels.LOWPASS_BACK if back else kernels.LOWPASS
        args = [tf.constant(each) for each in (x, state, ratio, *(back or []))]
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            run(Way.KERNEL, kernel, args)

    refused(x[0])
    refused(state=state.astype("f"), message="states are for another batch size")
    refused(state=np.zeros((2, 2, 3)), message="states are for another batch size")
    refused(ratio=np.zeros(4))
    refused(back=[x[:, 1:], state])
    refused(back=[x, state[:1]])
    refused(back=[x.astype("f"), state])


@pytest.fixture
def without_machine_code():
    """Forget the machine code of spikes, as in a new process."""
    _forget()
    for function in (saved_graphs.in_graph, tensorflow_op.registered):
        function.cache_clear()


def _forget():
    for kind in ("float32", "float64"):
        compiled.plan_of(kernels.SPIKES, kind)["work"] = 0


JIT_COMPILE = pytest.mark.parametrize(
    "jit_compile", [False, pytest.param(True, marks=pytest.mark.xla_calls)]
)


@pytest.mark.xla_calls
def test_a_loaded_program_has_machine_code_made(without_machine_code):
    args = [tf.constant(each) for each in spiking_data((2, 5, 3))]
    scanned = tf.function(spikes, jit_compile=True).get_concrete_function(*args)
    # As in a process that has loaded a compiled function.
    _forget()
    np.testing.assert_array_equal(scanned(*args)[0], spikes_by_steps(*map(np.asarray, args))[0])
    assert compiled.plan_of(kernels.SPIKES, "float32")["work"]


# Python prints exceptions of its callbacks.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.xla_calls
def test_an_interrupt_of_a_loaded_program_is_an_error(monkeypatch, without_machine_code):
    args = [tf.constant(each) for each in spiking_data((2, 5, 3))]
    scanned = tf.function(spikes, jit_compile=True).get_concrete_function(*args)
    _forget()

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
    thread = threading.Thread(target=compiled.prepare, args=(kernels.SPIKES, "float32"))
    thread.start()
    assert begun.wait(60)
    threading.Timer(0.2, goes_on.set).start()
    pid = os.fork()
    if not pid:
        os._exit(0 if compiled.plan_of(kernels.SPIKES, "float32")["work"] else 1)
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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("units", [1, 19, driver.BLOCK + 3])
@pytest.mark.parametrize("kernel", kernels.KERNELS.values(), ids=lambda kernel: kernel.name)
def test_machine_code_does_what_its_formula_says(kernel, units, dtype):
    rng = np.random.default_rng(3)
    batch, steps = 3, 4
    x = rng.normal(0, 900, (batch, steps, units)).astype(dtype)
    state = rng.normal(size=(batch, kernel.states, units))
    given = [np.float64(DT)] if kernel.shared else list(rng.uniform(0, 1, (kernel.given, units)))
    ends = [rng.normal(size=x.shape).astype(dtype), rng.normal(size=state.shape)]
    args = [tf.constant(each) for each in (x, state, *given, *(ends if kernel.backwards else []))]
    found, expected = run(Way.KERNEL, kernel, args), loop.run(kernel, args)
    if kernel.shared:
        for mine, its in zip(found, expected, strict=True):
            np.testing.assert_array_equal(mine, its)
        return
    # The exponentials of TensorFlow have other last digits; gradients of ratios are sums.
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    for mine, its in zip(found, expected, strict=True):
        scale = np.abs(its).max()
        np.testing.assert_allclose(mine, its, rtol=0, atol=tolerance * scale)


def test_machine_code_of_large_arrays():
    # Uses huge pages, several threads and blocks of units.
    shape = (6, 50, 2 * driver.BLOCK + 77)
    rates, voltage = spiking_data(shape)
    assert rates.nbytes > driver.WORTH_HUGE
    found = tf.function(spikes)(*map(tf.constant, (rates, voltage)))
    for mine, expected in zip(found, spikes_by_steps(rates, voltage), strict=True):
        np.testing.assert_array_equal(mine, expected)


def test_what_machine_code_points_to_is_never_freed():
    callback = ctypes.CFUNCTYPE(None).__base__

    def references(variables):
        return {
            name: sys.getrefcount(each)
            for name, each in variables.items()
            if isinstance(each, (np.ndarray, callback))
        }

    free = references({"free": np.zeros(1)})["free"]
    for module in (driver, xla_handler, observers):
        found = references(vars(module))
        assert found
        assert [name for name, count in found.items() if count <= free] == []


@pytest.mark.xla_calls
def test_compiled_handlers_tell_their_version():
    xla_handler.prepare(kernels.SPIKES, "float32")
    assert xla_handler.register("kspike_tf.again")  # XLA asks for it


def held(state, x, g, weights):
    """Add the first weight to the state at every step, and keep the sequence."""
    return (state[0] + weights[0],), x


def test_kernels_may_have_six_arguments_of_weights(monkeypatch):
    monkeypatch.setattr(kernels, "KERNELS", {})
    made = kernels.kernel("held", held, lambda a, b, c, d, e, f: (a + b + c + d + e + f,))
    assert made.arguments == driver.MOST_ARGUMENTS
    x, given = np.ones((2, 5, 3), "f"), np.arange(18.0).reshape(6, 3)
    args = [tf.constant(each) for each in (x, np.zeros((2, 1, 3)), *given)]
    found, state = run(Way.KERNEL, made, args)
    np.testing.assert_array_equal(found, x)
    np.testing.assert_array_equal(state, np.broadcast_to(5 * given.sum(axis=0), (2, 1, 3)))


@pytest.mark.parametrize("weights", [lambda dt: (), lambda dt: dt])
def test_weights_must_be_a_tuple_of_numbers(weights, monkeypatch):
    monkeypatch.setattr(kernels, "KERNELS", {})
    made = kernels.kernel("weightless", held, weights, shared=True)
    with pytest.raises(TypeError, match="must be a tuple of numbers"):
        compiled.prepare(made, "float32")


@pytest.mark.parametrize(
    ("weights", "options"),
    [
        (lambda: (1.0,), {}),
        (lambda a, b, c, d, e, f, g: (a,), {}),
        (lambda a, b, c, d, e: (a,), {"backwards": True}),
        (lambda a: (a,), {"states": 0}),
    ],
)
def test_kernels_with_other_numbers_of_arguments_are_refused(weights, options, monkeypatch):
    monkeypatch.setattr(kernels, "KERNELS", {})
    with pytest.raises(ValueError, match="'held' needs at least one state, and weights of 1 to"):
        kernels.kernel("held", held, weights, **options)
    assert not kernels.KERNELS


@pytest.mark.xla_calls
def test_a_kernel_in_use_cannot_be_defined_again(monkeypatch):
    monkeypatch.setattr(kernels, "KERNELS", {})

    def defined():
        def step(state, x, g, weights):
            return (state[0] + weights[0],), x

        return kernels.kernel("defined twice", step, lambda a: (a,))

    xla_handler.prepare(defined(), "float32")
    with pytest.raises(RuntimeError, match="restart Python, or rename the kernel"):
        xla_handler.prepare(defined(), "float32")


@pytest.mark.xla_calls
def test_a_program_whose_kernel_is_not_defined_says_so(monkeypatch, without_machine_code):
    args = [tf.constant(each) for each in spiking_data((2, 5, 3))]
    scanned = tf.function(spikes, jit_compile=True).get_concrete_function(*args)
    with monkeypatch.context() as patched:
        patched.setattr(xla_handler, "KERNELS", {})
        with pytest.raises(tf.errors.InvalidArgumentError, match="import the module that defines"):
            scanned(*args)
    np.testing.assert_array_equal(scanned(*args)[0], spikes_by_steps(*map(np.asarray, args))[0])
