"""Tests that sweeps over kspike_ref models give the same numbers as in Keras."""

import functools
import warnings

import keras
import numpy as np
import pytest

import kspike_ref
import kspike_tf
from kspike_tf.sweeping import variants

layers = keras.layers
X = np.random.default_rng(0).uniform(0, 1, (70, 6, 6, 2)).astype("float32")


@pytest.fixture(scope="module", params=["last", "mean", "sequence"])
def converted(request, tmp_path_factory):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(12, activation="relu"),
            layers.Dense(3, activation="softmax"),
        ]
    )
    y = model.predict(X, verbose=0).argmax(axis=1)
    spiking = kspike_tf.convert(model, calibration_data=X, readout=request.param).model
    path = tmp_path_factory.mktemp("models") / "spiking.keras"
    spiking.save(path)
    return spiking, path, y


def test_same_points(converted):
    spiking, path, y = converted
    options = {"timesteps": [3, 25], "dt": [0.001, 0.002], "scale": [1, 2]}
    expected = kspike_tf.sweep(spiking, X, y, **options)
    load = functools.partial(kspike_ref.load_model, path)
    found = kspike_tf.sweep(load, X, y, **options)
    for one, other in zip(found, expected, strict=True):
        assert (one.dt, one.scale, one.timesteps) == (other.dt, other.scale, other.timesteps)
        # Sums of a convolution differ in the last bits, so a few spikes come one step later.
        assert one.score == pytest.approx(other.score, abs=0.03)
        assert one.spikes == pytest.approx(other.spikes, rel=1e-3)
        assert one.energy == pytest.approx(other.energy, rel=1e-3)
    for point in found:
        model = kspike_ref.load_model(path, dt=point.dt, rate_scale=point.scale)
        scores = model.predict(X, timesteps=point.timesteps)
        scores = scores if scores.ndim == 2 else scores[:, -1]
        assert point.score == np.mean(scores.argmax(axis=1) == y)


def test_loaded_models(converted, tmp_path):
    _, path, y = converted
    model = kspike_ref.load_model(path)
    options = {"timesteps": [3, 25], "devices": "loihi"}
    first = kspike_tf.sweep(model, X, y, **options, resume=tmp_path / "points.jsonl")
    load = functools.partial(kspike_ref.load_model, path)
    assert kspike_tf.sweep(load, X, y, **options, resume=tmp_path / "points.jsonl") == first
    assert len((tmp_path / "points.jsonl").read_text().splitlines()) == 2
    message = r"cannot change dt or scale: pass functools\.partial\(.*dt=0\.002, scale=1\.0"
    with pytest.raises(ValueError, match=message):
        kspike_tf.sweep(model, X, y, timesteps=3, dt=0.002)


def test_wiring_is_part_of_a_fingerprint(tmp_path):
    """Two models have the same layers, but one subtracts in the other order."""

    def fingerprint(order):
        inputs = keras.Input((None, 2), name="inputs")
        ends = [layers.Rescaling(factor, name=f"times_{factor}")(inputs) for factor in (1, 2)]
        difference = layers.Subtract(name="difference")(ends[::order])
        spikes = kspike_tf.SpikingActivation("relu", seed=0, name="spikes")(difference)
        keras.Model(inputs, spikes, name="model").save(tmp_path / "model.keras")
        return variants.fingerprint(kspike_ref.load_model(tmp_path / "model.keras"))

    assert fingerprint(1) == fingerprint(1)
    assert fingerprint(1) != fingerprint(-1)


