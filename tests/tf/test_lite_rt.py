"""Tests that LiteRT files of our layers give the same outputs with LiteRT's own operations alone.

TensorFlow's interpreter, which runs them here, supports no others: it has no Flex delegate.
"""

import importlib.util
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.layers import RNN, Conv2D, Dense, Flatten, Masking

import kspike_tf
from kspike_tf import Alpha, Lowpass, SpikingActivation, TimeFolded
from kspike_tf.scan import spikes as scan_spikes
from kspike_tf.tracing import exporter, plain_operations


def random_rates(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 300, shape).astype(np.float32)


def in_the_order_made(tensor):
    return len(tensor["name"]), tensor["name"]  # ..._keras_tensor, ..._keras_tensor_1, and so on


def run(content, *inputs):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(?s).*tf.lite.Interpreter is deprecated")
        interpreter = tf.lite.Interpreter(model_content=content)
    details = sorted(interpreter.get_input_details(), key=in_the_order_made)
    for each, value in zip(details, inputs, strict=True):
        interpreter.resize_tensor_input(each["index"], value.shape)
    interpreter.allocate_tensors()
    for each, value in zip(details, inputs, strict=True):
        interpreter.set_tensor(each["index"], value)
    interpreter.invoke()
    outputs = sorted(interpreter.get_output_details(), key=lambda each: each["name"])
    return [interpreter.get_tensor(each["index"]) for each in outputs]


KERAS_EXPORTS = importlib.util.find_spec("keras.src.export.litert") is not None  # not in Keras 3.8


def converted(model, folder, converter="keras"):
    if converter == "tf.lite" or not KERAS_EXPORTS:
        return tf.lite.TFLiteConverter.from_keras_model(model).convert()
    model.export(folder / "model.tflite", format="litert", verbose=False)
    return (folder / "model.tflite").read_bytes()


def sequential(shape, *layers):
    return keras.Sequential([keras.Input(shape), *layers])


SPIKING = {
    "relu": lambda: sequential((None, 6), SpikingActivation("relu", seed=0)),
    "linear": lambda: sequential((None, 6), SpikingActivation("linear", seed=1, dt=0.0123)),
    "fixed": lambda: sequential((20, 6), SpikingActivation("relu", seed=0)),
    "layer": lambda: sequential((None, 6), SpikingActivation(keras.layers.LeakyReLU(), seed=0)),
    "time major": lambda: sequential((None, 6), SpikingActivation("relu", seed=0, time_major=True)),
    "mask": lambda: sequential((None, 6), Masking(), SpikingActivation("relu", seed=0)),
    "half": lambda: sequential((None, 6), SpikingActivation("relu", seed=0, dtype="mixed_float16")),
}


@pytest.mark.parametrize(
    ("name", "converter"), [*[(each, "keras") for each in SPIKING], ("relu", "tf.lite")]
)
def test_spikes_are_the_same(name, converter, tmp_path):
    model = SPIKING[name]()
    x = random_rates(3, 20, 6)
    x[0, 5:9], x[1, :3], x[2, 10:] = 0, 0, 0
    expected = model.predict(x, verbose=0)
    assert np.count_nonzero(expected) > 20
    content = converted(model, tmp_path, converter)
    assert b"Flex" not in content
    np.testing.assert_array_equal(run(content, x)[0], expected)


def test_batch_and_time_stay_open(tmp_path):
    model = sequential((None, 2, 3), SpikingActivation("linear", seed=0), Lowpass(0.02))
    content = converted(model, tmp_path)
    for batch, time in [(1, 1), (2, 3), (5, 129)]:
        x = random_rates(batch, time, 2, 3)
        np.testing.assert_allclose(run(content, x)[0], model(x), rtol=1e-6, atol=1e-4)


def of_spikes(dt, units):
    """Return a LiteRT file that maps rates and voltages to spikes and voltages."""
    specs = [tf.TensorSpec([None, None, units]), tf.TensorSpec([None, units], tf.float64)]
    with plain_operations("LiteRT"):
        traced = tf.function(
            lambda x, voltage: scan_spikes(x, voltage, dt), input_signature=specs, autograph=False
        ).get_concrete_function()
    assert exporter() is None
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], tf.Module())
    return converter.convert()


