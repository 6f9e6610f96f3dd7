"""Tests of the warning about too few spikes in models that people have put together by hand."""

import gc
import os
import pathlib
import subprocess
import sys
import warnings
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

import kspike_tf
from kspike_tf import FewSpikesWarning, SpikingActivation
from kspike_tf.scan.cpu import xla_handler

X = np.ones((40, 20, 4), np.float32)
Y = np.zeros((40, 20, 8), np.float32)
WAYS = {
    "xla": {"jit_compile": True},
    "graph": {"jit_compile": False},
    "eager": {"run_eagerly": True},
}
needs_handler = pytest.mark.skipif(
    not xla_handler.is_possible(), reason="TensorFlow before 2.21 cannot call Python from XLA"
)
ways = pytest.mark.parametrize("way", [pytest.param("xla", marks=needs_handler), "graph", "eager"])


def model_of(rate, way="graph", **options):
    """Return a model whose hidden neurons have the same rate, in Hz, for inputs of 1."""
    options = {"activation": "relu", "seed": 0, "name": "hidden", **options}
    model = keras.Sequential(
        [
            keras.Input((None, 4)),
            keras.layers.Dense(8, kernel_initializer=keras.initializers.Constant(rate / 4)),
            SpikingActivation(**options),
        ]
    )
    model.compile("sgd", "mse", **WAYS[way])
    return model


def told(run):
    """Return the warnings about too few spikes in a function."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        run()
    return [each for each in found if each.category is FewSpikesWarning]


@ways
def test_predict_warns_once(way):
    model, same = model_of(20, way), model_of(20, way, activation=keras.activations.relu)
    (warning,) = told(lambda: model.predict(X, verbose=0))
    assert "layer 'hidden' has less than one expected spike" in str(warning.message)
    assert "0.4 in 20 steps of 0.001 s" in str(warning.message)
    assert "Show inputs for more steps" in str(warning.message)
    assert warning.filename == __file__  # not a line of Keras, nor of another thread
    assert not told(lambda: model.predict(X, verbose=0))
    assert not told(lambda: model.evaluate(X, Y, verbose=0))
    assert len(told(lambda: same.evaluate(X, Y, verbose=0))) == 1
    assert len(told(lambda: model_of(20, way).predict_on_batch(X))) == 1


@ways
def test_predict_looks_again_at_shorter_presentations(way):
    model = model_of(60, way)
    assert not told(lambda: model.predict(X, verbose=0))  # 1.2 spikes
    (warning,) = told(lambda: model.predict(X[:, :15], verbose=0))
    assert "0.9 in 15 steps" in str(warning.message)
    assert not told(lambda: model.predict(X[:, :5], verbose=0))


@ways
def test_fit_never_warns(way):
    model = model_of(20, way)
    assert not told(lambda: model.fit(X, Y, validation_data=(X, Y), verbose=0))
    model.layers[0].set_weights(model_of(20).layers[0].get_weights())
    assert len(told(lambda: model.predict(X, verbose=0))) == 1
    evaluated = model_of(60, way)
    assert not told(lambda: evaluated.evaluate(X, Y, verbose=0))
    short = X[:, :15], Y[:, :15]  # runs the function that `evaluate` has compiled
    assert not told(lambda: evaluated.fit(X, Y, validation_data=short, verbose=0))


@ways
def test_evaluate_after_fit_warns(way):
    """Keras compiles a function for the validation in `fit`, and takes it for `evaluate` too."""
    model = model_of(20, way)
    weights = model.get_weights()
    assert not told(lambda: model.fit(X, Y, validation_data=(X, Y), verbose=0))
    model.set_weights(weights)
    assert len(told(lambda: model.evaluate(X, Y, verbose=0))) == 1


@ways
def test_predict_in_a_callback_of_fit_warns(way):
    found = []

    class Predicts(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            found.append(told(lambda: self.model.predict(X, verbose=0)))

    model = model_of(20, way)
    model.fit(X, Y, verbose=0, callbacks=[Predicts()])
    assert [len(each) for each in found] == [1]


@ways
def test_outputs_stay_the_same(way):
    """The same bits as without the check, for more batches than it looks at."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewSpikesWarning)
        model, other = model_of(20, way), model_of(20, way)
        other.layers[1].check_steps = lambda steps: None  # a check of its own takes its place
        x = np.random.default_rng(0).uniform(0, 2, (70, 30, 4)).astype(np.float32)
        for _ in range(2):
            assert np.array_equal(model.predict(x, verbose=0), other.predict(x, verbose=0))
    assert np.any(model.predict(x, verbose=0))


