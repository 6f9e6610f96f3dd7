"""Tests of the warning about too few spikes in a run: given once, and only if justified."""

import warnings

import numpy as np
import pytest
from archives import dense, input_layer, layer, sequential
from unsaved import unsaved

from kspike_ref import FewSpikesWarning
from kspike_ref.running import interrupt, plans


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
        (np.zeros_like(X), 5),  # a silent layer does not lack steps
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


def test_rates_that_change_sign_do_not_cancel():
    x = np.full((6, 30, 3), 1500, np.float32)
    x[:, ::2] *= -1
    x[:, 0] *= 1.001
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.abs(spiking("linear").predict(x)).mean() > 0
    with pytest.warns(FewSpikesWarning, match=r"hidden \(0\.45 in 30"):
        spiking("linear").predict(x / 100)


def test_outputs_stay_and_other_calls_do_not_warn():
    model = spiking()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = model.activity(X, timesteps=30)["hidden"]
        model.step(X, model.initial_state(6))
        assert model.predict(X[:0], timesteps=30).shape == (0, 30, 3)
        warnings.simplefilter("ignore", FewSpikesWarning)  # how users silence it
        np.testing.assert_array_equal(model.predict(X, timesteps=30), expected)


@pytest.fixture
def made(monkeypatch):
    """Record every plan: its nodes, the shape of its input, and whether Ctrl-C can end it."""
    found, make_plan = [], plans.make_plan

    def noted(tasks, inputs, *others):
        names = [task.node.name for task in tasks]
        found.append((names, inputs[0].shape, interrupt.current() is not None))
        return make_plan(tasks, inputs, *others)

    monkeypatch.setattr(plans, "make_plan", noted)
    return found


def wide():
    own = layer("SpikingActivation", "hidden", "kspike_tf", activation="relu", dt=0.001, seed=0)
    return unsaved(sequential(input_layer(None, 3), dense("first", 3), own, dense("last", 3)))


@pytest.mark.parametrize("size", [2, 5])
def test_the_look_takes_a_block_at_most_and_no_later_layers(made, size):
    model = wide()
    with pytest.warns(FewSpikesWarning):
        model.predict(np.ones((6, 3), np.float32), timesteps=3, batch_size=size)
    assert made[-1][:2] == (["first"], (min(4, size), 1, 3))
    kept = model._engine._plans
    assert {kind.ends[0].node for kind in kept._kinds.values()} == {model._engine.outputs[0].node}


def test_limits_leave_no_room_for_a_look(made):
    model, x = wide(), np.ones((6, 3), np.float32)
    limited = wide()
    limited._engine.budget.is_limited = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(x, timesteps=3, max_bytes=1 << 40)
        model.predict(x, timesteps=3, max_operations=1 << 40)
        limited.predict(x, timesteps=3)
    assert ["first"] not in [names for names, _, _ in made]
    with pytest.warns(FewSpikesWarning):
        model.predict(x[:5], timesteps=3)  # the first run without limits


def test_ctrl_c_ends_the_look_of_a_long_run(made, monkeypatch):
    model = wide()
    monkeypatch.setattr(type(model._engine.budget), "admit", lambda *_: True)
    with pytest.warns(FewSpikesWarning) as told:
        model.predict(np.ones((6, 3), np.float32), timesteps=3)
    assert made[-1] == (["first"], (4, 1, 3), True)
    assert told[0].filename == __file__
