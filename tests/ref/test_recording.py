"""Tests of recordings: the spikes of one run, and the states of an obvious loop."""

import naive
import numpy as np
import pytest
from archives import applied, dense, functional, input_layer, layer, sequential, tensor
from unsaved import unsaved

import kspike_ref

DT = 0.1
SPIKING = {"activation": "relu", "dt": DT, "seed": 3}


def spiking(name="spikes", **options):
    return layer("SpikingActivation", name, "kspike_tf", **(SPIKING | options))


def lowpass(name="filtered", **options):
    return layer("Lowpass", name, "kspike_tf", dt=DT, **options)


@pytest.fixture
def x():
    return np.random.default_rng(0).uniform(-5, 15, (3, 12, 4)).astype(np.float32)


def after_every_step(model, x, name):
    """Return the first state of a layer after every step."""
    index = [node.name for node in model.nodes].index(name)
    state, found = model.initial_state(len(x)), []
    for t in range(x.shape[1]):
        _, state = model.step(x[:, t], state)
        found.append(state[index][0])
    return np.stack(found, axis=1)


@pytest.mark.parametrize("sequences", [True, False])
def test_arrays_are_those_of_a_run(x, sequences):
    model = unsaved(
        sequential(
            input_layer(None, 4),
            dense("dense", 5),
            spiking(),
            lowpass(),
            layer("Alpha", "smooth", "kspike_tf", dt=DT, return_sequences=sequences),
        )
    )
    recording = model.record(x)
    acts = model.activity(x)
    np.testing.assert_array_equal(recording.spikes["spikes"], acts["spikes"])
    np.testing.assert_array_equal(recording.levels["filtered"].astype("f4"), acts["filtered"])
    last = recording.levels["smooth"].astype("f4")
    np.testing.assert_array_equal(last if sequences else last[:, -1], model.predict(x))
    voltages = recording.voltages["spikes"]
    np.testing.assert_array_equal(voltages, after_every_step(model, x, "spikes"))
    rates, start = np.maximum(acts["dense"], 0), kspike_ref.initial_voltage(5, 3)
    for t in range(x.shape[1]):
        expected = naive.spiking(rates[:, : t + 1], DT, np.broadcast_to(start, (3, 5)))[1]
        np.testing.assert_array_equal(voltages[:, t], expected)
    assert [a.dtype for a in (*recording.voltages.values(), *recording.levels.values())] == (
        [np.dtype(np.float64)] * 3
    )
    assert recording.dt == dict.fromkeys(["spikes", "filtered", "smooth"], float(np.float32(DT)))
    assert repr(recording) == (
        "<Recording of 'spikes': (3, 12, 5), 'filtered': (3, 12, 5), 'smooth': (3, 12, 5)>"
    )


def test_spikes_and_voltages_add_up_to_the_rates(x):
    model = unsaved(sequential(input_layer(None, 4), spiking(seed=None)))
    recording = model.record(x)
    counts = np.cumsum(recording.spikes["spikes"] * np.float32(DT), axis=1)
    dt = np.float64(np.float32(DT))
    integral = np.cumsum(np.maximum(x, 0) * dt, axis=1)
    start = np.rint(counts) + recording.voltages["spikes"] - integral
    assert (start >= -1e-6).all()  # the drawn initial voltage, the same at every step
    np.testing.assert_allclose(start, np.broadcast_to(start[:, :1], start.shape), atol=1e-6)


def test_units_of_images_keep_their_axes():
    model = unsaved(sequential(input_layer(None, 2, 3), spiking(), layer(
        "Alpha", "smooth", "kspike_tf", dt=DT)))  # fmt: skip
    recording = model.record(np.full((2, 3), 7.0)[None], timesteps=5)
    for arrays in (recording.spikes, recording.voltages, recording.levels):
        assert [a.shape for a in arrays.values()] == [(1, 5, 2, 3)]