@ways
def test_a_filter_makes_an_error_of_it(way):
    model = model_of(20, way)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FewSpikesWarning)
        with pytest.raises(
            (FewSpikesWarning, tf.errors.OpError), match="less than one expected spike"
        ):
            model.predict(X, verbose=0)
    assert model.predict(X, verbose=0).shape == Y.shape


def test_calls_of_a_model_warn_and_those_of_a_layer_do_not():
    model = model_of(20)
    assert not told(lambda: model.layers[1](model.layers[0](X)))
    assert not told(lambda: model(X, training=True))
    assert len(told(lambda: model(X))) == 1
    outer = keras.Sequential([keras.Input((None, 4)), model_of(20)])
    assert len(told(lambda: outer(X))) == 1


def test_tools_that_look_into_models_do_not_warn():
    model = model_of(20)
    assert not told(lambda: kspike_tf.rate_report(model, X))
    assert not told(lambda: kspike_tf.record(model, X))
    last = keras.Sequential([model, kspike_tf.Lowpass(0.01, return_sequences=False)])
    last.build((None, None, 4))
    assert not told(lambda: kspike_tf.sweep(last, X, np.zeros(40, int), timesteps=[5, 20]))
    assert not told(lambda: kspike_tf.ModelEnergy(model, example_data=X).summary())
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "relu")])
    options = {"calibration_data": X[:, 0], "timesteps": 5, "max_rate": 20.0}
    assert not told(lambda: kspike_tf.convert(plain, **options))  # its report says so


@pytest.mark.parametrize("option", ["stateful", "return_state"])
def test_a_presentation_that_may_go_on_does_not_warn(option):
    x = keras.Input((None, 4), batch_size=40)
    y = SpikingActivation("linear", **{option: True})(x)
    model = keras.Model(x, keras.tree.flatten(y)[0])
    assert not told(lambda: model.predict(X, batch_size=40, verbose=0))


@pytest.mark.parametrize(("steps", "count"), [(10, 1), (20, 0)])
def test_masked_steps_do_not_count(steps, count):
    model = keras.Sequential(
        [keras.Input((None, 4)), keras.layers.Masking(), SpikingActivation("tanh", dt=0.1)]
    )
    x = np.zeros((3, 30, 4), np.float32)
    x[:, :steps] = -1.0  # 0.76 spikes a second, negative ones
    assert len(told(lambda: model.predict(x, verbose=0))) == count


@ways
def test_rates_that_change_sign_do_not_cancel(way):
    x = X.copy()
    x[:, ::2] *= -1
    x[:, 0] *= 1.001
    fast, slow = (model_of(rate, way, activation="linear") for rate in (1500, 15))
    assert not told(lambda: fast.predict(x, verbose=0))
    (warning,) = told(lambda: slow.predict(x, verbose=0))
    assert "0.3 in 20 steps" in str(warning.message)


@ways
def test_the_check_keeps_no_data_alive(way):
    """Frames that a check has walked must not form cycles with the callers' variables."""
    model = model_of(60, way)

    class Data:
        pass

    def run():
        data = Data()
        model.predict(X, verbose=0)
        return weakref.ref(data)

    gc.disable()
    try:
        assert run()() is None
    finally:
        gc.enable()


def test_silent_neurons_do_not_count():
    weights = np.zeros((4, 8), np.float32)
    weights[:, 0] = 25  # one of eight neurons, at 100 Hz
    model = model_of(0)
    model.layers[0].set_weights([weights, np.zeros(8)])
    assert not told(lambda: model.predict(X, verbose=0))


@ways
def test_silent_data_do_not_end_the_check(way):
    model = model_of(20, way)
    assert not told(lambda: model.predict(np.zeros_like(X), verbose=0))
    assert len(told(lambda: model.predict(X, verbose=0))) == 1


