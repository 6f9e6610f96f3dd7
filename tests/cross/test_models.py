"""Tests of whole models: nested, shared, several inputs and outputs, random, keras.applications."""

from __future__ import annotations

import importlib
import zipfile
from pathlib import Path

import keras
import layerwise
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kspike_ref
import kspike_tf

L = keras.layers
ops = keras.ops


def _save_and_load(model, folder):
    model.save(folder / "m.keras")
    return kspike_ref.load_model(folder / "m.keras")


def _random_weights(model, seed=0):
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        value = rng.normal(0, 0.5, weight.shape)
        weight.assign(np.abs(value) + 0.1 if "variance" in weight.path else value)


def _normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _agree(ours, theirs, tolerance=1e-5):
    """Allow 1e-5 of the largest: float32 sums of a few hundred terms differ by about 1e-6."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()


def test_nested_models_have_names_of_both(tmp_path):
    innermost = keras.Sequential([L.Input((4,)), L.Dense(4, "tanh", name="d")], name="innermost")
    inner_in = L.Input((4,))
    inner = keras.Model(inner_in, L.Add()([innermost(inner_in), inner_in]), name="inner")
    x = L.Input((4,))
    model = keras.Model(x, L.Dense(2, name="d")(inner(inner(x))))
    _random_weights(model)
    loaded = _save_and_load(model, tmp_path)
    assert [n.name for n in loaded.nodes].count("inner/innermost/d") == 2
    assert [n.node_index for n in loaded.nodes if n.name == "inner/innermost/d"] == [0, 1]
    assert "inner/innermost/d:1" in loaded.activity(_normal(3, 4))
    _agree(loaded.predict(_normal(3, 4)), model(_normal(3, 4)))


def test_given_voltages_are_put_on_the_grid(tmp_path):
    """A quarter of a grid step below 0 rounds to 0, so the first spike comes in the first step."""
    rates, voltage = L.Input((None, 1), name="rates"), L.Input((1,), name="voltage")
    layer = kspike_tf.SpikingActivation("linear", dt=0.25, return_state=True)
    model = keras.Model([rates, voltage], layer(rates, initial_state=voltage))
    x = [np.full((1, 3, 1), 4, np.float32), np.full((1, 1), -(2.0**-34), np.float32)]
    theirs, ours = model(x), _save_and_load(model, tmp_path).predict(x)
    np.testing.assert_array_equal(ours[0], np.full((1, 3, 1), 4))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_voltages_of_a_model_beyond_the_grid_are_refused(tmp_path):
    """In Keras, a graph cannot raise for a value: float64 rounds, and 1e300 ends in infinities."""
    rates, voltage = L.Input((None, 1)), L.Input((1,), dtype="float64")
    layer = kspike_tf.SpikingActivation("linear", dt=0.25, name="layer")
    cell = kspike_tf.SpikingActivationCell((1,), "linear", dt=0.25)
    cells = L.StackedRNNCells([cell, L.SimpleRNNCell(2)], dtype="float64")
    pair = [voltage, L.Concatenate()([voltage * 0.0, voltage * 0.0])]
    outputs = [
        layer(rates, initial_state=voltage),
        L.RNN(cells, dtype="float64", name="cells")(rates, initial_state=pair),
    ]
    x = np.full((2, 3, 1), 4, np.float32)
    for output, name in zip(outputs, ("layer", "cells"), strict=True):
        loaded = _save_and_load(keras.Model([rates, voltage], output), tmp_path)
        for largest in (2.0**20, -1e300, np.inf):
            given = np.array([[0.5], [largest]])
            with pytest.raises(ValueError, match=rf"'{name}' must be below 2\*\*20 spikes"):
                loaded.predict([x, given])
        loaded.predict([x, np.array([[0.5], [1 - 2.0**20]])])
        loaded.predict([x, np.array([[0.5], [np.nan]])])  # as left by a NaN rate


def test_voltages_beyond_the_grid_are_rounded_in_keras():
    """As the README of kspike_tf says: whole spikes, or infinity beyond the range of the type."""
    layer = kspike_tf.SpikingActivation("linear", dt=0.25)
    x = np.zeros((3, 2, 1), np.float32)
    spikes = np.asarray(layer(x, initial_state=np.array([[2.0**20 + 0.5], [2.0**60], [1e290]])))
    assert spikes[:, 0, 0].tolist() == [2.0**22, 2.0**62, np.inf]
    np.testing.assert_array_equal(spikes[:, 1], 0)


def test_a_layer_shared_between_models(tmp_path):
    shared = L.Dense(4, "relu")
    inner_in = L.Input((4,))
    inner = keras.Model(inner_in, shared(inner_in))
    x, y = L.Input((4,), name="x"), L.Input((4,), name="y")
    model = keras.Model([x, y], L.Concatenate()([shared(x), inner(y), shared(y)]))
    _random_weights(model)
    loaded = _save_and_load(model, tmp_path)
    assert sum(layer.class_name == "Dense" for layer in loaded.layers) == 1
    a, b = _normal(3, 4), _normal(3, 4, seed=1)
    _agree(loaded.predict([a, b]), model([a, b]))


def test_inputs_and_outputs_by_name(tmp_path):
    x, y = L.Input((4,), name="x"), L.Input((3,), name="y")
    outputs = {"sum": L.Add()([L.Dense(2)(x), L.Dense(2)(y)]), "pair": [L.Dense(1)(x), x * 2.0]}
    model = keras.Model({"x": x, "y": y}, outputs)
    _random_weights(model)
    loaded = _save_and_load(model, tmp_path)
    given_ = {"y": _normal(5, 3), "x": _normal(5, 4)}
    ours, theirs = loaded.predict(given_), model(given_)
    assert set(ours) == {"sum", "pair"}
    _agree(ours["sum"], theirs["sum"])
    _agree(ours["pair"][0], theirs["pair"][0])
    _agree(ours["pair"][1], theirs["pair"][1])
    _agree(loaded.predict([given_["x"], given_["y"]])["sum"], theirs["sum"])


def test_two_layers_with_one_class_are_not_mixed_up(tmp_path):
    x = L.Input((3,))
    y = x
    for i in range(12):  # enough for names like dense_10, which sort before dense_2
        y = L.Dense(3, name=f"layer{11 - i}")(y)
    model = keras.Model(x, y)
    _random_weights(model)
    _agree(_save_and_load(model, tmp_path).predict(_normal(4, 3)), model(_normal(4, 3)))


def test_encoder_and_decoder(tmp_path):
    x, y = L.Input((6, 3)), L.Input((5, 2))
    _, *states = L.LSTM(4, return_state=True)(x)
    decoded = L.LSTM(4, return_sequences=True)(y, initial_state=states)
    model = keras.Model([x, y], [decoded, *states])
    _random_weights(model)
    loaded = _save_and_load(model, tmp_path)
    given_ = [_normal(3, 6, 3), _normal(3, 5, 2)]
    for ours, theirs in zip(loaded.predict(given_), model(given_), strict=True):
        _agree(ours, theirs)
    with pytest.raises(ValueError, match="time axes of several lengths"):
        loaded.initial_state(3)


def test_bidirectional_states(tmp_path):
    x = L.Input((6, 3))
    layer = L.Bidirectional(L.LSTM(4, return_sequences=True, return_state=True))
    model = keras.Model(x, layer(x))
    _random_weights(model)
    loaded = _save_and_load(model, tmp_path)
    for ours, theirs in zip(loaded.predict(_normal(3, 6, 3)), model(_normal(3, 6, 3)), strict=True):
        _agree(ours, theirs)
    with pytest.raises(ValueError, match="mixes time steps"):
        loaded.initial_state(3)


def test_a_model_at_every_time_step(tmp_path):
    inner_in = L.Input((6, 5, 2))
    inner = keras.Model(inner_in, L.Flatten()(L.Conv2D(3, 3, activation="relu")(inner_in)))
    model = keras.Sequential([L.Input((7, 6, 5, 2)), L.TimeDistributed(inner), L.Dense(4)])
    _random_weights(model)
    loaded = _save_and_load(model, tmp_path)
    x = _normal(3, 7, 6, 5, 2)
    whole = loaded.predict(x)
    _agree(whole, model(x))
    state = loaded.initial_state(3)
    for t in range(7):
        y, state = loaded.step(x[:, t], state)
        np.testing.assert_array_equal(y, whole[:, t])


def test_embedding(tmp_path):
    model = keras.Sequential([L.Input((5,)), L.Embedding(7, 3), L.GlobalAveragePooling1D()])
    loaded = _save_and_load(model, tmp_path)
    x = np.array([[0, 6, 1, 2, 3], [4, 4, 4, 4, 4]])
    _agree(loaded.predict(x), model(x))
    with pytest.raises(ValueError, match="integers from 0 to 6"):
        loaded.predict(x + 1)


def test_float64(tmp_path):
    keras.config.set_dtype_policy("float64")
    try:
        model = keras.Sequential([L.Input((6, 4)), L.Dense(9, "tanh"), L.GRU(5), L.Dense(3)])
    finally:
        keras.config.set_dtype_policy("float32")
    loaded = _save_and_load(model, tmp_path)
    x = np.random.default_rng(0).normal(size=(3, 6, 4))
    assert loaded.predict(x).dtype == np.float64
    _agree(loaded.predict(x), model(x), tolerance=1e-13)  # about 50 roundings of 1e-16


def test_compiled_models_and_folders(tmp_path):
    model = keras.Sequential([L.Input((4,)), L.Dense(3), L.BatchNormalization()])
    model.compile("adam", "mse")
    model.fit(_normal(8, 4), _normal(8, 3), verbose=0)
    loaded = _save_and_load(model, tmp_path)
    _agree(loaded.predict(_normal(5, 4)), model(_normal(5, 4)))
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        archive.extractall(tmp_path / "folder")
    unzipped = kspike_ref.load_model(tmp_path / "folder")
    np.testing.assert_array_equal(unzipped.predict(_normal(5, 4)), loaded.predict(_normal(5, 4)))


def test_all_unsupported_layers_are_listed(tmp_path):
    x = L.Input((6, 4), name="x")
    tones = L.MelSpectrogram(fft_length=4, num_mel_bins=4, name="tones")
    y = L.Lambda(lambda t: t + 1, name="mine")(tones(x))
    y = L.Dense(3, activation=lambda t: t * 2, name="odd")(y)
    model = keras.Model(x, L.Dropout(0.1)(y, training=True))
    model.save(tmp_path / "m.keras")
    with pytest.raises(kspike_ref.UnsupportedLayerError) as error:
        kspike_ref.load_model(tmp_path / "m.keras")
    text = str(error.value)
    assert all(name in text for name in ("mine: Lambda", "tones: MelSpectrogram"))
    assert "odd" in text
    assert len(error.value.layers) == 3


def test_dropout_that_stays_on(tmp_path):
    x = L.Input((4,))
    keras.Model(x, L.Dropout(0.1, name="on")(x, training=True)).save(tmp_path / "m.keras")
    with pytest.raises(kspike_ref.UnsupportedLayerError, match="on: called with training=True"):
        kspike_ref.load_model(tmp_path / "m.keras")


# Random Functional graphs: each step picks earlier tensors and a way to combine them.
_UNARY = [
    lambda: L.Dense(5, "relu"), lambda: L.Dense(3, "tanh"), lambda: L.LayerNormalization(),
    lambda: L.Conv1D(4, 2, padding="same", activation="elu"), lambda: L.Dropout(0.5),
    lambda: L.MaxPooling1D(2, 1, "same"), lambda: L.SimpleRNN(4, return_sequences=True),
    lambda: L.TimeDistributed(L.Dense(4)), lambda: L.BatchNormalization(),
    lambda: L.Conv1D(3, 3, padding="causal"),
    lambda: (lambda x: x * 0.5 - 1.0), lambda: (lambda x: x[:, :, :2]),
    lambda: (lambda x: ops.mean(x, axis=-1, keepdims=True)),
    lambda: L.GRU(3, return_sequences=True),
]  # fmt: skip
_BINARY = [
    lambda: L.Concatenate(), lambda: (lambda xs: ops.concatenate(xs, axis=-1)),
    lambda: (lambda xs: ops.mean(xs[0], axis=-1, keepdims=True) * xs[1]),
    lambda: (lambda xs: L.Add()([L.Dense(4)(xs[0]), L.Dense(4)(xs[1])])),
    lambda: (lambda xs: L.Multiply()([L.Dense(2)(xs[0]), L.Dense(1)(xs[1])])),
    lambda: (lambda xs: L.Dense(3)(xs[0]) / (1.0 + ops.square(L.Dense(3)(xs[1])))),
]  # fmt: skip


@st.composite
def _plans(draw):
    size = draw(st.integers(2, 7))
    kinds = len(_UNARY) + len(_BINARY)
    return [
        (
            draw(st.integers(0, kinds - 1)),
            draw(st.integers(0, 20)),
            draw(st.integers(0, 20)),
        )
        for _ in range(size)
    ], draw(st.booleans())


def _graph(plan, share):
    inputs = [L.Input((6, 3)), L.Input((6, 2))]
    tensors = list(inputs)
    shared = L.Dense(3, "tanh")
    for kind, first, second in plan:
        a, b = tensors[first % len(tensors)], tensors[second % len(tensors)]
        if kind < len(_UNARY):
            tensors.append(_UNARY[kind]()(a))
        else:
            tensors.append(_BINARY[kind - len(_UNARY)]()([a, b]))
    if share:
        wide = [L.Dense(4)(t) for t in tensors[-2:]]
        tensors += [shared(t) for t in wide]
    return keras.Model(inputs, [L.Concatenate()([*inputs, *tensors[-2:]]), tensors[-1]])


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(_plans())
def test_random_graphs(tmp_path, plan):
    steps, share = plan
    model = _graph(steps, share)
    _random_weights(model)
    x = [_normal(3, 6, 3), _normal(3, 6, 2, seed=1)]
    loaded = layerwise.compare(model, tmp_path / "m.keras", x)
    for ours, theirs in zip(loaded.predict(x), model(x, training=False), strict=True):
        _agree(ours, theirs, tolerance=3e-5)  # ten layers deep, each adds up to 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50", "EfficientNetB0", "ConvNeXtTiny"])
def test_applications(name, tmp_path):
    options = {"weights": None, "input_shape": (64, 64, 3), "classes": 10}
    model = getattr(keras.applications, name)(**options)
    rng = np.random.default_rng(0)
    for weight in model.weights:  # statistics and scales as after training, not as initialised
        if "variance" in weight.path or weight.path.endswith("gamma"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif weight.path.endswith(("beta", "bias", "mean")):
            weight.assign(rng.normal(0, 0.1, weight.shape))
    x = rng.uniform(0, 255, (8, 64, 64, 3)).astype(np.float32)
    model.save(tmp_path / "m.keras")
    model = keras.saving.load_model(tmp_path / "m.keras")  # lets normalisation pick up the mean
    loaded = layerwise.compare(model, tmp_path / "m.keras", x)
    # End to end, errors of more than a hundred layers add up: 7e-7 of the largest was seen.
    ours, theirs = loaded.predict(x), np.asarray(model(x))
    _agree(ours, theirs)
    np.testing.assert_array_equal(ours.argmax(-1), theirs.argmax(-1))


def _demo():
    """Return the demo's model, its encoding of pixels in Hz, and dt."""
    demo = importlib.import_module("digits")
    return demo.build_model(), lambda images: images.reshape(-1, 64) * demo.MAX_RATE, demo.DT