def test_chosen_layers_without_voltages(x):
    model = unsaved(sequential(input_layer(None, 4), spiking(), lowpass(), spiking("more")))
    recording = model.record(x, ["more", "filtered"], voltages=False)
    assert list(recording.spikes) == ["more"]
    assert list(recording.levels) == ["filtered"]
    assert recording.voltages == {}
    assert list(recording.dt) == ["filtered", "more"]  # in the model's order


def test_masked_steps_hold_the_voltage(x):
    x[:, 4:7] = 0
    masking = layer("Masking", "masking", mask_value=0.0)
    model = unsaved(sequential(input_layer(None, 4), masking, spiking()))
    voltages = model.record(x).voltages["spikes"]
    np.testing.assert_array_equal(voltages[:, 4:7], np.repeat(voltages[:, 3:4], 3, axis=1))
    assert (voltages[:, 7] != voltages[:, 6]).any()


def test_a_layer_that_is_applied_twice(x):
    layers = [
        applied(input_layer(None, 4, name="input")),
        applied(spiking(), [tensor("input")], [tensor("spikes")]),
    ]
    model = unsaved(functional(layers, [["input", 0, 0]], [["spikes", 1, 0]]))
    recording = model.record(x)
    assert list(recording.spikes) == ["spikes", "spikes:1"]
    np.testing.assert_array_equal(recording.spikes["spikes:1"], model.predict(x))


def test_cells_within_keras_rnn(x):
    cell = layer("SpikingActivationCell", "cell", "kspike_tf", size=[4], **SPIKING)
    inside = unsaved(sequential(input_layer(None, 4), layer("RNN", "rnn", cell=cell)))
    own = unsaved(sequential(input_layer(None, 4), spiking()))
    found, expected = inside.record(x), own.record(x)
    np.testing.assert_array_equal(found.voltages["rnn"], expected.voltages["spikes"])
    np.testing.assert_array_equal(found.spikes["rnn"], expected.spikes["spikes"])


def test_a_vector_that_the_model_repeats():
    model = unsaved(sequential(input_layer(4), layer("RepeatVector", "again", n=6), spiking()))
    x = np.random.default_rng(0).uniform(0, 20, (2, 4))
    recording = model.record(x)
    np.testing.assert_array_equal(recording.spikes["spikes"], model.predict(x))


def test_no_examples_and_no_steps():
    model = unsaved(sequential(input_layer(None, 4), spiking()))
    for shape in ((0, 3, 4), (2, 0, 4)):
        recording = model.record(np.zeros(shape))
        assert recording.spikes["spikes"].shape == shape
        assert recording.voltages["spikes"].shape == shape


def test_counts_of_the_last_run_are_those_of_all_steps(x):
    model = unsaved(sequential(input_layer(None, 4), spiking(), dense("dense", 2)))
    model.predict(x)
    run = model.last_run["dense"]
    model.record(x)
    assert model.last_run["dense"] == run


def test_wrong_use(x):
    model = unsaved(sequential(input_layer(None, 4), dense("dense", 5), spiking()))
    with pytest.raises(ValueError, match=r"layers must be among spikes. Received: dense"):
        model.record(x, ["dense"])
    with pytest.raises(ValueError, match=r"x must have the shape .*pass timesteps=N"):
        model.record(x[:, 0])
    with pytest.raises(TypeError, match="did you mean 'timesteps'"):
        model.record(x[:, 0], timestep=3)
    plain = unsaved(sequential(input_layer(None, 4), dense("dense", 5)))
    with pytest.raises(ValueError, match=r"spiking layers or filters\. Received: one with In"):
        plain.record(x)
    mixed = unsaved(
        sequential(input_layer(None, 4), spiking(), layer("Conv1D", "conv", filters=2,
                   kernel_size=[3], strides=[1], padding="same"))
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"'conv' .* mixes time steps"):
        mixed.record(x)
    with pytest.raises(ValueError, match="max_bytes"):
        unsaved(sequential(input_layer(None, 4), spiking()), max_bytes=10).record(x)
