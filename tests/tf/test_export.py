"""Tests that SavedModel and ONNX exports give the same outputs as Keras."""

import subprocess
import sys

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import kspike_tf
from kspike_tf import tracing
from kspike_tf.export import to_onnx
from kspike_tf.scan.cpu import xla_handler
from kspike_tf.tracing import is_plain, plain_operations


def random_rates(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 300, shape).astype(np.float32)


def run_onnx(proto, *inputs):
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    names = [each.name for each in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))


def network(steps=None):
    """Return a model whose spikes come straight from the input: no matrix product rounds them."""
    inputs = keras.Input((steps, 6), name="rates")
    spikes = kspike_tf.SpikingActivation("relu", seed=3, name="spikes")(inputs)
    low = kspike_tf.Lowpass(0.01, dt=0.0007, name="low")(spikes)
    alpha = kspike_tf.Alpha(0.02, name="alpha")(low)
    return keras.Model(inputs, [spikes, low, alpha])


@pytest.mark.parametrize("steps", [None, 50])
def test_onnx_gives_the_same_spikes(steps):
    model = network(steps)
    proto = to_onnx(model)
    for batch, time in [(3, 50), (1, steps or 7)]:
        x = random_rates(batch, time, 6)
        expected = [np.asarray(each) for each in model(x)]
        assert np.count_nonzero(expected[0]) > 0.1 * x.size / 10
        spikes, low, alpha = run_onnx(proto, x)
        np.testing.assert_array_equal(spikes, expected[0])
        # another implementation of exp: 1 ulp of float64, far below one of the float32 output
        np.testing.assert_allclose(low, expected[1], rtol=3e-7, atol=1e-6)
        np.testing.assert_allclose(alpha, expected[2], rtol=3e-7, atol=1e-6)


def test_onnx_names_and_file(tmp_path):
    proto = to_onnx(network(), tmp_path / "model.onnx", opset=17)
    loaded = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(loaded)
    assert loaded == proto
    assert [each.name for each in proto.graph.input] == ["rates"]
    assert [each.name for each in proto.graph.output] == ["spikes", "low", "alpha"]
    assert [each.version for each in proto.opset_import if each.domain == ""] == [17]


def test_onnx_of_several_inputs_in_a_dictionary():
    left, right = keras.Input((None, 2), name="left"), keras.Input((None, 2), name="right")
    spikes = kspike_tf.SpikingActivation("linear", seed=1)(left - right)
    model = keras.Model({"left": left, "right": right}, {"spikes": spikes, "input": left})
    proto = to_onnx(model)
    a, b = random_rates(2, 9, 2), random_rates(2, 9, 2, seed=1)
    assert [each.name for each in proto.graph.input] == ["left", "right"]
    assert [each.name for each in proto.graph.output] == ["input", "spikes"]
    copied, spikes = run_onnx(proto, a, b)
    np.testing.assert_array_equal(copied, a)
    np.testing.assert_array_equal(spikes, model({"left": a, "right": b})["spikes"])


@pytest.mark.parametrize("steps", [None, 5])
def test_onnx_of_convolutions_in_time(steps):
    model = keras.Sequential(
        [
            keras.Input((steps, 6, 6, 2)),
            keras.layers.TimeDistributed(keras.layers.Conv2D(3, 3)),
            kspike_tf.SpikingActivation("relu", seed=0),
            keras.layers.TimeDistributed(keras.layers.Flatten()),
            kspike_tf.Alpha(0.1, return_sequences=False),
        ]
    )
    x = random_rates(2, 5, 6, 6, 2)
    expected = np.asarray(model(x))
    assert np.abs(expected).max() > 0
    (y,) = run_onnx(to_onnx(model), x)
    np.testing.assert_allclose(y, expected, rtol=3e-7, atol=1e-6)  # see above
    layer = model.layers[0]
    assert layer.call.__func__ is keras.layers.TimeDistributed.call  # has not changed


