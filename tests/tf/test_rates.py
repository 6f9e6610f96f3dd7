"""Tests that rate reports count spikes as a count by hand does."""

import keras
import numpy as np
import pytest

import kspike_tf

layers = keras.layers


def model_of(**options):
    return keras.Sequential(
        [
            keras.Input((None, 4)),
            kspike_tf.SpikingActivation("relu", dt=0.01, seed=0, name="hidden", **options),
        ]
    )


def test_numbers_by_hand():
    """Four neurons of 0, 20, 50 and 150 Hz, for 100 steps of 10 ms."""
    x = np.tile(np.array([-5.0, 20.0, 50.0, 150.0], "float32"), (3, 100, 1))
    (layer,) = kspike_tf.rate_report(model_of(), x).layers
    assert layer.seconds == pytest.approx(1.0)
    assert layer.mean_rate == pytest.approx(55, abs=1)  # each neuron is off by at most one spike
    assert layer.median_rate == pytest.approx(35, abs=1)
    assert layer.high_rate == pytest.approx(147, abs=1)  # between the two highest rates
    assert layer.spikes == pytest.approx(220 / 3)
    assert layer.silent == 0.25
    assert layer.saturated == 0.25
    assert layer.correlation > 0.999
    assert layer.error < 0.02
    assert "25% of the neurons fire in every step" in layer.verdict


def test_rates_that_change_sign_do_not_cancel():
    """Neurons that alternate between ±50 Hz and ±150 Hz, for 100 steps of 10 ms."""
    x = np.tile(np.array([50.0, 150.0], "float32"), (3, 100, 2))
    x[:, ::2] *= -1
    model = keras.Sequential(
        [keras.Input((None, 4)), kspike_tf.SpikingActivation("linear", dt=0.01, seed=0)]
    )
    (layer,) = kspike_tf.rate_report(model, x).layers
    assert layer.spikes == pytest.approx(100)
    assert layer.mean_rate == pytest.approx(100, abs=50)  # counted
    assert layer.saturated == 0.5
    assert layer.error == 0.0  # no activation is left on average


@pytest.mark.parametrize(
    ("rate", "verdict"),
    [
        (1.6, "too few to carry the activation. Raise max_rate or show the input longer"),
        (30.0, "a coarse copy"),
        (90.0, "times: fine."),
        (-3.0, "is silent"),
    ],
)
def test_verdicts(rate, verdict):
    x = np.full((2, 4), rate)
    (layer,) = kspike_tf.rate_report(model_of(), x, timesteps=5).layers
    assert verdict in layer.verdict
    if rate == 1.6:
        assert "hidden fires at" in layer.verdict
        assert "in 50 ms" in layer.verdict


def test_time_axis_and_last_step():
    x = np.random.default_rng(0).uniform(0, 90, (40, 4)).astype("float32")
    expected = kspike_tf.rate_report(model_of(), x, timesteps=20)
    assert expected.examples == 40  # in two batches
    assert expected.timesteps == 20
    shown = np.repeat(x[:, None], 20, axis=1)
    assert kspike_tf.rate_report(model_of(), shown) == expected
    assert kspike_tf.rate_report(model_of(return_sequences=False), shown) == expected


def test_nested_models_and_negative_spikes():
    inner = keras.Sequential(
        [keras.Input((None, 4)), kspike_tf.SpikingActivation("linear", dt=0.01, seed=0, name="s")]
    )
    inputs = keras.Input((None, 4))
    model = keras.Model(inputs, inner(layers.Rescaling(2.0)(inputs)))
    (layer,) = kspike_tf.rate_report(model, np.full((2, 4), -50.0), timesteps=20).layers
    assert layer.name.endswith("_s")
    assert layer.mean_rate == pytest.approx(100, abs=5)
    assert layer.silent == 0


def test_presentation():
    report = kspike_tf.rate_report(model_of(), np.full((2, 4), 90.0), timesteps=20)
    (record,) = report.to_records()
    assert record["name"] == "hidden"
    assert record["verdict"] == report.layers[0].verdict
    lines = str(report).splitlines()
    assert "saturated" in lines[0]
    assert lines[1].startswith("hidden")
    assert "<td>hidden</td>" in report._repr_html_()


def test_bad_input():
    plain = keras.Sequential([keras.Input((None, 4)), layers.Dense(2)])
    with pytest.raises(ValueError, match="must have a SpikingActivation layer"):
        kspike_tf.rate_report(plain, np.ones((2, 3, 4)))
    with pytest.raises(TypeError, match="Sequential or Functional"):
        kspike_tf.rate_report("model.keras", np.ones((2, 3, 4)))
    with pytest.raises(ValueError, match="time axis"):
        kspike_tf.rate_report(model_of(), np.ones((2, 4)))
