"""Tests that untrusted graphs and programs cannot make kernels access other memory."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2

from kspike_tf.scan.cpu import kernels, observers, tensorflow_op, xla_handler

# Model files are treated as untrusted: their graphs may call our kernels with any arguments.
GOOD = [np.zeros((2, 5, 3), "f"), np.zeros((2, 1, 3)), np.zeros(3)]
STRANGE = {
    "no arguments": ([], [tf.float32, tf.float64]),
    "too many": ([GOOD[0]] * 9, [tf.float32, tf.float64]),
    "many results": (GOOD, [tf.float32] * 9),
    "no axes": ([GOOD[0][0, 0, 0], *GOOD[1:]], [tf.float32, tf.float64]),
    "eight axes": ([np.zeros([1] * 8, "f"), *GOOD[1:]], [tf.float32, tf.float64]),
    "states of 60 axes": ([GOOD[0], np.zeros([1] * 60), GOOD[2]], [tf.float32, tf.float64]),
    "integers": ([GOOD[0].view("i4"), *GOOD[1:]], [tf.int32, tf.float64]),
    "small integers": ([np.zeros((2, 5, 12), "i1"), *GOOD[1:]], [tf.int8, tf.float64]),
    "other results": (GOOD, [tf.float16, tf.float64]),
    "results as large": (GOOD, [tf.int32, tf.int64]),
    "strings": (
        [np.zeros((1, 1, 3), "f"), np.full((1, 1, 1), "a"), GOOD[2]],
        [tf.float32, tf.string],
    ),
}


def strange_call(args, types):
    label = tensorflow_op.registered(kernels.LOWPASS, "float32")

    @tf.function(autograph=False)
    def run():
        found = tf.raw_ops.PyFuncStateless(input=args(), token="strange", Tout=types)
        found[0].op._set_attr("_kernel", attr_value_pb2.AttrValue(s=label.encode()))
        return [each for each in found if each.dtype != tf.variant]

    message = "wrong numbers, types, axes|states are for another"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        run()


@pytest.mark.parametrize("case", STRANGE)
def test_operations_of_strangers_are_refused(case):
    args, types = STRANGE[case]
    # Constants would not do: TensorFlow copies them before it runs the graph.
    strange_call(lambda: [tf.identity(each) for each in args], types)


@pytest.mark.parametrize("shape", [(2**61, 0, 1), (0, 0, 2**61)])
def test_empty_tensors_that_are_too_long_are_refused(shape):
    units = min(shape[2], 1)

    def args():
        state, ratio = tf.zeros([0, 1, units], tf.float64), tf.zeros([units], tf.float64)
        return [tf.zeros(tf.constant(shape, tf.int64)), state, ratio]

    strange_call(args, [tf.float32, tf.float64])


def test_variants_are_not_copied():
    def args():
        x = tf.zeros([1, 2, 8])
        variant = tf.raw_ops.TensorListReserve(
            element_shape=[1], num_elements=1, element_dtype=tf.float32
        )
        return [x, tf.reshape(variant, [1]), tf.zeros([8], tf.float64)]

    strange_call(args, [tf.float32, tf.variant])


@pytest.mark.xla_calls
@pytest.mark.parametrize(
    "case",
    [
        *("no arguments", "two axes", "five axes", "other types", "smaller results"),
        *("no name", "another name", "a name of another type", "a name too many"),
    ],
)
def test_programs_of_strangers_are_refused(case):
    x, state, ratio = "tensor<2x5x3xf32>", "tensor<2x1x3xf64>", "tensor<3xf64>"
    given, results = {
        "no arguments": ([], [x, state]),
        "two axes": (["tensor<2x5xf32>", state, ratio], [x, state]),
        "five axes": (["tensor<2x5x3x1x1xf32>", state, ratio], [x, state]),
        "other types": (["tensor<2x5x3xi32>", state, ratio], [x, state]),
        "smaller results": ([x, state, ratio], ["tensor<2x4x3xf32>", state]),
    }.get(case, ([x, state, ratio], [x, state]))
    place = f"place = {xla_handler.place('lowpass', 'float32')} : i64"
    config = {
        "no name": "",
        "another name": "place = -1 : i64",
        "a name of another type": 'place = "lowpass"',
        "a name too many": f"{place}, other = 1 : i64",
    }.get(case, place)
    named = ", ".join(f"%{n}: {each}" for n, each in enumerate(given))
    args = ", ".join(f"%{n}" for n in range(len(given)))
    kinds = f"({', '.join(given)}) -> ({', '.join(results)})"
    module = f"""module @strange {{
      func.func public @main({named}) -> ({", ".join(results)}) {{
        %r:2 = stablehlo.custom_call @"kspike_tf.scan"({args}) {{
          api_version = 4 : i32, backend_config = {{{config}}}
        }} : {kinds}
        return %r#0, %r#1 : {", ".join(results)}
      }}
    }}"""
    types = {"f32": tf.float32, "f64": tf.float64, "i32": tf.int32}

    def tensor(kind):
        *shape, name = kind[len("tensor<") : -1].split("x")
        return tf.zeros([int(each) for each in shape], types[name])

    @tf.function(jit_compile=True, autograph=False)
    def run(*args):
        made = {"version": xla_handler.MODULE_VERSION, "module": module, "platforms": ["CPU"]}
        results_ = [tensor(each) for each in results]
        types_, shapes = [each.dtype for each in results_], [each.shape for each in results_]
        return xla_handler.xla.call_module(args, Tout=types_, Sout=shapes, **made)

    message = "is not defined here" if case == "another name" else "wrong numbers, types, axes"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        run(*map(tensor, given))


SEQUENCE, DT = np.ones((2, 5, 3), "f"), np.float64(0.5)


class Watcher:
    def __init__(self, error=None):
        self.seen, self.error = [], error

    def see(self, x, dt):
        self.seen.append((x.copy(), dt))
        if self.error is not None:
            raise self.error
        return x.shape[1]


def observed(number, x=SEQUENCE, kernel=kernels.SPIKES):
    """Return the output of a scan in a program that names an observer."""
    batch, _, units = x.shape
    state = np.zeros((batch, units) if kernel is kernels.SPIKES else (batch, 1, units))
    given = DT if kernel is kernels.SPIKES else np.full(units, DT)

    @tf.function(jit_compile=True, autograph=False)
    def run(*args):
        return xla_handler.call(kernel, args, number)[0]

    return run(*map(tf.constant, (x, state, given))).numpy()


@pytest.mark.xla_calls
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_observers_see_sequences_of_their_own_process(dtype):
    watcher = Watcher()
    number = observers.number_of(watcher)
    x = np.arange(30).reshape(2, 5, 3).astype(dtype)
    expected = observed(0, x)
    for other in (number + observers.MOST, number - observers.MOST, number % observers.MOST, -1):
        np.testing.assert_array_equal(observed(other, x), expected)
    assert not watcher.seen
    for _ in range(2):  # once it has approved of five steps, it sees none again
        np.testing.assert_array_equal(observed(number, x), expected)
    ((seen, dt),) = watcher.seen
    np.testing.assert_array_equal(seen, x)
    assert (seen.dtype, dt) == (dtype, DT)


@pytest.mark.xla_calls
def test_observers_see_no_scans_without_dt():
    watcher = Watcher()
    number = observers.number_of(watcher)
    observed(number, kernel=kernels.LOWPASS)
    assert not watcher.seen
    number = observers.PROCESS * observers.MOST + observers.MOST - 1  # there is no such observer
    np.testing.assert_array_equal(observed(number), observed(0))


@pytest.mark.xla_calls
@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("seen"), UserWarning("seen")])
def test_exceptions_of_observers_are_errors_of_xla(error, capsys):
    watcher = Watcher(error)
    number = observers.number_of(watcher)
    message = "seen" if error.args else "KeyboardInterrupt"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        observed(number)
    assert ("Traceback" in capsys.readouterr().err) == (not isinstance(error, Warning))
    observed(number)  # not shown any more
    assert len(watcher.seen) == 1
