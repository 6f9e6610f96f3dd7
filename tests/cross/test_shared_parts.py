"""Tests of objects that several layers share: Keras saves their weights once, at the first use."""

import zipfile

import keras
import numpy as np
import pytest
from agreement import check, check_streams, normal, random_weights

import kspike_ref
import kspike_tf
from kspike_energy import ModelEnergy
from kspike_energy.adapters.ref import RefAdapter

L = keras.layers


def cells():
    """Return a model with one cell in two layers, and twice in a stack."""
    cell = L.GRUCell(4)
    x = L.Input((None, 4))
    y = L.RNN(cell, return_sequences=True)(x)
    stack = L.StackedRNNCells([cell, L.SimpleRNNCell(4), cell])
    return keras.Model(x, [L.RNN(cell)(y), L.RNN(stack)(y)]), (3, 5, 4)


def spiking_cells():
    cell = kspike_tf.LowpassCell((4,), 0.1, dt=0.05)
    x = L.Input((5, 4))
    y = L.RNN(cell, return_sequences=True)(x)
    return keras.Model(x, L.RNN(cell)(y)), (3, 5, 4)


def wrapped():
    """Return a model that uses one layer in wrappers of two kinds, and without a wrapper."""
    dense = L.Dense(4, "relu")
    x = L.Input((None, 4))
    y = kspike_tf.TimeFolded(dense)(L.TimeDistributed(dense)(x))
    return keras.Model(x, dense(y)), (3, 5, 4)


def wrapped_after():
    dense = L.Dense(4, "relu")
    x = L.Input((None, 4))
    return keras.Model(x, L.TimeDistributed(dense)(dense(x))), (3, 5, 4)


def normalised():
    dense = L.Dense(4)
    x = L.Input((4,))
    return keras.Model(x, L.SpectralNormalization(dense)(dense(x))), (3, 4)


def activations():
    """Return a model with a trained activation in two layers and alone, and one without weights."""
    slopes, relu = L.PReLU(), L.ReLU(negative_slope=0.1)
    x = L.Input((4,))
    y = slopes(L.Dense(4, slopes)(x))
    return keras.Model(x, L.Dense(4, slopes)(L.Dense(4, relu)(L.Dense(3, relu)(y)))), (3, 4)


def models():
    """Return a model that uses one model in two wrappers, and without a wrapper."""
    inner = keras.Sequential([L.Input((4,)), L.Dense(4, "tanh"), L.Dense(4)])
    x = L.Input((None, 4))
    y = L.TimeDistributed(inner)(L.TimeDistributed(inner)(x))
    return keras.Model(x, [y, inner(L.GlobalAveragePooling1D()(y))]), (3, 5, 4)


def pipelines():
    scale, dense = L.Rescaling(0.5), L.Dense(4)
    x = L.Input((4,))
    y = L.Pipeline([scale, dense])(L.Pipeline([dense, scale])(x))
    return keras.Model(x, scale(y)), (3, 4)


def crossed():
    """Return a model of two layers that run in one order and are saved in the other."""
    dense, x = L.Dense(4), L.Input((5, 4))
    late = L.TimeDistributed(dense, name="late")
    early = L.TimeDistributed(dense, name="early")
    first = early(x)
    return keras.Model(x, [late(L.ReLU()(first)), first]), (3, 5, 4)


def seen_within():
    """Return a model that shares a layer with a model within it, which runs at each time step."""
    dense = L.Dense(4)
    inner_in = L.Input((4,))
    inner = keras.Model(inner_in, L.ReLU()(dense(inner_in)))
    x = L.Input((5, 4))
    return keras.Model(x, dense(L.TimeDistributed(inner)(x))), (3, 5, 4)


CASES = [
    cells, spiking_cells, wrapped, wrapped_after, normalised, activations, models, pipelines,
    crossed, seen_within,
]  # fmt: skip


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_shared_objects_load_as_one(make, tmp_path):
    keras.utils.set_random_seed(1)
    model, shape = make()
    random_weights(model)
    x = normal(*shape)
    loaded = check(model, tmp_path, x)
    if make in (wrapped, wrapped_after):
        check_streams(loaded, x)
    held = {id(w): w.size for layer in loaded.layers for w in layer.weights.values()}
    own = 4 if make is normalised else 0  # SpectralNormalization's vector, which is not needed here
    assert sum(held.values()) == model.count_params() - own
    assert f"\n{sum(held.values()):,} weights" in str(loaded)
    assert RefAdapter().params(loaded) == sum(held.values())


