"""Tests that untrusted graphs and programs cannot make kernels access other memory."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2

from kspike_tf.scan.cpu import kernels, tensorflow_op, xla_handler, xla_observer

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


SEQUENCE, DT = np.zeros((2, 5, 3), "f"), np.float64(0.001)
WATCHED = {
    "no arguments": [],
    "three arguments": [SEQUENCE, DT, np.int64(0)],
    "five arguments": [SEQUENCE, DT, np.int64(0), np.int64(xla_observer.PROCESS), DT],
    "two axes": [SEQUENCE[0], DT, np.int64(0), np.int64(xla_observer.PROCESS)],
    "no axes": [SEQUENCE[0, 0, 0], DT, np.int64(0), np.int64(xla_observer.PROCESS)],
    "integers": [SEQUENCE.view("i4"), DT, np.int64(0), np.int64(xla_observer.PROCESS)],
    "dt in float32": [SEQUENCE, np.float32(DT), np.int64(0), np.int64(xla_observer.PROCESS)],
    "dt with an axis": [SEQUENCE, DT[None], np.int64(0), np.int64(xla_observer.PROCESS)],
    "a small number": [SEQUENCE, DT, np.int32(0), np.int64(xla_observer.PROCESS)],
    "no number": [SEQUENCE, DT, np.zeros(0, np.int64), np.int64(xla_observer.PROCESS)],
    "a small process": [SEQUENCE, DT, np.int64(0), np.int32(0)],
    "a negative number": [SEQUENCE, DT, np.int64(-1), np.int64(xla_observer.PROCESS)],
    "a large number": [SEQUENCE, DT, np.int64(2**40), np.int64(xla_observer.PROCESS)],
    "one too large": [SEQUENCE, DT, np.int64(xla_observer.MOST), np.int64(xla_observer.PROCESS)],
}


def observe(*args):
    """Run a program that calls the observers' handler with any arguments."""
    names = {"float32": "f32", "float64": "f64", "int32": "i32", "int64": "i64"}
    kinds = [
        f"tensor<{'x'.join([*map(str, each.shape), names[each.dtype.name]])}>"
        for each in map(np.asarray, args)
    ]
    named = ", ".join(f"%{n}: {each}" for n, each in enumerate(kinds))
    operands = ", ".join(f"%{n}" for n in range(len(args)))
    module = f"""module @strange {{
      func.func public @main({named}) -> () {{
        stablehlo.custom_call @"kspike_tf.observe"({operands}) {{
          api_version = 4 : i32, has_side_effect = true
        }} : ({", ".join(kinds)}) -> ()
        return
      }}
    }}"""

    @tf.function(jit_compile=True, autograph=False)
    def run(*args):
        made = {"version": xla_handler.MODULE_VERSION, "module": module, "platforms": ["CPU"]}
        xla_handler.xla.call_module(args, Tout=[], Sout=[], **made)
        return tf.constant(0)

    run(*map(tf.constant, args))


@pytest.mark.xla_calls
@pytest.mark.parametrize("case", WATCHED)
def test_strange_arguments_of_observers_are_refused(case):
    with pytest.raises(tf.errors.InvalidArgumentError, match="wrong numbers, types, axes"):
        observe(*WATCHED[case])


class Watcher:
    def __init__(self, error=None):
        self.seen, self.error = [], error

    def see(self, x, dt):
        self.seen.append((x.copy(), dt))
        if self.error is not None:
            raise self.error
        return x.shape[1]


@pytest.mark.xla_calls
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_observers_see_sequences_of_their_own_process(dtype):
    watcher = Watcher()
    number = np.int64(xla_observer.number_of(watcher))
    x = np.arange(30).reshape(2, 5, 3).astype(dtype)
    observe(x, DT, number, np.int64(xla_observer.PROCESS + 1))
    assert not watcher.seen
    for _ in range(2):  # once it has approved of five steps, it sees none again
        observe(x, DT, number, np.int64(xla_observer.PROCESS))
    ((seen, dt),) = watcher.seen
    np.testing.assert_array_equal(seen, x)
    assert (seen.dtype, dt) == (dtype, DT)


@pytest.mark.xla_calls
@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("seen"), UserWarning("seen")])
def test_exceptions_of_observers_are_errors_of_xla(error, capsys):
    watcher = Watcher(error)
    number = np.int64(xla_observer.number_of(watcher))
    message = "seen" if error.args else "KeyboardInterrupt"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        observe(SEQUENCE, DT, number, np.int64(xla_observer.PROCESS))
    assert ("Traceback" in capsys.readouterr().err) == (not isinstance(error, Warning))
    observe(SEQUENCE, DT, number, np.int64(xla_observer.PROCESS))  # not shown any more
    assert len(watcher.seen) == 1
