"""Tests of recordings of Keras models, against predict and single steps of the cells."""

import gc
import tracemalloc
import weakref

import keras
import numpy as np
import pytest

import kspike_tf

DT = 0.1


@pytest.fixture
def x():
    return np.random.default_rng(0).uniform(-5, 15, (3, 12, 4)).astype(np.float32)


def model_of(*layers, shape=(None, 4)):
    return keras.Sequential([keras.Input(shape), *layers])


def after_every_step(cell, x, state):
    """Return the first state of a cell after every step."""
    found = []
    for t in range(x.shape[1]):
        _, state = cell(x[:, t], state)
        found.append(np.asarray(state[0]))
    return np.stack(found, axis=1)


@pytest.mark.parametrize("sequences", [True, False])
def test_arrays_are_those_of_predict(x, sequences):
    spiking = kspike_tf.SpikingActivation("softplus", dt=DT, seed=1, name="spikes")
    model = model_of(
        spiking,
        kspike_tf.Lowpass(0.3, dt=DT, name="filtered"),
        kspike_tf.Alpha(0.2, dt=DT, name="smooth", return_sequences=sequences),
    )
    recording = kspike_tf.record(model, x)
    inside = keras.Model(model.inputs, [layer.output for layer in model.layers])
    spikes, filtered, smooth = inside.predict(x, verbose=0)
    np.testing.assert_array_equal(recording.spikes["spikes"], spikes)
    np.testing.assert_array_equal(recording.levels["filtered"].astype("f4"), filtered)
    last = recording.levels["smooth"].astype("f4")
    np.testing.assert_array_equal(last if sequences else last[:, -1], smooth)
    cell = spiking.layer.cell
    stepped = after_every_step(cell, x, cell.get_initial_state(batch_size=3))
    np.testing.assert_array_equal(recording.voltages["spikes"], stepped)
    assert recording.voltages["spikes"].dtype == np.float64
    assert recording.dt == pytest.approx(dict.fromkeys(["spikes", "filtered", "smooth"], DT))


def test_memory_without_voltages():
    """Voltages that are not requested are not kept."""
    names = [f"spikes_{i}" for i in range(4)]
    model = model_of(*(kspike_tf.SpikingActivation("relu", dt=DT, seed=0, name=n) for n in names))
    shown = np.ones((200, 200, 4), np.float32)  # far larger than all other allocations
    kept = {}
    for voltages in (False, True):
        kspike_tf.record(model, shown, voltages=voltages)  # traces functions
        tracemalloc.start()
        recording = kspike_tf.record(model, shown, voltages=voltages)
        gc.collect()  # frees reference cycles now
        kept[voltages] = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert list(recording.spikes) == names
        assert list(recording.voltages) == (names if voltages else [])
    assert kept[True] - kept[False] > 3 * shown.size * 8


def test_arrays_live_as_long_as_the_recording(x):
    """They are in no cycle of references, which only Python's collector would free."""
    model = model_of(
        keras.layers.Dense(4),
        kspike_tf.SpikingActivation("relu", dt=DT, seed=0, name="spikes"),
        kspike_tf.Lowpass(0.3, dt=DT, name="filtered"),
    )
    gc.disable()
    try:
        recording = kspike_tf.record(model, x)
        kinds = recording.spikes, recording.voltages, recording.levels
        arrays = [weakref.ref(each) for kind in kinds for each in kind.values()]
        assert len(arrays) == 3
        assert all(each() is not None for each in arrays)
        del recording, kinds
        assert all(each() is None for each in arrays)
    finally:
        gc.enable()


def test_layers_without_a_seed_are_drawn_once(x):
    inputs = keras.Input((None, 4))
    spikes = kspike_tf.SpikingActivation("relu", dt=DT, name="spikes")(inputs)
    model = keras.Model(inputs, kspike_tf.Lowpass(0.3, dt=DT, name="filtered")(spikes))
    recording = kspike_tf.record(model, x)
    level = np.zeros((3, 4))
    decay = np.exp(-np.float32(DT) / np.float64(np.float32(0.3)))
    for t in range(x.shape[1]):
        level = recording.spikes["spikes"][:, t] * (1 - decay) + level * decay
        np.testing.assert_allclose(recording.levels["filtered"][:, t], level, rtol=1e-6)
    other = kspike_tf.record(model, x)
    assert (other.voltages["spikes"] != recording.voltages["spikes"]).any()


