"""A warning of spiking layers that have too few spikes in a run: once, and only where it is due."""

import warnings

import numpy as np
import pytest
from archives import input_layer, layer, sequential
from unsaved import unsaved

from kspike_ref import FewSpikesWarning


def spiking(activation="relu", **options):
    own = layer(
        "SpikingActivation", "hidden", "kspike_tf", activation=activation, dt=0.001, seed=0,
        **options,
    )  # fmt: skip
    return unsaved(sequential(input_layer(None, 3), own))


X = np.tile(np.float32([20.0, 0.0, -5.0]), (6, 1))


def test_a_layer_with_less_than_one_spike_is_named_once():
    model = spiking()
    with pytest.warns(FewSpikesWarning, match=r"hidden \(0\.6 in 30 steps of 0\.001 s\)") as told:
        model.predict(X, timesteps=30)
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(X, timesteps=20)
        model.predict(X, timesteps=30)


@pytest.mark.parametrize(
    ("x", "steps"),
    [
        (X, 51),  # a spike and more
        (-X[:, 1:], 300),
        (np.zeros_like(X), 5),  # silent, which is no lack of steps
    ],
)
def test_no_warning_where_there_are_spikes(x, steps):
    model = spiking()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(np.resize(x, (6, 3)), timesteps=steps)


def test_negative_rates_count_and_sequences_too():
    x = np.broadcast_to(-X[:, None], (6, 30, 3))
    with pytest.warns(FewSpikesWarning, match=r"hidden \(0\.38 in 30"):
        spiking("linear").predict(x)


def test_outputs_stay_and_other_calls_do_not_warn():
    model = spiking()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = model.activity(X, timesteps=30)["hidden"]
        model.step(X, model.initial_state(6))
        assert model.predict(X[:0], timesteps=30).shape == (0, 30, 3)
        warnings.simplefilter("ignore", FewSpikesWarning)  # the way to silence it
        np.testing.assert_array_equal(model.predict(X, timesteps=30), expected)
