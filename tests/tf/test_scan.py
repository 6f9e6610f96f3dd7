"""Each mechanism of the scan, on the same inputs: kernels, blocks, and loops."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2

import kspike_tf
from kspike_tf import scan
from kspike_tf.layers import AlphaCell, LowpassCell, SpikingActivationCell
from kspike_tf.scan import driver, foreign, host, kernels, machine, operations, program, xla
from kspike_tf.tracing import plain_operations

DT = 0.003
WAYS = ["eager", "graph", "step of fit", "unknown sizes", "elsewhere", "plain"]
WAYS += ["xla", "xla, unknown sizes", "beside an accelerator", "xla beside an accelerator"]
FILTERS = {"lowpass": 1, "alpha": 2}


def traced(function, way, args, monkeypatch):
    """Run a function of tensors in one of the ways."""
    args = [tf.constant(each) for each in args]
    if way == "eager":
        return function(*args)
    if way == "elsewhere":  # as in a process that has loaded the graph
        monkeypatch.setattr(host, "_is_this_process", lambda: tf.random.uniform([]) > 1)
    if "accelerator" in way:  # blocks
        monkeypatch.setattr(host, "_only_processors", lambda: False)
    specs = None
    if "unknown sizes" in way:
        specs = [tf.TensorSpec(_open(each), each.dtype) for each in args]

    def one_step_on_data(*args):  # by this name Keras' own steps are known
        return function(*args)

    written = one_step_on_data if way == "step of fit" else function
    compiled = tf.function(written, input_signature=specs, jit_compile="xla" in way)
    if way == "plain":
        with plain_operations():
            return compiled(*args)
    return compiled(*args)


def _open(array):
    return [None] * min(2, array.shape.rank - 1) + array.shape[min(2, array.shape.rank - 1) :]


def spikes_by_steps(rates, voltage, dt=DT):
    """Follow the equations, on arrays."""
    outputs = []
    height = rates.dtype.type(1 / dt)
    for t in range(rates.shape[1]):
        a = voltage + np.rint(rates[:, t].astype(np.float64) * (dt * 2**32)) * 2.0**-32
        count = np.floor(a)
        outputs.append(count.astype(rates.dtype) * height)
        voltage = a - count
    return np.stack(outputs, 1) if outputs else np.empty_like(rates), voltage


def spiking_data(shape, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    rates = rng.uniform(-500, 2000, shape).astype(dtype)
    return rates, rng.integers(0, 2**32, (shape[0], shape[2])) * 2.0**-32


def spikes(rates, voltage):
    return scan.spikes(rates, voltage, np.float64(DT))


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
    tau = np.geomspace(1e-4, 10, units).astype(dtype)  # from below dt to thousands of it
    return rng.normal(size=shape).astype(dtype), state, tau


def filtered(name):
    """Return a function that returns outputs, and the gradients of a sum that sees all of them."""

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
@pytest.mark.parametrize("shape", [(3, 61, 5), (2, 1, 300), (2, 0, 3), (0, 4, 3)])
@pytest.mark.parametrize("name", FILTERS)
def test_filters_and_all_gradients(name, way, dtype, shape, monkeypatch):
    args = filter_data(name, shape, dtype)
    found = traced(filtered(name), way, args, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(scan, name, by_steps(name))
        exact = [tf.constant(each, tf.float64) for each in args]
        expected = filtered(name)(*exact)
    # Outputs are rounded once, sums of 183 products; float64 leaves the digits that 1 − e·(1 + r)
    # loses, r²/2 = 5e-8 of 1. An empty sequence leaves no gradient of tau.
    tolerance = 1e-6 if dtype == np.float32 else 1e-8
    by_kernels = ("eager", "graph", "step of fit", "unknown sizes", "xla", "xla, unknown sizes")
    rounded = dtype == np.float32 and way not in by_kernels
    for i, (mine, its) in enumerate(zip(found, expected, strict=True)):
        # Blocks round what goes between an alpha filter's systems, and what the gradient of tau,
        # the last, is made of; loops only that.
        if rounded and ("accelerator" in way or i == 4):
            tolerance = 1e-4
        if mine is None or its is None:
            assert 0 in shape
            continue
        assert mine.shape == its.shape
        scale = np.abs(its).max(initial=1e-300)
        np.testing.assert_allclose(mine, its, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", ["spikes", *FILTERS])
def test_any_number_of_threads_gives_the_same_bits(name, threads, monkeypatch):
    shape = (5, 20, 300)
    args = spiking_data(shape) if name == "spikes" else filter_data(name, shape, np.float32)
    function = spikes if name == "spikes" else filtered(name)
    expected = traced(function, "graph", args, monkeypatch)
    for (recurrence, _), plan in program.PLANS.items():
        if recurrence.name.startswith(name):
            monkeypatch.setattr(plan, "part", 2)
            monkeypatch.setattr(plan, "threads", threads)
    for _ in range(5):
        found = traced(function, "graph", args, monkeypatch)
        for mine, its in zip(found, expected, strict=True):
            np.testing.assert_array_equal(mine, its)


@pytest.mark.parametrize("way", WAYS)
def test_second_derivatives(way, monkeypatch):
    def twice(name):
        def run(x, state, tau):
            with tf.GradientTape() as outer:
                outer.watch(x)
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    y = tf.square(getattr(scan, name)(x, state, tau, np.float64(DT))[0])
                gradient = tape.gradient(y, x)
            return outer.gradient(gradient, x)

        return run

    args = filter_data("lowpass", (2, 5, 3), np.float32)
    if "xla" in way:  # which raises no errors
        assert np.isnan(traced(twice("lowpass"), way, args, monkeypatch)).all()
    else:
        error = NotImplementedError if way == "eager" else tf.errors.InvalidArgumentError
        with pytest.raises(error, match="second derivatives of Lowpass and Alpha"):
            traced(twice("lowpass"), way, args, monkeypatch)

    def spiking(rates, voltage):
        with tf.GradientTape() as outer:
            outer.watch(rates)
            with tf.GradientTape() as tape:
                tape.watch(rates)
                y = spikes(tf.square(rates), voltage)[0]
            gradient = tape.gradient(y, rates)
        return outer.gradient(gradient, rates)

    # Straight through: as of the rates alone.
    found = traced(spiking, way, spiking_data((2, 5, 3)), monkeypatch)
    np.testing.assert_array_equal(found, np.full((2, 5, 3), 2))


def test_layers_use_the_scan():
    for cell in (SpikingActivationCell(3, "relu"), LowpassCell(3, 0.1), AlphaCell(3, 0.1)):
        assert cell.has_sequence


def test_results_are_written_into_the_memory_that_is_given():
    rates, voltage = spiking_data((2, 5, 3))
    room = np.empty_like(rates)
    assert program.run(kernels.spikes, [rates, voltage, np.float64(DT)], room)[0] is room


def test_calls_do_not_share_memory():
    args = spiking_data((3, 21, 5))
    other = spiking_data((3, 21, 5), seed=1)

    @tf.function
    def two(rates, voltage, rates_too, voltage_too):
        # Twice on the same input, and once on another of the same shape.
        return spikes(rates, voltage), spikes(rates_too, voltage_too), spikes(rates, voltage)

    kept = two(*map(tf.constant, (*args, *other)))
    two(*map(tf.constant, (*other, *args)))  # while the results are held
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
    # Machine code would read and write beyond the smaller of them.
    data = spiking_data if name == "spikes" else partial(filter_data, name, dtype=np.float32)
    sequence, args = data((2, 5, 3))[0], data((rows, 5, 3))
    signature = [tf.TensorSpec([None] * each.ndim, each.dtype) for each in (sequence, *args[1:])]
    function = spikes if name == "spikes" else filtered(name)
    step = tf.function(
        lambda *args: function(*args), input_signature=signature, jit_compile=jit_compile
    )
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=f"states are of {rows} examples, and the sequence of 2",
    ):
        step(sequence, *args[1:])


def test_machine_code_refuses_arrays_that_do_not_fit():
    x, state, ratio = np.zeros((2, 5, 3)), np.zeros((2, 1, 3)), np.zeros(3)

    def refused(message, x=x, state=state, ratio=ratio, out=None, back=None):
        kind = kernels.lowpass_back if back else kernels.lowpass
        with pytest.raises(ValueError, match=message):
            program.run(kind, [x, state, ratio, *(back or [])], out)

    refused("argument 0 of lowpass must be float16 in C order", x.astype(np.float16))
    refused(r"argument 0 of lowpass must be .* got float64 \(5, 3\)", x[0])
    refused("argument 0 .* in another order", x.transpose(1, 0, 2))
    refused("argument 1 of lowpass must be float64 .*, got float32", state=state.astype("f"))
    refused("argument 1 .* in another order", state=np.zeros((2, 2, 3))[:, ::2])
    refused("states are of 4 examples, and the sequence of 2", state=np.zeros((2, 2, 3)))
    refused("argument 2 of lowpass has 32 bytes instead of 24", ratio=np.zeros(4))
    refused("argument 0 of lowpass must be float64 .*, got float32", out=x.astype("f"))
    refused(r"out must be \(2, 5, 3\), got \(2, 4, 3\)", out=x[:, :4].copy())
    refused("argument 3 .* has 192 bytes instead of 240", back=[x[:, 1:].copy(), state])
    refused("argument 4 of lowpass_back has 24 bytes instead of 48", back=[x, state[:1]])
    refused("lowpass_back must have 5 arguments, got 4", back=[x])
    refused("argument 3 of lowpass_back must be float64", back=[x.astype("f"), state])


@pytest.fixture
def without_machine_code(monkeypatch):
    """As if no spikes had been scanned in this process."""
    for kind, plan in program.PLANS.items():
        if kind[0] is kernels.spikes:
            monkeypatch.setattr(plan, "steps", 0)
            monkeypatch.setattr(program, "_makers", {})


@pytest.mark.parametrize("jit_compile", [False, True])
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
@pytest.mark.parametrize("jit_compile", [False, True])
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
def test_machine_code_does_what_its_formula_says(kind, units, dtype):
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
    found = traced(spikes, "graph", (rates, voltage), None)
    for mine, expected in zip(found, spikes_by_steps(rates, voltage), strict=True):
        np.testing.assert_array_equal(mine, expected)


# A model file is a stranger's: so are the graphs in it, which may call our kernels with anything.
STRANGE = {
    "no arguments": ([], [tf.float32, tf.float64]),
    "too many": ([np.zeros((2, 5, 3), "f")] * 9, [tf.float32, tf.float64]),
    "as many results": ([np.zeros((2, 5, 3), "f")] * 3, [tf.float32] * 9),
    "two axes": ([np.zeros((2, 5), "f"), np.zeros((2, 1, 3)), np.zeros(3)], 2 * [tf.float64]),
    "five axes": ([np.zeros((2, 5, 3, 1, 1), "f"), *[np.zeros(3)] * 2], [tf.float32, tf.float64]),
    "other types": ([np.zeros((2, 5, 3), "i1"), np.zeros((2, 1, 3)), np.zeros(3)], 2 * [tf.int8]),
    "smaller results": (
        [np.zeros((2, 5, 3), "f"), np.zeros((2, 1, 3)), np.zeros(3)],
        [tf.float16, tf.float64],
    ),
    "strings": ([np.full((2, 5, 3), "a"), np.zeros((2, 1, 3)), np.zeros(3)], 2 * [tf.string]),
}


@pytest.mark.parametrize("case", STRANGE)
def test_operations_of_strangers_are_refused(case):
    args, types = STRANGE[case]
    label = operations._registered(kernels.lowpass, "f")

    @tf.function(autograph=False)
    def run():
        found = tf.raw_ops.PyFuncStateless(input=args, token="strange", Tout=types)
        operation = found[0].op
        operation._set_attr("_kernel", attr_value_pb2.AttrValue(s=label.encode()))
        return found

    with pytest.raises((tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError)):
        run()


@pytest.mark.parametrize(
    "case", ["no arguments", "two axes", "five axes", "other types", "smaller results"]
)
def test_programs_of_strangers_are_refused(case):
    x, state, ratio = "tensor<2x5x3xf32>", "tensor<2x1x3xf64>", "tensor<3xf64>"
    given, results = {
        "no arguments": ([], [x, state]),
        "two axes": (["tensor<2x5xf32>", state, ratio], [x, state]),
        "five axes": (["tensor<2x5x3x1x1xf32>", state, ratio], [x, state]),
        "other types": (["tensor<2x5x3xi32>", state, ratio], [x, state]),
        "smaller results": ([x, state, ratio], ["tensor<2x4x3xf32>", state]),
    }[case]
    named = ", ".join(f"%{n}: {each}" for n, each in enumerate(given))
    args = ", ".join(f"%{n}" for n in range(len(given)))
    kinds = f"({', '.join(given)}) -> ({', '.join(results)})"
    module = f"""module @strange {{
      func.func public @main({named}) -> ({", ".join(results)}) {{
        %r:2 = stablehlo.custom_call @"kspike_tf.lowpass.f32"({args}) {{api_version = 4 : i32}}
          : {kinds}
        return %r#0, %r#1 : {", ".join(results)}
      }}
    }}"""
    types = {"f32": tf.float32, "f64": tf.float64, "i32": tf.int32}

    def tensor(kind):
        *shape, name = kind[len("tensor<") : -1].split("x")
        return tf.zeros([int(each) for each in shape], types[name])

    @tf.function(jit_compile=True, autograph=False)
    def run(*args):
        made = {"version": xla.VERSION, "module": module, "platforms": ["CPU"]}
        results_ = [tensor(each) for each in results]
        types_, shapes = [each.dtype for each in results_], [each.shape for each in results_]
        return xla.xla.call_module(args, Tout=types_, Sout=shapes, **made)

    with pytest.raises(tf.errors.InvalidArgumentError, match=r"lowpass|argument|result"):
        run(*map(tensor, given))


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


def test_a_version_of_xla_that_cannot_call_us_gets_blocks(monkeypatch):
    assert xla.is_possible()
    monkeypatch.setattr(foreign, "VERSION", (0, 1))
    foreign._api.cache_clear()
    try:
        assert not foreign.register({"kspike_tf.of_another_version": 0})
    finally:
        foreign._api.cache_clear()
    monkeypatch.setattr(xla, "_are_known", False)
    args = spiking_data((2, 21, 3))
    found = traced(spikes, "xla", args, monkeypatch)
    np.testing.assert_array_equal(found[0], spikes_by_steps(*args)[0])


def test_a_version_of_tensorflow_that_takes_no_kernels_gets_blocks(monkeypatch):
    monkeypatch.setattr(operations, "NAMES", ("TF_NoSuchFunction",))
    operations._library.cache_clear()
    try:
        assert not host.is_possible()
        args = spiking_data((2, 21, 3))
        found = traced(spikes, "graph", args, monkeypatch)
    finally:
        operations._library.cache_clear()
    np.testing.assert_array_equal(found[0], spikes_by_steps(*args)[0])


def test_tensorflow_says_why_it_takes_no_kernel(monkeypatch):
    function = operations._function

    def failing(name, *kinds):
        return (lambda _: 3) if name == "TF_GetCode" else function(name, *kinds)

    monkeypatch.setattr(operations, "_function", failing)
    monkeypatch.setattr(operations, "OPERATION", "NoSuchOperation")
    with pytest.raises(RuntimeError, match=r"not take the kernel .*lowpass\.f"):
        operations._registered.__wrapped__(kernels.lowpass, "f")


def test_constants_are_folded_to_the_same(monkeypatch):
    # TensorFlow runs operations on constants once, before it runs the graph.
    args = spiking_data((2, 5, 3))
    expected = spikes_by_steps(*args)
    for name in ("one_step_on_data", "step"):

        def constants():
            return spikes(*map(tf.constant, args))

        constants.__name__ = name
        for mine, its in zip(tf.function(constants, autograph=False)(), expected, strict=True):
            np.testing.assert_array_equal(mine, its)


@pytest.mark.parametrize("may_be_saved", [False, True])
def test_only_steps_of_fit_are_traced_without_the_loop_for_other_processes(
    may_be_saved, monkeypatch
):
    def refuse(**_):
        raise RuntimeError("traced for other processes")

    monkeypatch.setattr(host.tf.raw_ops, "StatelessIf", refuse)

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.low = kspike_tf.Lowpass(0.1)
            if may_be_saved:  # with the model, whose attribute it is
                self.call = tf.function(self.call, autograph=False)

        def call(self, x):
            return self.low(x)

    x = np.ones((4, 5, 3), np.float32)
    model = Model()
    model.compile("sgd", "mse")

    def run():
        model(x)  # builds it
        model.fit(x, x, verbose=0)
        model.predict(x, verbose=0)

    if may_be_saved:
        with pytest.raises(RuntimeError, match="traced for other processes"):
            run()
    else:
        run()


def test_the_host_is_not_used_beside_an_accelerator(monkeypatch):
    assert host.is_possible()
    monkeypatch.setattr(host, "_only_processors", lambda: False)
    assert not host.is_possible()
    # Blocks, then, outside of XLA too.
    args = spiking_data((2, 21, 3))
    found = traced(spikes, "graph", args, monkeypatch)
    np.testing.assert_array_equal(found[0], spikes_by_steps(*args)[0])