def test_what_an_object_was_not_built_for_is_refused(tmp_path):
    """In an edited file, the second wrapper gives the layer inputs of another shape."""
    dense = L.Dense(4)
    x, y = L.Input((5, 4)), L.Input((5, 4))
    outputs = [L.TimeDistributed(dense)(x), L.TimeDistributed(dense)(y)]
    keras.Model([x, y], outputs).save(tmp_path / "m.keras")
    _rewritten(tmp_path / "m.keras", "[null, 5, 4]", "[null, 5, 3]")
    with pytest.raises(kspike_ref.ArchiveError, match="built for"):
        kspike_ref.load_model(tmp_path / "m.keras")


def _rewritten(path, old, new):
    """Replace the last occurrence of a text in a file's configuration."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    text = members["config.json"].decode()
    at = text.rindex(old, 0, text.rindex('"InputLayer"') + 400)
    members["config.json"] = (text[:at] + new + text[at + len(old) :]).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def test_weights_that_no_holder_has_are_missing(tmp_path):
    h5py = pytest.importorskip("h5py")
    model, _ = wrapped()
    model.save(tmp_path / "m.keras")
    folder = tmp_path / "folder"
    folder.mkdir()
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        archive.extractall(folder)
    with h5py.File(folder / "model.weights.h5", "r+") as file:
        del file["layers/time_distributed/layer"]
    with pytest.raises(kspike_ref.ArchiveError, match=r"must have 2 weights"):
        kspike_ref.load_model(folder)


def test_which_of_two_that_are_alike_is_shared_must_be_said(tmp_path):
    """Keras does not save which of the first two holders has the object that recurs."""
    one, other = L.GRUCell(4, name="cell"), L.GRUCell(4, name="cell")
    x = y = L.Input((5, 4))
    for cell in (one, other, one):
        y = L.RNN(cell, return_sequences=True)(y)
    keras.Model(x, y).save(tmp_path / "m.keras")
    with pytest.raises(kspike_ref.UnsupportedLayerError, match=r"'cell' have.*different names"):
        kspike_ref.load_model(tmp_path / "m.keras")


def test_legacy_files_hold_the_weights_of_each_holder(tmp_path):
    model, shape = wrapped_after()
    random_weights(model)
    model.save(tmp_path / "m.h5")
    x = normal(*shape)
    loaded = kspike_ref.load_model(tmp_path / "m.h5")
    np.testing.assert_allclose(loaded.predict(x), model(x), rtol=1e-5, atol=1e-6)


def test_applications_of_a_wrapped_model_are_told_apart(tmp_path):
    """One TimeDistributed or TimeFolded model, applied twice: all activities, in both packages."""
    inner = keras.Sequential([L.Input((4,)), L.Dense(4, "relu", name="d")], name="inner")
    for kind in (L.TimeDistributed, kspike_tf.TimeFolded):
        each = kind(inner, name="each")
        x = L.Input((5, 4))
        model = random_weights(keras.Model(x, L.Dense(2, name="end")(each(each(x)))))
        loaded = check(model, tmp_path, normal(3, 5, 4))
        given = normal(3, 5, 4)
        assert len(loaded.activity(given)) == len(loaded.nodes)
        ours, theirs = ModelEnergy(loaded, given), ModelEnergy(model, given)
        assert ours.total_energy("loihi") == pytest.approx(theirs.total_energy("loihi"), rel=1e-6)


def test_a_masked_model_applied_twice_has_all_its_activities(tmp_path):
    inner_in = L.Input((5, 4))
    inner = keras.Model(inner_in, L.SimpleRNN(4, return_sequences=True)(inner_in), name="inner")
    x, mask = L.Input((5, 4)), L.Input((5,), dtype="bool")
    model = keras.Model([x, mask], inner(inner(x, mask=mask), mask=mask))
    values = [normal(3, 5, 4), np.arange(15).reshape(3, 5) % 4 > 0]
    loaded = check(random_weights(model), tmp_path, values)
    assert len(loaded.activity(values)) == len(loaded.nodes)