@ways
def test_layers_warn_separately(way):
    x = keras.Input((None, 4))
    names = ("one", "two")
    model = keras.Model(x, [SpikingActivation("relu", dt=0.01, name=name)(x) for name in names])
    model.compile("sgd", "mse", **WAYS[way])
    found = told(lambda: model.predict(X, verbose=0))
    assert sorted(str(each.message).split("'")[1] for each in found) == ["one", "two"]


@ways
def test_copies_and_files_warn_by_themselves(way, tmp_path):
    model = model_of(20, way)
    assert told(lambda: model.predict(X, verbose=0))
    model.save(tmp_path / "model.keras")
    for other in (
        keras.models.load_model(tmp_path / "model.keras"),
        keras.models.clone_model(model),
    ):
        other.set_weights(model.get_weights())
        assert len(told(lambda other=other: other.predict(X, verbose=0))) == 1


@ways
def test_exports_contain_no_check(way, tmp_path):
    model = model_of(20, way)
    assert told(lambda: model.predict(X, verbose=0))
    model.export(tmp_path / "exported", verbose=False)
    tf.saved_model.save(model, tmp_path / "saved")
    for name in ("exported", "saved"):
        data = (tmp_path / name / "saved_model.pb").read_bytes()
        for operation in (b"kspike_tf.observe", b"XlaCallModule", b"numpy_function"):
            assert operation not in data
    loaded = tf.saved_model.load(tmp_path / "exported")
    assert np.array_equal(loaded.serve(X), model.predict(X, verbose=0))


class Nested(keras.Model):
    """A model whose call is a function, which TensorFlow saves as it was traced first."""

    def __init__(self):
        super().__init__()
        self.inner = model_of(20)

    @tf.function
    def call(self, x):
        return self.inner(x)


LOADED = """
import sys
import numpy as np, tensorflow as tf

expected = np.load(sys.argv[1])
loaded = tf.saved_model.load(sys.argv[2])
assert np.array_equal(loaded.serve(tf.ones((40, 20, 4))), expected)
print("done")
"""


def run_elsewhere(expected, path):
    """Load an exported model in a process without kspike, and compare its outputs."""
    np.save(path / "expected.npy", expected)
    done = subprocess.run(
        [sys.executable, "-c", LOADED, path / "expected.npy", path],
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    assert done.stdout == "done\n", done.stderr


def test_functions_inside_models_have_no_check_and_run_in_another_process(tmp_path):
    nested, model = Nested(), model_of(20)
    nested.compile(jit_compile=False)
    assert not told(lambda: nested.predict(X, verbose=0))
    nested.export(tmp_path / "nested", verbose=False)
    assert b"PyFunc" not in (tmp_path / "nested" / "saved_model.pb").read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewSpikesWarning)
        run_elsewhere(model.predict(X, verbose=0), tmp_path / "nested")


@ways
def test_distributed_predict_warns(way):
    if way == "eager":
        pytest.skip("strategies run graphs")
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model, trained = model_of(20, way), model_of(20, way)
    assert len(told(lambda: model.predict(X, verbose=0))) == 1
    assert not told(lambda: trained.fit(X, Y, validation_data=(X, Y), verbose=0))


SCRIPT = """
import threading
import keras, numpy as np, kspike_tf

def run():
    model = keras.Sequential([keras.Input((None, 4)), kspike_tf.SpikingActivation("relu")])
    model.compile(jit_compile={jit})
    for _ in range(3):
        model.predict(np.ones((40, 20, 4)), verbose=0)

threads = [threading.Thread(target=run) for _ in range(3)]
[each.start() for each in threads]
[each.join() for each in threads]
"""


@pytest.mark.parametrize(
    "jit",
    [pytest.param(True, marks=needs_handler), pytest.param(False, marks=pytest.mark.slow)],
)
def test_threads_do_not_wait_for_each_other(jit):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(jit=jit)],
        capture_output=True, text=True, timeout=300, env=environment, check=True,
        cwd=pathlib.Path(__file__).parent,
    )  # fmt: skip
    # One line of code and one text: once, unless threads warn at the same moment.
    assert 1 <= done.stderr.count("FewSpikesWarning: layer") <= 3