def test_onnx_of_an_operation_between_reshapes():
    # left alone, tf2onnx's optimizers give it a wrong shape
    model = keras.Sequential(
        [
            keras.Input((None, 6)),
            keras.layers.TimeDistributed(keras.layers.ReLU()),
            kspike_tf.SpikingActivation(keras.layers.ReLU(), seed=0),
        ]
    )
    x = random_rates(3, 5, 6)
    np.testing.assert_array_equal(run_onnx(to_onnx(model), x)[0], model(x))


def test_onnx_of_a_subclassed_model():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.spiking = kspike_tf.SpikingActivation("relu", seed=0)

        def call(self, inputs):
            return self.spiking(inputs)

    model = Model()
    x = random_rates(2, 6, 3)
    expected = model(x)
    with pytest.raises(ValueError, match="input_signature must be given for a subclassed model"):
        to_onnx(model)
    proto = to_onnx(model, input_signature=tf.TensorSpec((None, None, 3)))
    np.testing.assert_array_equal(run_onnx(proto, x)[0], expected)
    assert [each.name for each in proto.graph.output] == ["output_0"]


def test_onnx_without_a_seed_draws_fresh_voltages():
    model = keras.Sequential([keras.Input((None, 500)), kspike_tf.SpikingActivation("relu")])
    session = onnxruntime.InferenceSession(to_onnx(model).SerializeToString())
    x = np.full((2, 1, 500), 300.0, np.float32)
    first, second = (session.run(None, {session.get_inputs()[0].name: x})[0] for _ in range(2))
    assert set(np.unique(first)) == {0.0, np.float32(1 / np.float32(0.001))}
    # 1,000 neurons spike with probability 0.3: six standard deviations are 87
    assert abs(np.count_nonzero(first) - 300) < 87
    assert (first != second).any()
    assert (first[0] != first[1]).any()


def test_onnx_without_a_seed_is_seeded_by_the_runtime():
    model = keras.Sequential([keras.Input((None, 500)), kspike_tf.SpikingActivation("relu")])
    keras.utils.set_random_seed(0)  # must not seed the file
    proto = to_onnx(model)
    x = np.full((2, 1, 500), 300.0, np.float32)
    found = []
    for seed in (1, 2, 1):
        onnxruntime.set_seed(seed)
        found.append(run_onnx(proto, x)[0])
    assert (found[0] != found[1]).any()
    np.testing.assert_array_equal(found[0], found[2])


def test_onnx_sessions_of_a_process_draw_the_same_voltages():
    # ONNX Runtime draws its own seed once per process, and no ONNX operation can do better. If this
    # test fails, one can: then update the docstring of to_onnx and the guide.
    model = keras.Sequential([keras.Input((None, 500)), kspike_tf.SpikingActivation("relu")])
    proto = to_onnx(model)
    x = np.full((2, 1, 500), 300.0, np.float32)
    np.testing.assert_array_equal(run_onnx(proto, x)[0], run_onnx(proto, x)[0])


@pytest.mark.parametrize("activation", ["gelu", "celu"])
def test_keras_exporter_knows_activations_that_tf2onnx_lacks(activation, tmp_path):
    model = keras.Sequential(
        [
            keras.Input((None, 6)),
            keras.layers.Dense(6, activation),
            kspike_tf.SpikingActivation(activation, spiking_aware_training=False, seed=0, dt=0.1),
            kspike_tf.Lowpass(0.1, dt=0.1),
        ]
    )
    x = random_rates(2, 9, 6) / 100
    expected = model.predict(x, verbose=0)
    model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    (found,) = run_onnx(onnx.load(tmp_path / "model.onnx"), x)
    # If another implementation rounds a float32 rate across the threshold, a spike may move by a
    # step: the filter takes up 1 − 1/e of its height of 10.
    assert np.abs(found - expected).max() <= 6.4
    assert np.median(np.abs(found - expected)) < 1e-5