def test_masks_hold_the_voltage(x):
    x[:, 4:7] = 0
    model = model_of(
        keras.layers.Masking(),
        kspike_tf.SpikingActivation("relu", dt=DT, seed=1, name="spikes"),
    )
    recording = kspike_tf.record(model, x)
    voltages = recording.voltages["spikes"]
    np.testing.assert_array_equal(voltages[:, 4:7], np.repeat(voltages[:, 3:4], 3, axis=1))
    np.testing.assert_array_equal(recording.spikes["spikes"], model.predict(x, verbose=0))


def test_time_major_and_cells_within_rnn(x):
    options = {"dt": DT, "seed": 1}
    plain = kspike_tf.record(
        model_of(kspike_tf.SpikingActivation("relu", **options, name="spikes")), x
    )
    inputs = keras.Input(batch_shape=(12, 3, 4))
    spikes = kspike_tf.SpikingActivation("relu", **options, time_major=True, name="spikes")
    first = kspike_tf.record(keras.Model(inputs, spikes(inputs)), np.swapaxes(x, 0, 1))
    cell = kspike_tf.SpikingActivationCell(4, "relu", **options)
    inside = kspike_tf.record(model_of(keras.layers.RNN(cell, name="spikes")), x)
    for other in (first, inside):
        for name in ("spikes", "voltages"):
            np.testing.assert_array_equal(
                getattr(other, name)["spikes"], getattr(plain, name)["spikes"]
            )


def test_chosen_layers_of_nested_models_and_shapes():
    spiking = kspike_tf.SpikingActivation("relu", dt=DT, seed=1, name="s")
    inner = model_of(spiking, shape=(None, 2, 3))
    inner.name = "inner"
    smooth = kspike_tf.Alpha(0.2, dt=DT, name="smooth")
    inputs = keras.Input((None, 2, 3))
    model = keras.Model(inputs, smooth(smooth(inner(inputs))))
    x = np.full((1, 2, 3), 7, "float32")
    recording = kspike_tf.record(model, x, ["inner_s", "smooth:1"], False, timesteps=5)
    assert list(recording.spikes) == ["inner_s"]
    assert recording.voltages == {}
    assert list(recording.levels) == ["smooth:1"]
    assert recording.levels["smooth:1"].shape == (1, 5, 2, 3)
    expected = model.predict(np.repeat(x[:, None], 5, axis=1), verbose=0)
    np.testing.assert_array_equal(recording.levels["smooth:1"].astype("f4"), expected)
    assert repr(recording) == "<Recording of 'inner_s': (1, 5, 2, 3), 'smooth:1': (1, 5, 2, 3)>"


def test_half_precision(x):
    layer = kspike_tf.SpikingActivation("relu", dt=DT, seed=1, name="spikes", dtype="mixed_float16")
    recording = kspike_tf.record(model_of(layer), x)
    assert recording.spikes["spikes"].dtype == np.float16
    assert recording.voltages["spikes"].dtype == np.float64


def test_wrong_use(x):
    spiking = kspike_tf.SpikingActivation("relu", dt=DT, seed=1, name="spikes")
    model = model_of(keras.layers.Dense(3, name="dense"), spiking)
    with pytest.raises(ValueError, match=r"layers must be among spikes. Received: dense"):
        kspike_tf.record(model, x, ["dense"])
    with pytest.raises(ValueError, match="must have a spiking layer or a filter"):
        kspike_tf.record(model_of(keras.layers.Dense(3)), x)
    with pytest.raises(TypeError, match="Sequential or Functional"):
        kspike_tf.record(lambda x: x, x)
    inputs = keras.Input(batch_shape=(3, None, 4))
    kept = kspike_tf.SpikingActivation("relu", dt=DT, stateful=True, name="kept")
    with pytest.raises(ValueError, match=r"record needs .* Received: layer 'kept' with stateful"):
        kspike_tf.record(keras.Model(inputs, kept(inputs)), x)
    start = keras.Input((4,))
    begun = kspike_tf.SpikingActivation("relu", dt=DT, name="begun")
    both = keras.Model([inputs, start], begun(inputs, initial_state=start))
    with pytest.raises(ValueError, match=r"comes from the model\. Received: layer 'begun'"):
        kspike_tf.record(both, [x, x[:, 0]])