def _convolutional():
    options = {"dt": 0.01, "spiking_aware_training": False}
    layers = [
        L.Input((None, 8, 8, 1)),
        L.TimeDistributed(L.Conv2D(8, 3)),
        kspike_tf.SpikingActivation("relu", seed=0, **options),
        L.TimeDistributed(L.Conv2D(16, 3, strides=2)),
        kspike_tf.SpikingActivation("relu", seed=1, name="spikes", **options),
        L.TimeDistributed(L.Flatten()),
        kspike_tf.Lowpass(0.1, dt=0.01, return_sequences=False),
        L.Dense(10),
    ]
    return keras.Sequential(layers), lambda images: images.reshape(-1, 8, 8, 1), 0.01


@pytest.mark.parametrize("make", [_demo, _convolutional])
def test_classifiers_of_digits(make, tmp_path, report_flips, monkeypatch):
    datasets = pytest.importorskip("sklearn.datasets")
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "examples")
    images, labels = datasets.load_digits(return_X_y=True)
    model, prepared, dt = make()
    x = prepared((images / 16).astype(np.float32))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit(x[:1200, None], labels[:1200], epochs=2, verbose=0, batch_size=64)
    loaded = _save_and_load(model, tmp_path)
    tiled = np.broadcast_to(x[:, None], (len(x), 20, *x.shape[1:]))
    both = keras.Model(model.inputs, [model.outputs[0], model.get_layer("spikes").output])
    theirs, spikes = both.predict(np.ascontiguousarray(tiled), verbose=0, batch_size=200)
    ours = loaded.predict(x, timesteps=20)
    assert np.mean(ours.argmax(-1) == theirs.argmax(-1)) >= 0.999
    # The rates differ by a relative 1e-6, so about one spike in 10⁵ comes a step late.
    acts = loaded.activity(x, timesteps=20, layers=["spikes"])
    assert report_flips(acts["spikes"], spikes, dt) < 1e-4
    assert np.count_nonzero(spikes) > 1000
    np.testing.assert_array_equal(loaded.predict(tiled), ours)
    events = [run.events for run in loaded.last_run.values()]
    assert events[0] is None  # images are not counted
    assert events[-1] is None  # nor are the outputs of a filter
    assert all(count > 0 for count in events[1:-1])