@pytest.mark.parametrize("activation", ["gelu", "celu"])
def test_onnx_of_activations_that_tf2onnx_lacks(activation):
    model = keras.Sequential(
        [
            keras.Input((None, 6)),
            keras.layers.Activation(activation),
            kspike_tf.SpikingActivation(activation, seed=0, dt=0.1),
        ]
    )
    both = keras.Model(model.inputs, [layer.output for layer in model.layers])
    x = random_rates(2, 40, 6) / 100
    x[0, 0] = [-5, -1e-6, -1e-3, 0, 1e-6, 5]
    values, spikes = run_onnx(to_onnx(both), x)
    expected, expected_spikes = both(x)
    # Another float32 implementation: GELU is x/2 times 1 − erf, with an erf that is good to 2⁻²³,
    # and x is at most 9; CELU goes through float64.
    np.testing.assert_allclose(values, expected, rtol=3e-6, atol=6e-7)
    # A spike may move by a step if such a rate meets the threshold.
    total = np.abs(np.cumsum(spikes - expected_spikes, axis=1)).max()
    assert total <= 10.5


def test_onnx_keeps_the_current_dt():
    dt = tf.Variable(0.001)
    model = keras.Sequential(
        [keras.Input((None, 3)), kspike_tf.SpikingActivation("relu", dt=dt, seed=0)]
    )
    dt.assign(0.25)
    (spikes,) = run_onnx(to_onnx(model), np.full((1, 40, 3), 2, np.float32))
    assert set(np.unique(spikes)) == {0, 4}


@pytest.mark.parametrize("name", ["SpikingActivation", "Lowpass", "Alpha"])
def test_onnx_of_masks(name):
    argument = {"activation": "relu", "seed": 0} if name == "SpikingActivation" else {}
    layer = getattr(kspike_tf, name)(**argument or {"tau_initializer": 0.02}, dt=0.01)
    model = keras.Sequential([keras.Input((None, 4)), keras.layers.Masking(), layer])
    x = random_rates(3, 9, 4)
    x[0, 5:], x[1, :3], x[2] = 0, 0, 0  # padding at the end, at the start, everywhere
    proto = to_onnx(model)
    for batch in (slice(None), slice(1)):
        np.testing.assert_allclose(run_onnx(proto, x[batch])[0], model(x[batch]), rtol=3e-7)


def test_onnx_of_half_precision():
    model = keras.Sequential(
        [
            keras.Input((None, 4)),
            kspike_tf.SpikingActivation("relu", seed=0, dtype="mixed_float16"),
        ]
    )
    x = random_rates(2, 30, 4)
    (spikes,) = run_onnx(to_onnx(model), x)
    assert spikes.dtype == np.float16
    np.testing.assert_array_equal(spikes, model(x))


def test_bad_models_are_rejected(monkeypatch):
    with pytest.raises(TypeError, match=r"model must be a keras.Model. Received: model=3"):
        to_onnx(3)
    unbuilt = keras.Sequential([kspike_tf.Lowpass(0.1)], name="unbuilt")
    with pytest.raises(ValueError, match=r"model must be built .* Received: 'unbuilt'"):
        to_onnx(unbuilt)
    inputs = keras.Input((None, 3), batch_size=1)
    stateful = keras.Model(inputs, kspike_tf.Lowpass(0.1, stateful=True, name="low")(inputs))
    with pytest.raises(ValueError, match=r"cannot export a stateful layer.*Lowpass 'low'"):
        to_onnx(stateful)


@pytest.mark.parametrize("make", [kspike_tf.Lowpass, kspike_tf.Alpha, kspike_tf.SpikingActivation])
def test_the_exporter_of_keras_refuses_states_that_onnx_would_freeze(make, tmp_path):
    option = "relu" if make is kspike_tf.SpikingActivation else 0.1
    inputs = keras.Input((None, 3), batch_size=1)
    model = keras.Model(inputs, make(option, stateful=True, name="kept")(inputs))
    model(np.ones((1, 2, 3), np.float32))  # Keras exports models that were called
    with (
        pytest.warns(UserWarning, match="ONNX cannot keep the states"),
        pytest.raises(ValueError, match=r"ONNX cannot keep .*'kept'.*return_state=True"),
    ):
        model.export(tmp_path / "model.onnx", format="onnx", verbose=False)