def test_models_that_mix_time_steps(tmp_path):
    inputs = keras.Input((None, 6))
    x = layers.Dense(4, kernel_initializer="ones")(inputs)
    x = kspike_tf.SpikingActivation("relu", dt=0.01, name="spikes")(x)
    x = layers.Bidirectional(layers.SimpleRNN(3, return_sequences=True))(x)
    keras.Model(inputs, layers.GlobalAveragePooling1D()(x)).save(tmp_path / "model.keras")
    model = kspike_ref.load_model(tmp_path / "model.keras")
    model.nodes[2].layer.cell.seed = 0  # makes runs comparable
    rising = np.linspace(0, 30, 9)[:, None] * X[:, None, 0, :3].reshape(70, 1, 6)
    seen = []

    def kept(y, outputs):
        seen.append(outputs)
        return 0.0

    kspike_tf.sweep(model, rising, np.zeros(70), timesteps=[3, 9], metric=kept)
    expected = [model.predict(rising[:, :steps]) for steps in (3, 9)]
    assert np.abs(expected[0] - expected[1]).max() > 0.1
    for found, wanted in zip(seen, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def total(y, outputs):
    return float(outputs.sum())


@pytest.mark.parametrize("is_loaded", [True, False])
@pytest.mark.parametrize("kind", ["layer", "cell"])
def test_score_and_spikes_without_a_seed_are_of_the_same_run(tmp_path, kind, is_loaded):
    """The model outputs its spikes: their sum is the score."""
    inputs = keras.Input((None, 3))
    spiking = kspike_tf.SpikingActivation("relu", dt=0.01, name="spikes")
    x = spiking(inputs)
    if kind == "cell":  # its spikes, all zero, are not counted
        silent = kspike_tf.SpikingActivationCell(3, activation="relu", dt=0.01)
        below = layers.Rescaling(0.0)(inputs)
        x = layers.Add()([x, layers.RNN(silent, return_sequences=True, name="others")(below)])
    keras.Model(inputs, x).save(tmp_path / "model.keras")
    load = functools.partial(kspike_ref.load_model, tmp_path / "model.keras")
    model = load() if is_loaded else load
    data = np.random.default_rng(0).uniform(0, 60, (8, 3)).astype("float32")
    options = {"timesteps": [1, 3], "metric": total, "workers": 1}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        first = kspike_tf.sweep(model, data, np.zeros(8), **options)
    about = [str(each.message) for each in told if "SpikingActivation layers" in str(each.message)]
    assert [each.partition(":")[0] for each in about] == (["others"] if kind == "cell" else [])
    for point in first:
        assert point.score * 0.01 / 8 == pytest.approx(point.spikes)
    assert kspike_tf.sweep(model, data, np.zeros(8), **options) == first
    if is_loaded:
        cells = [layer.cell for layer in model.layers if hasattr(layer, "cell")]
        assert {cell.seed for cell in cells} == {None}


def test_several_outputs_and_models_at_every_step(tmp_path, monkeypatch):
    """Folded time, a shared filter, a dictionary of two outputs, and few runs."""
    inputs = keras.Input((None, 4))
    inner_in = keras.Input((4,))
    inner = keras.Model(inner_in, layers.Dense(6)(layers.Dense(5, "relu")(inner_in)))
    x = kspike_tf.TimeFolded(inner)(inputs)
    x = kspike_tf.SpikingActivation("relu", dt=0.01, seed=0, name="spikes")(x)
    x = layers.Add()([x, layers.Dense(6)(x)])
    last = kspike_tf.Lowpass(0.05, dt=0.01, return_sequences=False)(x)
    outputs = {"z": layers.Dense(3)(last), "a": keras.ops.mean(layers.Dense(2)(x), axis=1)}
    model = keras.Model(inputs, outputs)
    model.save(tmp_path / "model.keras")
    data = 80 * np.random.default_rng(0).uniform(0, 1, (12, 20, 4)).astype("float32")
    seen = []

    def both(y, outputs):
        seen.append(outputs)
        return 0.0

    loaded = kspike_ref.load_model(tmp_path / "model.keras")
    kspike_tf.sweep(loaded, data, np.zeros(12), timesteps=[4, 20], metric=both)
    for steps, found in zip((4, 20), seen, strict=True):
        expected = loaded.predict(data[:, :steps])
        assert list(found) == list(expected)
        for key, values in expected.items():
            np.testing.assert_array_equal(found[key], values)
    passes = []
    for name in ("predict", "activity"):
        run = getattr(loaded, name)
        monkeypatch.setattr(loaded, name, lambda x, run=run: passes.append(len(x)) or run(x))
    kspike_tf.sweep(loaded, data, np.zeros(12), timesteps=[4, 20], metric=both)
    assert sorted(passes) == [0, 12]  # one run for the structure, one for outputs and signals


def test_lists_of_several_inputs(tmp_path):
    """A function that loads a model does not say how many inputs it has before it is called."""
    first, second = (keras.Input((None, 2), name=name) for name in "ab")
    spiking = kspike_tf.SpikingActivation("relu", dt=0.01, seed=0)
    outputs = layers.GlobalAveragePooling1D()(spiking(layers.Add()([first, second])))
    model = keras.Model([first, second], outputs)
    model.save(tmp_path / "model.keras")
    load = functools.partial(kspike_ref.load_model, tmp_path / "model.keras")
    x = [[[60.0, 20.0], [30.0, 10.0]], [[0.0, 10.0], [5.0, 10.0]]]
    report = kspike_tf.rate_report(load(), x, timesteps=50)
    assert report.layers[0].mean_rate == pytest.approx(36, 0.1)
    mine, theirs = (
        kspike_tf.sweep(each, x, [0, 0], timesteps=50, devices=()).points[0]
        for each in (load, model)
    )
    assert mine == theirs
    assert mine.rate == pytest.approx(36, 0.1)
