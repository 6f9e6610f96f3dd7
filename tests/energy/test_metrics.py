"""Tests of NeuroBench's metrics, by brute force and by hand."""

import keras
import numpy as np
import pytest

import kspike_ref
import kspike_tf
from kspike_energy import Layer, ModelEnergy, Network, metrics

L = keras.layers


def sparse(model, rng):
    """Set a third of all weights to zero, and the others to values whose sums are exact."""
    for weight in model.weights:
        if weight.path.endswith(("kernel", "bias")):
            values = rng.integers(1, 4, weight.shape) / 4 * (rng.random(weight.shape) > 1 / 3)
            weight.assign(values)
    return model


def brute_force(layer, x):
    """Return effective and dense operations: binary inputs times binary weights, no bias."""
    kept = layer.get_weights()
    answers = []
    for ones in (False, True):
        kernel = np.ones_like(kept[0]) if ones else (kept[0] != 0).astype("float32")
        layer.set_weights([kernel, *(np.zeros_like(w) for w in kept[1:])])
        inputs = np.ones_like(x) if ones else (x != 0).astype("float32")
        answers.append(int(np.sum(keras.ops.convert_to_numpy(layer(inputs)))))
    layer.set_weights(kept)
    return answers


LAYERS = {
    "dense": (L.Dense(5), (7,)),
    "dense on steps": (L.Dense(5), (4, 7)),
    "conv1d": (L.Conv1D(4, 3, padding="causal", dilation_rate=2), (9, 3)),
    "conv2d": (L.Conv2D(4, 3, strides=2, padding="same"), (8, 7, 3)),
    "groups": (L.Conv2D(6, (3, 2), groups=3), (8, 7, 6)),
    "conv3d": (L.Conv3D(2, 2), (4, 5, 4, 2)),
    "depthwise": (L.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), (6, 6, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_operations_by_brute_force(name, rng):
    layer, shape = LAYERS[name]
    model = sparse(keras.Sequential([keras.Input(shape), layer]), rng)
    x = (rng.integers(1, 4, (6, *shape)) / 4 * (rng.random((6, *shape)) < 0.5)).astype("float32")
    effective, dense = brute_force(layer, x)
    found = metrics(model, x, batch_size=4)
    assert found.effective_macs * 6 == pytest.approx(effective, abs=1e-6)
    assert found.dense * 6 == pytest.approx(dense, abs=1e-6)
    assert found.effective_acs == 0
    assert 0 < found.connection_sparsity < 1
    kernel = layer.get_weights()[0]
    assert found.connection_sparsity == pytest.approx(np.mean(kernel == 0))
    # Without zeros, the operations are the connections of the energy estimate.
    assert found.dense == pytest.approx(ModelEnergy(model).network.connections)


def spiking(rng):
    inp = keras.Input((None, 6))
    x = L.Dense(5, name="first")(inp)
    x = kspike_tf.SpikingActivation("relu", dt=0.01, seed=0, name="spikes")(x)
    return sparse(keras.Model(inp, L.Dense(3, name="last")(x)), rng)


def test_a_spiking_network_by_hand(rng):
    model = spiking(rng)
    x = rng.integers(0, 15, (4, 12, 6)).astype("float32")
    spikes = keras.Model(model.input, model.get_layer("spikes").output).predict(x, verbose=0)
    rates = np.maximum(keras.Model(model.input, model.get_layer("first").output).predict(x), 0)
    assert set(np.unique(np.round(spikes * 0.01))) == {0.0, 1.0}
    found = metrics(model, x)
    last = model.get_layer("last").kernel.numpy() != 0
    assert found.effective_acs == np.sum((spikes != 0).astype(int) @ last) / 4
    first = model.get_layer("first").kernel.numpy() != 0
    assert found.effective_macs == np.sum((x != 0).astype(int) @ first) / 4
    assert found.dense == 12 * (6 * 5 + 5 * 3)
    assert found.activation_sparsity == np.mean(spikes == 0)
    changed = ~np.isclose(rates, spikes)
    assert found.membrane_updates == (changed[:, 1:].sum() + 4 * 5) / 4
    assert found.footprint == 4 * model.count_params()
    assert found.notes == ()


def test_kspike_ref_gives_the_same(rng, tmp_path):
    model = spiking(rng)
    model.save(tmp_path / "m.keras")
    x = rng.integers(0, 15, (4, 12, 6)).astype("float32")
    loaded = kspike_ref.load_model(tmp_path / "m.keras")
    assert metrics(loaded, x).to_dict() == metrics(model, x).to_dict()


def test_layers_at_every_step_and_notes(rng):
    inp = keras.Input((None, 6, 6, 2), name="film")
    conv = L.Conv2D(3, 2, activation="relu", name="conv")
    x = L.TimeDistributed(conv, name="each")(inp)
    x = L.TimeDistributed(L.MaxPooling2D(), name="pool")(x)
    x = L.TimeDistributed(L.Flatten(), name="flat")(x)
    model = sparse(keras.Model(inp, L.LSTM(4, name="lstm")(x)), rng)
    data = rng.integers(0, 2, (3, 5, 6, 6, 2)).astype("float32")
    effective, dense = brute_force(conv, data.reshape(15, 6, 6, 2))
    found = metrics(model, data)
    assert (found.effective_acs, found.dense) == (effective / 3, dense / 3)
    assert [note.split(" ")[0] for note in found.notes] == ["pool", "lstm"]
    assert "as in NeuroBench: 48 connections and 0 updates per time step" in found.notes[0]
    assert "(LSTM) is not counted, although NeuroBench counts equivalent cells" in found.notes[1]
    assert "* pool (TimeDistributed)" in str(found)


def test_shared_weights_count_once(rng):
    inp = keras.Input((4,))
    dense = L.Dense(4, "relu")
    model = keras.Model(inp, dense(dense(inp)))
    model.layers[1].kernel.assign(np.eye(4))
    found = metrics(model, np.ones((2, 4)))
    assert found.connection_sparsity == 0.75
    assert found.footprint == 4 * 20
    assert found.dense == 32
    assert found.activation_sparsity == 0


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_batches_make_no_difference(rng, batch_size):
    model = spiking(rng)
    x = rng.integers(1, 15, (4, 12, 6)).astype("float32")
    found = metrics(model, x, batch_size=batch_size)
    assert found == metrics(model, x)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_inputs_are_spikes_only_if_they_are_in_every_batch(batch_size):
    model = keras.Sequential([keras.Input((3,)), L.Dense(2)])
    found = metrics(model, np.array([[1.0, 0.0, 1.0], [1.0, 2.0, 0.0]]), batch_size=batch_size)
    assert (found.effective_macs, found.effective_acs, found.dense) == (4.0, 0.0, 6.0)


def test_activations_of_layers_at_every_step_count(rng):
    inp = keras.Input((None, 6))
    model = keras.Model(inp, L.TimeDistributed(L.Dense(4, "relu"))(inp))
    x = rng.normal(size=(3, 5, 6)).astype("float32")
    silent = float(np.mean(model.predict(x, verbose=0) == 0))
    assert 0 < silent < 1
    assert metrics(model, x).activation_sparsity == pytest.approx(silent)


def test_activations_of_layers_whose_operations_do_not_count(rng):
    inp = keras.Input((6, 6, 2))
    model = keras.Model(inp, L.SeparableConv2D(3, 3, activation="relu", name="apart")(inp))
    x = rng.normal(size=(2, 6, 6, 2)).astype("float32")
    found = metrics(model, x)
    silent = float(np.mean(model.predict(x, verbose=0) == 0))
    assert found.activation_sparsity == pytest.approx(silent)
    assert "apart (SeparableConv2D) is not counted, although NeuroBench" in found.notes[0]


def test_bad_input(rng):
    with pytest.raises(TypeError, match="model must be a Keras model"):
        metrics(3, np.ones((2, 4)))
    with pytest.raises(TypeError, match="model must be a Keras model"):
        metrics(Network([Layer("a")]), np.ones((2, 4)))
    with pytest.raises(ValueError, match="empty"):
        metrics(spiking(rng), iter([]))
    with pytest.raises(ValueError, match=r"^x must have the shape .*Received: shape=\(2, 3, 7\)"):
        metrics(spiking(rng), np.ones((2, 3, 7)))
    with pytest.raises(ValueError, match=r"^x is empty"):
        metrics(spiking(rng), np.ones((0, 3, 6)))
    with pytest.raises(TypeError, match=r"^x must be arrays or batches. Received: 'x'"):
        metrics(spiking(rng), "x")
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match=r"input of layer .* must be finite, but is not"):
            metrics(spiking(rng), np.full((2, 3, 6), bad))


def test_a_normalisation_is_noted_whether_it_is_folded_or_not(rng):
    inp = keras.Input((6, 6, 2))
    x = L.BatchNormalization(name="folded")(L.Conv2D(3, 3)(inp))
    x = L.BatchNormalization(name="apart")(L.ReLU()(x))
    found = metrics(keras.Model(inp, x), rng.random((2, 6, 6, 2)))
    notes = dict(note.split(" ", 1) for note in found.notes)
    assert notes["folded"].endswith("as in NeuroBench: it is folded into the preceding layer")
    assert "as in NeuroBench: 48 connections" in notes["apart"]


def test_layers_that_cannot_be_counted_are_noted(rng):
    class Doubling(L.Layer):
        def call(self, x):
            return 2 * x

    inp = keras.Input((3,))
    x = Doubling(name="odd")(inp)
    x = keras.ops.einsum("...i,...i->...i", x, inp)
    odd, einsum = metrics(keras.Model(inp, x), rng.random((2, 3))).notes
    assert odd == "odd (Doubling) is not counted: it has no counting rule"
    assert einsum.endswith(
        "is not counted: operation 'einsum': einsum of several signals with an ellipsis"
    )