def test_operations_that_onnx_lacks_are_named():
    class Odd(keras.layers.Layer):
        def call(self, inputs):
            return tf.math.igamma(inputs, inputs)

    with pytest.raises(ValueError, match="model has operations that ONNX lacks: Igamma"):
        to_onnx(keras.Sequential([keras.Input((None, 3)), Odd()]))


def test_tf2onnx_is_optional(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'kspike-tf\[onnx\]'"):
        to_onnx(network())


def test_plain_operations_end_with_the_block():
    def fail():
        with plain_operations():
            assert is_plain()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not is_plain()


SERVE = """
import sys
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
model = tf.saved_model.load(sys.argv[1])
outputs = model.serve(tf.constant(np.load(sys.argv[2])))
np.savez(sys.argv[3], *[np.asarray(each) for each in outputs])
assert "kspike_tf" not in sys.modules
"""


def test_saved_model_serves_without_kspike(tmp_path):
    model = network()
    x = random_rates(2, 20, 6)
    np.save(tmp_path / "x.npy", x)
    model.export(tmp_path / "saved", verbose=False)
    paths = [str(tmp_path / name) for name in ("saved", "x.npy", "y.npz")]
    subprocess.run([sys.executable, "-c", SERVE, *paths], check=True)
    with np.load(tmp_path / "y.npz") as outputs:
        spikes, *filtered = [outputs[name] for name in sorted(outputs)]
    expected_spikes, *expected = model(x)
    np.testing.assert_array_equal(spikes, expected_spikes)
    for mine, theirs in zip(filtered, expected, strict=True):
        # another process sums in another order: float64, rounded to float32 once
        np.testing.assert_allclose(mine, theirs, rtol=2.0**-23)


# Exporters of Keras and TensorFlow

OURS = {"PyFuncStateless", "StatelessIf", "XlaCallModule"}


def operations(folder):
    """Return the operations in all graphs of a SavedModel."""
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    graphs = [each.graph_def for each in saved.meta_graphs]
    functions = [each for graph in graphs for each in graph.library.function]
    nodes = [node for graph in graphs for node in graph.node]
    return {node.op for node in nodes + [n for each in functions for n in each.node_def]}


def stacked(shape=(6,), seed=0):
    return keras.Sequential(
        [
            keras.Input((None, *shape)),
            kspike_tf.SpikingActivation("softplus", seed=seed),
            kspike_tf.Lowpass(0.02),
            kspike_tf.Alpha(0.02),
        ]
    )


@pytest.mark.parametrize("shape", [(6,), (2, 3)])
def test_keras_exports_the_same_to_onnx(shape, tmp_path):
    model, x = stacked(shape), random_rates(2, 20, *shape)
    expected = model(x)
    model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    proto = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(proto)
    # other implementations of exp and log
    np.testing.assert_allclose(run_onnx(proto, x)[0], expected, rtol=3e-7, atol=1e-5)
    layer = kspike_tf.SpikingActivation("relu", seed=0)
    spiking = keras.Sequential([keras.Input((None, 6)), layer])
    x = random_rates(2, 20, 6)
    expected = spiking(x)
    spiking.export(tmp_path / "spikes.onnx", format="onnx", verbose=False)
    np.testing.assert_array_equal(run_onnx(onnx.load(tmp_path / "spikes.onnx"), x)[0], expected)


def test_keras_says_that_its_onnx_files_draw_the_same_voltages(tmp_path):
    model = stacked(seed=None)
    model(random_rates(2, 5, 6))
    with pytest.warns(UserWarning, match="every session draws the same initial voltages"):
        model.export(tmp_path / "model.onnx", format="onnx", verbose=False)


@pytest.mark.parametrize("way", ["export", "archive"])
def test_exported_graphs_hold_plain_operations(way, tmp_path):
    model = stacked()
    model.predict(random_rates(2, 5, 6), verbose=0)  # uses kernels before and after
    if way == "export":
        model.export(tmp_path, verbose=False)
    else:
        archive = keras.export.ExportArchive()
        archive.track(model)
        signature = [keras.InputSpec(shape=(None, None, 6), dtype="float32")]
        archive.add_endpoint("serve", lambda x: model(x, training=False), signature)
        archive.write_out(tmp_path, verbose=False)
    assert not operations(tmp_path) & OURS
    x = random_rates(2, 20, 6)
    loaded = tf.saved_model.load(tmp_path)
    np.testing.assert_allclose(loaded.serve(x), model(x), rtol=1e-6, atol=1e-6)


def test_graphs_of_unknown_exporters_work_with_kernels(tmp_path, monkeypatch):
    monkeypatch.setattr(tracing, "EXPORTERS", ("no.such.package",))
    model = stacked()
    model.export(tmp_path, verbose=False)
    assert operations(tmp_path) & OURS
    x = random_rates(2, 20, 6)
    loaded = tf.saved_model.load(tmp_path)
    np.testing.assert_allclose(loaded.serve(x), model(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("make_variable", [tf.Variable, keras.Variable])
def test_saved_model_of_a_variable_dt(tmp_path, make_variable):
    dt = make_variable(0.001)
    model = keras.Sequential(
        [keras.Input((None, 3)), kspike_tf.SpikingActivation("relu", dt=dt, seed=0)]
    )
    dt.assign(0.25)
    model.export(tmp_path, verbose=False)
    loaded = tf.saved_model.load(tmp_path)
    spikes = loaded.serve(tf.fill((1, 40, 3), 2.0))
    assert set(np.unique(spikes)) == {0, 4}


ELSEWHERE = """
import sys
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
{first}
loaded = tf.saved_model.load(sys.argv[1])
outputs = loaded.step(tf.constant(np.load(sys.argv[3])))
np.savez(sys.argv[2], *[np.asarray(each) for each in outputs])
{last}
"""
WITHOUT_US = """
assert not [name for name in sys.modules if name.startswith(("kspike", "llvmlite"))]
"""


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_training_step_that_ran_here_runs_in_another_process(tmp_path, jit_compile):
    model = keras.Sequential(
        [
            keras.Input((None, 3)),
            kspike_tf.SpikingActivation("relu", seed=0),
            kspike_tf.Lowpass(0.02),
            kspike_tf.Alpha(0.01),
        ]
    )
    module = tf.Module()
    module.model = model

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3])], jit_compile=jit_compile)
    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            spikes = model.layers[0](x)
            loss = tf.reduce_sum(tf.square(model.layers[2](model.layers[1](spikes))))
        return spikes, *tape.gradient(loss, [x, *[v.value for v in model.trainable_variables]])

    module.step = step
    x = random_rates(2, 20, 3)
    np.save(tmp_path / "x.npy", x)
    expected = step(x)
    tf.saved_model.save(module, tmp_path / "saved")
    paths = [str(tmp_path / name) for name in ("saved", "outputs.npz", "x.npy")]
    # XLA finds our kernels only if kspike_tf has been imported.
    code = ELSEWHERE.format(
        first="import kspike_tf" if jit_compile else "", last="" if jit_compile else WITHOUT_US
    )
    subprocess.run([sys.executable, "-c", code, *paths], check=True)
    if jit_compile and xla_handler.is_possible():  # otherwise it holds no kernel
        code = ELSEWHERE.format(first="", last="")
        failed = subprocess.run(
            [sys.executable, "-c", code, *paths], check=False, capture_output=True, text=True
        )
        assert failed.returncode
        assert "kspike_tf.scan" in failed.stderr
    with np.load(tmp_path / "outputs.npz") as outputs:
        there = [outputs[name] for name in outputs.files]
    loaded = tf.saved_model.load(tmp_path / "saved")
    for spikes, *gradients in (there, loaded.step(x)):
        np.testing.assert_array_equal(spikes, expected[0])
        for gradient, first in zip(gradients, expected[1:], strict=True):
            # There, float32 rounds between the filters, and between the systems of a filter.
            np.testing.assert_allclose(gradient, first, rtol=0, atol=1e-4 * np.abs(first).max())
