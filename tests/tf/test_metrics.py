"""Tests of the metric of firing rates."""

import keras
import numpy as np
import pytest

import kspike_tf
from kspike_tf.metrics import MeanRate


def model_of(activation="relu", dt=0.01):
    inputs = keras.Input((None, 3))
    masked = keras.layers.Masking()(inputs)
    spikes = kspike_tf.SpikingActivation(activation, dt=dt, seed=0, name="spikes")(masked)
    mean = keras.layers.Flatten(name="mean")(spikes[:, -1])  # Keras 3.8 goes by names of layers
    model = keras.Model(inputs, {"mean": mean, "spikes": spikes})
    loss = {"mean": "mse", "spikes": None}
    model.compile("sgd", loss=loss, metrics={"spikes": MeanRate()})
    return model


def targets_of(x):
    return {"mean": np.zeros((len(x), 3)), "spikes": np.zeros((len(x), 1, 1))}


@pytest.mark.parametrize("sign", [1, -1])
def test_fit_shows_the_rates_of_all_batches(sign):
    """Spikes of both signs count, over batches of different sizes."""
    rng = np.random.default_rng(0)
    x = sign * rng.uniform(10, 90, (10, 20, 3)).astype(np.float32)
    model = model_of("linear")
    shown = model.fit(x, targets_of(x), batch_size=4, validation_split=0.3, verbose=0).history
    spikes = np.abs(model.predict(x, verbose=0)["spikes"])
    assert shown["spikes_rate"] == pytest.approx([spikes[:7].mean()], rel=1e-5)
    assert shown["val_spikes_rate"] == pytest.approx([spikes[7:].mean()], rel=1e-5)
    assert spikes.mean() == pytest.approx(np.abs(x).mean(), abs=3)


def test_masked_steps_do_not_count():
    x = np.full((4, 20, 3), 50.0, np.float32)
    x[:, 10:] = 0
    results = model_of().evaluate(x, targets_of(x), verbose=0, return_dict=True)
    assert results["spikes_rate"] == pytest.approx(50)


def test_weights_count_beside_masks():
    x = np.full((4, 20, 3), 50.0, np.float32)
    x[2:] = 100
    x[:, 10:] = 0
    weights = {"mean": np.ones(4), "spikes": np.repeat([[3.0], [1.0]], 2, axis=0)}
    model = model_of()
    loss = {"mean": "mse", "spikes": None}
    model.compile("sgd", loss=loss, weighted_metrics={"spikes": MeanRate()})
    results = model.evaluate(x, targets_of(x), sample_weight=weights, verbose=0, return_dict=True)
    assert results["spikes_rate"] == pytest.approx((3 * 50 + 100) / 4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_means_are_as_exact_as_float32(dtype):
    """The numbers of spikes are exact in every type, their means are not."""
    spikes = np.zeros((2, 3, 3000), np.float32)
    spikes[:, :, :1001] = -1000
    metric = MeanRate()
    metric.update_state(np.zeros(2), keras.ops.cast(spikes, dtype))
    assert float(metric.result()) == pytest.approx(1001 / 3, rel=1e-6)


def test_metrics_are_saved(tmp_path):
    x = np.full((4, 20, 3), 50.0, np.float32)
    model_of().save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    results = loaded.evaluate(x, targets_of(x), verbose=0, return_dict=True)
    assert results["spikes_rate"] == pytest.approx(50)
    copy = MeanRate.from_config(MeanRate(name="hertz", dtype="float64").get_config())
    assert (copy.name, copy.dtype) == ("hertz", "float64")


def test_spikes_need_a_time_axis():
    with pytest.raises(ValueError, match=r"MeanRate needs spikes with a time axis.*\(2, 3\)"):
        MeanRate().update_state(np.zeros(2), np.zeros((2, 3)))
