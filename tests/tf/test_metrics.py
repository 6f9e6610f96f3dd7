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
    model = keras.Model(inputs, {"mean": keras.layers.Flatten()(spikes[:, -1]), "spikes": spikes})
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