@pytest.mark.parametrize("dt", [0.001, 0.5, 2.0**-10, 3e-5])
def test_hard_cases_are_rounded_as_in_kernels(dt):
    dt = np.float64(np.float32(dt))
    rng = np.random.default_rng(0)
    shape = 4, 60, 50
    small = rng.integers(-(2**23), 2**23, shape) * 2.0 ** rng.integers(-60, -3, shape)
    halves = rng.integers(-2000, 2000, shape) / 2  # of ticks, or of spikes
    ticks = rng.integers(-2000, 2000, shape) / 2 / (dt * 2**32)
    large = rng.normal(0, 1e5, shape)
    voltage = rng.integers(0, 2**32, (4, 50)) / 2**32
    voltage[0, :4] = 0, 2.0**-32, 1 - 2.0**-32, 3.25
    content = of_spikes(dt, 50)
    for rates in (small, halves, ticks, large, np.zeros(shape)):
        x = rates.astype(np.float32)
        for mine, theirs in zip(
            run(content, x, voltage), scan_spikes(tf.constant(x), voltage, dt), strict=True
        ):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("tau", [1e-8, 0.003, 2.0])
@pytest.mark.parametrize("kind", [Lowpass, Alpha])
def test_filters_in_float32(kind, tau, tmp_path):
    layer = kind(tau, level_initializer="ones")
    model = sequential((None, 6), layer)
    x = random_rates(2, 700, 6) + 300
    found, expected = run(converted(model, tmp_path), x)[0], model.predict(x, verbose=0)
    # A tree of sums, ten deep, of products with exponentials that are good to an ulp or two.
    assert np.abs(found - expected).max() < 2e-6 * np.abs(expected).max()


@pytest.mark.parametrize("kind", [Lowpass, Alpha])
def test_filters_with_masks(kind, tmp_path):
    model = sequential((None, 4), Masking(), kind(0.02, dt=0.01, level_initializer="ones"))
    x = random_rates(3, 9, 4)
    x[0, 5:], x[1, :3], x[2] = 0, 0, 0  # padding at the end, at the start, everywhere
    np.testing.assert_allclose(
        run(converted(model, tmp_path), x)[0], model(x), rtol=1e-6, atol=1e-4
    )


def test_states_go_in_and_out(tmp_path):
    rates = keras.Input((None, 6))
    states = [keras.Input(shape, dtype="float64") for shape in [(6,), (6,), (2, 6)]]
    spikes, voltage = SpikingActivation("relu", return_state=True)(rates, initial_state=states[0])
    low, level = Lowpass(0.02, return_state=True)(spikes, initial_state=states[1])
    out, end = Alpha(0.02, return_state=True)(low, initial_state=states[2])
    model = keras.Model([rates, *states], [spikes, out, voltage, level, end])
    content = converted(model, tmp_path)
    x = random_rates(2, 40, 6)
    rng = np.random.default_rng(0)
    start = [rng.integers(0, 2**32, (2, 6)) / 2**32, rng.random((2, 6)), rng.random((2, 2, 6))]
    spikes, out, *ends = (np.asarray(each) for each in model([x, *start]))
    parts, state = [], start
    for part in (x[:, :15], x[:, 15:]):
        *outputs, voltage, level, end = run(content, part, *state)
        parts.append(outputs)
        state = [voltage, level, end]
    np.testing.assert_array_equal(np.concatenate([part[0] for part in parts], 1), spikes)
    found = np.concatenate([part[1] for part in parts], 1)
    np.testing.assert_allclose(found, out, rtol=1e-6, atol=1e-4)
    np.testing.assert_array_equal(state[0], ends[0])
    for mine, theirs in zip(state, ends, strict=True):
        assert mine.dtype == theirs.dtype == np.float64
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-4)


def test_without_a_seed_voltages_are_fresh(tmp_path):
    model = sequential((None, 500), SpikingActivation("relu"))
    keras.utils.set_random_seed(0)  # must not seed the file
    content = converted(model, tmp_path)
    x = np.full((2, 1, 500), 300.0, np.float32)
    first, second = run(content, x)[0], run(content, x)[0]
    # 1,000 neurons spike with probability 0.3: six standard deviations are 87
    assert abs(np.count_nonzero(first) - 300) < 87
    assert (first != second).any()
    assert (first[0] != first[1]).any()


