"""Tests of the shape of filter weights, and of files with flat weights of alpha filters."""

import zipfile

import keras
import numpy as np
import pytest

import kspike_tf

UNITS = 2, 3
FLAT = [(6,), (6,), (1, 2, 3), (1, 2, 3), (6,), (6,), (6,), (6,)]


@pytest.fixture
def folder(golden):
    return golden / "flat_alpha"


@pytest.fixture
def answers(folder):
    with np.load(folder / "alpha.npz") as data:
        return data["x"], data["y"]


def new_model():
    """Return the model of the file, built with today's layers."""
    mean = kspike_tf.constraints.Mean()
    return keras.Sequential(
        [
            keras.Input((None, *UNITS)),
            kspike_tf.Alpha(0.1, dt=0.01, tau_constraint=mean),
            kspike_tf.Lowpass(0.05, dt=0.01),
            kspike_tf.Alpha(0.1, dt=0.01),
            keras.layers.Reshape((-1, 6)),
            keras.layers.RNN(kspike_tf.AlphaCell(6, 0.03, dt=0.01), return_sequences=True),
        ]
    )


@pytest.mark.parametrize("units", [(3,), (2, 3), (2, 3, 4)])
@pytest.mark.parametrize("name", ["Lowpass", "Alpha"])
def test_both_filters_have_weights_of_the_same_shape(name, units):
    taus = np.arange(1, 1 + np.prod(units)).reshape(units) / 100
    layer = getattr(kspike_tf, name)(taus)
    layer.build((None, None, *units))
    cell = getattr(kspike_tf, f"{name}Cell")(units, 0.1)
    cell.build((None, *units))
    for owner in (layer, cell):
        assert tuple(owner.tau.shape) == tuple(owner.initial_level.shape) == (1, *units)
    np.testing.assert_array_equal(np.asarray(layer.tau)[0], taus.astype(np.float32))


@pytest.mark.parametrize("name", ["Lowpass", "Alpha"])
def test_mean_shares_along_one_unit_axis_or_all(name):
    tau = keras.initializers.RandomUniform(0.01, 0.5, seed=0)
    for axis, kinds in ((-1, 1), (1, 4), (2, 3)):
        layer = getattr(kspike_tf, name)(tau, tau_constraint=kspike_tf.constraints.Mean(axis))
        layer.build((None, None, 3, 4))
        assert np.unique(layer.tau.constraint(layer.tau)).size == kinds


def test_an_old_file_gives_the_same_bits_and_goes_on_training(folder, answers, tmp_path):
    x, y = answers
    model = keras.models.load_model(folder / "alpha.keras")
    assert [tuple(weight.shape) for weight in model.weights] == FLAT
    # float64 inside, rounded once: the exponential of another machine may round differently
    np.testing.assert_allclose(model.predict(x, verbose=0), y, rtol=1e-6, atol=1e-5)
    momenta = model.optimizer.variables[2:]
    assert int(model.optimizer.iterations) == 3
    assert all(np.abs(momentum).max() > 0 for momentum in momenta[:2])
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "again.keras")
    again = keras.models.load_model(tmp_path / "again.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    assert [tuple(weight.shape) for weight in again.weights] == FLAT
    assert np.unique(again.layers[0].tau).size == 1  # its constraint holds


def test_old_weights_fit_new_models(folder, answers, tmp_path):
    x, _ = answers
    old, new = keras.models.load_model(folder / "alpha.keras"), new_model()
    with zipfile.ZipFile(folder / "alpha.keras") as archive:
        archive.extract("model.weights.h5", tmp_path)
    new.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(new.predict(x, verbose=0), old.predict(x, verbose=0))
    new.save(tmp_path / "new.keras")
    loaded = keras.models.load_model(tmp_path / "new.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), old.predict(x, verbose=0))
    for model in (new, loaded):
        shapes = [tuple(weight.shape) for weight in model.weights]
        assert shapes == [(1, *UNITS)] * 6 + [(1, 6)] * 2


def test_layers_and_cells_take_arrays_of_both_shapes(folder):
    old, new = keras.models.load_model(folder / "alpha.keras"), new_model()
    for one, other in ((old, new), (new, old)):
        for target, source in zip(one.layers, other.layers, strict=True):
            target = target.cell if isinstance(target, keras.layers.RNN) else target
            target.set_weights(source.get_weights())
        for mine, theirs in zip(one.weights, other.weights, strict=True):
            np.testing.assert_array_equal(np.ravel(mine), np.ravel(theirs))
    for wrong in ([np.ones(5), np.ones(6)], [np.ones((3, 2)), np.ones(6)], [np.ones(6)]):
        with pytest.raises(ValueError, match="weight"):
            new.layers[0].set_weights(wrong)


def test_a_layer_that_is_cloned_from_an_old_one_is_new(folder):
    layer = keras.models.load_model(folder / "alpha.keras").layers[0]
    clone = type(layer).from_config(layer.get_config())
    clone.build((None, None, *UNITS))
    assert tuple(clone.tau.shape) == (1, *UNITS)
