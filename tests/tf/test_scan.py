"""Tests of each mechanism of the scan on the same inputs: kernels, blocks, and loops."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product

import numpy as np
import pytest
import tensorflow as tf
from equations import DT, spikes, spikes_by_steps, spiking_data

from kspike_tf import scan
from kspike_tf.layers import AlphaCell, LowpassCell, SpikingActivationCell
from kspike_tf.scan import choose
from kspike_tf.scan.cpu import compiled, kernels, tensorflow_op, xla_handler
from kspike_tf.scan.portable import saved_graphs
from kspike_tf.tracing import plain_operations

WAYS = ["eager", "graph", "unknown sizes", "elsewhere", "plain"]
WAYS += ["xla", "xla, unknown sizes", "beside an accelerator", "xla beside an accelerator"]
KINDS = "float32", "float64"
FILTERS = {"lowpass": 1, "alpha": 2}


def slow(value):
    return pytest.param(value, marks=pytest.mark.slow)


def traced(function, way, args, monkeypatch):
    """Run a function of tensors in one of the ways."""
    args = [tf.constant(each) for each in args]
    if way == "eager":
        return function(*args)
    if way == "elsewhere":  # as in a process that has loaded the graph
        monkeypatch.setattr(saved_graphs, "is_this_process", lambda: tf.random.uniform([]) > 1)
    if "accelerator" in way:  # blocks
        monkeypatch.setattr(choose, "only_processors", lambda: False)
    specs = None
    if "unknown sizes" in way:
        specs = [tf.TensorSpec(_open(each), each.dtype) for each in args]
    in_graph = tf.function(function, input_signature=specs, jit_compile="xla" in way)
    if way == "plain":
        with plain_operations():
            return in_graph(*args)
    return in_graph(*args)


def _open(array):
    return [None] * min(2, array.shape.rank - 1) + array.shape[min(2, array.shape.rank - 1) :]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 61, 5), (2, 1, 300), (2, 0, 3), (0, 4, 3)])
def test_spikes_follow_the_equations(way, dtype, shape, monkeypatch):
    args = spiking_data(shape, dtype)
    found = traced(spikes, way, args, monkeypatch)
    for mine, expected in zip(found, spikes_by_steps(*args), strict=True):
        assert mine.dtype == expected.dtype
        np.testing.assert_array_equal(mine, expected)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e12, -1e12])
def test_rates_beyond_the_grid(way, bad, monkeypatch):
    rates, voltage = spiking_data((2, 30, 4))
    rates[1, 11, 2] = bad
    found = traced(spikes, way, (rates, voltage), monkeypatch)
    with np.errstate(invalid="ignore"):
        expected = spikes_by_steps(rates, voltage)
    for mine, its in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, its)
    assert np.isnan(found[0][1, 12:, 2]).all() == (not np.isfinite(bad))


@pytest.mark.parametrize("way", WAYS)
def test_voltages_outside_of_a_spike(way, monkeypatch):
    rates, voltage = spiking_data((2, 30, 4))
    voltage += [-2, 0, 1, 3]
    found = traced(spikes, way, (rates, voltage), monkeypatch)
    for mine, expected in zip(found, spikes_by_steps(rates, voltage), strict=True):
        np.testing.assert_array_equal(mine, expected)


def filter_data(name, shape, dtype):
    rng = np.random.default_rng(1)
    batch, _, units = shape
    state = rng.normal(size=(batch, FILTERS[name], units))
    tau = np.geomspace(1e-4, 10, units).astype(dtype)  # from below dt to thousands of dt
    return rng.normal(size=shape).astype(dtype), state, tau


def filtered(name):
    """Return a function that returns outputs, and gradients of a sum that depends on them all."""

    def outputs_and_gradients(x, state, tau):
        with tf.GradientTape() as tape:
            tape.watch([x, state, tau])
            y, end = getattr(scan, name)(x, state, tau, np.float64(DT))
            weight = tf.cos(tf.range(tf.size(y), dtype=tf.float64))
            value = tf.reduce_sum(tf.cast(y, tf.float64) * tf.reshape(weight, tf.shape(y)))
            value += tf.reduce_sum(tf.sin(3 * end))
        return [y, end, *tape.gradient(value, [x, state, tau])]

    return outputs_and_gradients


def by_steps(name):
    def run(x, state, tau, dt):
        outputs = []
        for t in range(x.shape[1]):
            if name == "lowpass":
                state = scan.lowpass_step(x[:, t, None], state, tau, dt)
            else:
                state = scan.alpha_step(x[:, t], state, tau, dt)
            outputs.append(state[:, 0])
        return (tf.stack(outputs, 1) if outputs else x), state

    return run


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 61, 5), slow((2, 1, 300)), (2, 0, 3), slow((0, 4, 3))])
@pytest.mark.parametrize("name", FILTERS)
def test_filters_and_all_gradients(name, way, dtype, shape, monkeypatch):
    args = filter_data(name, shape, dtype)
    found = traced(filtered(name), way, args, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(scan, name, by_steps(name))
        exact = [tf.constant(each, tf.float64) for each in args]
        expected = filtered(name)(*exact)
    # Outputs are rounded once; sums have 183 products. In float64, 1 − e·(1 + r) cancels to
    # r²/2 = 5e-8 of 1 and so loses digits. An empty sequence leaves no gradient of tau.
    tolerance = 1e-6 if dtype == np.float32 else 1e-8
    by_kernels = ["eager", "graph", "unknown sizes"]
    if xla_handler.is_possible():
        by_kernels += ["xla", "xla, unknown sizes"]
    rounded = dtype == np.float32 and way not in by_kernels
    for i, (mine, its) in enumerate(zip(found, expected, strict=True)):
        # Blocks round values between an alpha filter's systems, and the terms of the last gradient,
        # that of tau; loops round only these terms.
        if rounded and ("accelerator" in way or way == "xla" or i == 4):
            tolerance = 1e-4
        if mine is None or its is None:
            assert 0 in shape
            continue
        assert mine.shape == its.shape
        scale = np.abs(its).max(initial=1e-300)
        np.testing.assert_allclose(mine, its, rtol=0, atol=tolerance * scale)


@pytest.fixture
def plans():
    """Restore the plans of all scans after a test."""
    every = [compiled.plan_of(*kind) for kind in product(kernels.KERNELS.values(), KINDS)]
    found = [plan.copy() for plan in every]
    yield every
    for plan, before in zip(every, found, strict=True):
        plan[["part", "threads"]] = before[["part", "threads"]]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", ["spikes", *FILTERS])
def test_any_number_of_threads_gives_the_same_bits(name, threads, monkeypatch, plans):
    shape = (5, 20, 300)
    args = spiking_data(shape) if name == "spikes" else filter_data(name, shape, np.float32)
    function = spikes if name == "spikes" else filtered(name)
    expected = traced(function, "graph", args, monkeypatch)
    for plan in plans:
        plan["part"], plan["threads"] = 2, threads
    for _ in range(5):
        found = traced(function, "graph", args, monkeypatch)
        for mine, its in zip(found, expected, strict=True):
            np.testing.assert_array_equal(mine, its)


@pytest.mark.parametrize("way", WAYS)
def test_second_derivatives_of_spikes(way, monkeypatch):
    def spiking(rates, voltage):
        with tf.GradientTape() as outer:
            outer.watch(rates)
            with tf.GradientTape() as tape:
                tape.watch(rates)
                y = spikes(tf.square(rates), voltage)[0]
            gradient = tape.gradient(y, rates)
        return outer.gradient(gradient, rates)

    # Straight-through gradient: the same as for the rates alone.
    found = traced(spiking, way, spiking_data((2, 5, 3)), monkeypatch)
    np.testing.assert_array_equal(found, np.full((2, 5, 3), 2))


def test_layers_use_the_scan():
    for cell in (SpikingActivationCell(3, "relu"), LowpassCell(3, 0.1), AlphaCell(3, 0.1)):
        assert cell.has_sequence


def test_calls_do_not_share_memory():
    args = spiking_data((3, 21, 5))
    other = spiking_data((3, 21, 5), seed=1)

    @tf.function
    def two(rates, voltage, rates_too, voltage_too):
        # Twice on the same input, and once on another of the same shape.
        return spikes(rates, voltage), spikes(rates_too, voltage_too), spikes(rates, voltage)

    kept = two(*map(tf.constant, (*args, *other)))
    two(*map(tf.constant, (*other, *args)))  # while the first results are still held
    for found, given in zip(kept, (args, other, args), strict=True):
        for mine, expected in zip(found, spikes_by_steps(*given), strict=True):
            np.testing.assert_array_equal(mine, expected)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_calls_from_several_threads_and_from_loops(jit_compile):
    data = [spiking_data((3, 21, 5), seed=seed) for seed in range(8)]
    expected = [spikes_by_steps(*each)[0] for each in data]
    one = tf.function(lambda rates, voltage: spikes(rates, voltage)[0], jit_compile=jit_compile)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            found = list(pool.map(lambda each: one(*map(tf.constant, each)), data))
            np.testing.assert_array_equal(found, expected)

    @tf.function(jit_compile=jit_compile)
    def mapped(rates, voltage):
        return tf.map_fn(lambda each: spikes(*each)[0], (rates, voltage), tf.float32)

    found = mapped(*[np.stack(each) for each in zip(*data, strict=True)])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("name", ["spikes", *FILTERS])
def test_states_of_another_batch_are_refused(name, rows, jit_compile):
    # Otherwise machine code would read and write beyond the smaller one.
    data = spiking_data if name == "spikes" else partial(filter_data, name, dtype=np.float32)
    sequence, args = data((2, 5, 3))[0], data((rows, 5, 3))
    signature = [tf.TensorSpec([None] * each.ndim, each.dtype) for each in (sequence, *args[1:])]
    function = spikes if name == "spikes" else filtered(name)
    step = tf.function(
        lambda *args: function(*args), input_signature=signature, jit_compile=jit_compile
    )
    by_kernels = xla_handler.is_possible() or not jit_compile
    message = "states are for another batch size than the sequence: initial_state must match"
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=message if by_kernels else f"tensor with {3 * rows} values",
    ):
        step(sequence, *args[1:])


@pytest.mark.parametrize("way", WAYS)
def test_rectified_spikes_are_those_of_relu(way, monkeypatch):
    x, voltage = spiking_data((3, 21, 5))
    x[1, 7, 2], x[0, 0, 0] = np.nan, 0

    def differentiated(run):
        def outputs_and_gradient(x, voltage):
            with tf.GradientTape() as tape:
                tape.watch(x)
                spikes, end = run(x, voltage)
                value = tf.reduce_sum(spikes * tf.range(5.0))
            return spikes, end, tape.gradient(value, x)

        return outputs_and_gradient

    def in_one(x, voltage):
        return scan.rectified_spikes(x, voltage, np.float64(DT))

    found = traced(differentiated(in_one), way, (x, voltage), monkeypatch)
    expected = differentiated(lambda x, v: spikes(tf.nn.relu(x), v))(
        *map(tf.constant, (x, voltage))
    )
    for mine, its in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, its)


@pytest.mark.xla_calls
def test_a_version_of_xla_that_cannot_call_us_gets_blocks(monkeypatch):
    assert xla_handler.is_possible()
    monkeypatch.setattr(xla_handler, "XLA_FFI_API_MINOR", 1)
    xla_handler.api.cache_clear()
    try:
        assert not xla_handler.register("kspike_tf.of_another_version")
    finally:
        xla_handler.api.cache_clear()
    monkeypatch.setattr(xla_handler, "IS_KNOWN", False)
    args = spiking_data((2, 21, 3))
    found = traced(spikes, "xla", args, monkeypatch)
    np.testing.assert_array_equal(found[0], spikes_by_steps(*args)[0])


def test_a_version_of_tensorflow_that_takes_no_kernels_gets_blocks(monkeypatch):
    monkeypatch.setattr(tensorflow_op, "NAMES", ("TF_NoSuchFunction",))
    assert not choose.kernels_are_possible()
    args = spiking_data((2, 21, 3))
    found = traced(spikes, "graph", args, monkeypatch)
    np.testing.assert_array_equal(found[0], spikes_by_steps(*args)[0])


def test_tensorflow_says_why_it_rejects_a_kernel(monkeypatch):
    function = tensorflow_op.function

    def failing(name, *kinds):
        return (lambda _: 3) if name == "TF_GetCode" else function(name, *kinds)

    monkeypatch.setattr(tensorflow_op, "function", failing)
    monkeypatch.setattr(tensorflow_op, "OPERATION", "NoSuchOperation")
    with pytest.raises(RuntimeError, match=r"TensorFlow rejected the kernel .*lowpass\.float32\."):
        tensorflow_op.registered.__wrapped__(kernels.LOWPASS, "float32")


def test_graphs_of_constants():
    # TensorFlow may evaluate constants before the graph runs.
    args = spiking_data((2, 5, 3))
    expected = spikes_by_steps(*args)

    def constants():
        return spikes(*map(tf.constant, args))

    for mine, its in zip(tf.function(constants, autograph=False)(), expected, strict=True):
        np.testing.assert_array_equal(mine, its)


def test_the_host_is_not_used_beside_an_accelerator(monkeypatch):
    assert choose.kernels_are_possible()
    monkeypatch.setattr(choose, "only_processors", lambda: False)
    assert not choose.kernels_are_possible()
    # So blocks are used outside XLA too.
    args = spiking_data((2, 21, 3))
    found = traced(spikes, "graph", args, monkeypatch)
    np.testing.assert_array_equal(found[0], spikes_by_steps(*args)[0])