@pytest.mark.parametrize("activation", ["softplus", "log_sigmoid"])
def test_large_rates_of_activations_that_lite_rt_overflows(activation, tmp_path):
    model = sequential((None, 6), SpikingActivation(activation, seed=0), Lowpass(0.1))
    x = random_rates(2, 20, 6) * 10
    x[:, 10:] /= 1000
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(run(converted(model, tmp_path), x)[0], expected, rtol=2e-6)


def test_rates_that_are_no_numbers_stay_so(tmp_path):
    model = sequential((None, 6), SpikingActivation("linear", seed=0))
    x = random_rates(2, 20, 6)
    x[0, 4, 1] = x[1, 19, 2] = np.nan
    np.testing.assert_array_equal(run(converted(model, tmp_path), x)[0], model(x))


def test_a_model_of_many_layers(tmp_path):
    model = sequential(
        (None, 6, 6, 2),
        TimeFolded(Conv2D(3, 3)),
        SpikingActivation("relu", seed=0),
        Lowpass(0.02),
        TimeFolded(Flatten()),
        Dense(5),
        Alpha(0.1, return_sequences=False),
    )
    x = random_rates(2, 30, 6, 6, 2)
    expected = model.predict(x, verbose=0)
    found = run(converted(model, tmp_path), x)[0]
    # Another order of sums: a spike may move by a step, which is little after both filters.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-2 * np.abs(expected).max())


@pytest.mark.parametrize("make_variable", [tf.Variable, keras.Variable])
def test_dt_is_that_of_the_export(make_variable, tmp_path):
    dt = make_variable(0.001)
    model = sequential((None, 3), SpikingActivation("relu", dt=dt, seed=0), Lowpass(0.5, dt=dt))
    dt.assign(0.25)
    x = np.full((1, 40, 3), 2, np.float32)
    expected = model.predict(x, verbose=0)
    assert expected.max() > 2
    np.testing.assert_allclose(run(converted(model, tmp_path), x)[0], expected, rtol=2e-6)


def with_a_mask_and_states():
    inputs = keras.Input((None, 6))
    layer = Lowpass(0.1, return_state=True, name="low")
    return keras.Model(inputs, layer(Masking()(inputs)))


def a_stateful_model():
    inputs = keras.Input(batch_shape=(2, 5, 6))
    return keras.Model(inputs, Lowpass(0.1, stateful=True, name="low")(inputs))


def a_precise_model():
    return sequential((None, 6), Lowpass(0.1, dtype="float64", name="low"))


def a_cell():
    return sequential((None, 6), RNN(kspike_tf.AlphaCell(6, 0.1, name="cell")))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (a_stateful_model, "keep the states of layer 'low' with stateful=True: give it initial_st"),
        (a_precise_model, "float64: make layer 'low' with dtype='float32'.*dtype='float64'"),
        (with_a_mask_and_states, "states of layer 'low' after a mask: make it with return_state=F"),
        (a_cell, "float64, which cell 'cell' needs: use the layer kspike_tf.Alpha in place"),
    ],
)
def test_what_lite_rt_cannot_do_is_refused(make, message, tmp_path):
    model = make()
    if KERAS_EXPORTS:
        refused = pytest.raises(ValueError, match=message)
        with pytest.warns(UserWarning, match=message), refused as error:
            converted(model, tmp_path)
        offers_onnx = "or export to ONNX with kspike_tf.export.to_onnx" in str(error.value)
        assert offers_onnx == (make is not a_stateful_model)  # ONNX keeps no states either
    # tf.lite raises its own error (in TensorFlow 2.18, that of a second attempt), so the
    # warning has to say it.
    refused = pytest.raises((AttributeError, TypeError, ValueError))
    with pytest.warns(UserWarning, match=message), refused:
        converted(model, tmp_path, "tf.lite")


def test_other_runtimes_have_no_operations_of_their_own():
    with (
        pytest.raises(ValueError, match=r"must be None or 'LiteRT'. Received: runtime='TensorRT'"),
        plain_operations("TensorRT"),
    ):
        pass
