"""Tests of rates that are measured batch by batch."""

import keras
import numpy as np
import pytest

from kspike_energy import ModelEnergy
from kspike_energy.measuring.batches import batches


class Watch(keras.layers.Layer):
    """Layer that records how many examples arrive at once."""

    seen: list[int]

    def call(self, x):
        if isinstance(x.shape[0], int):
            self.seen.append(x.shape[0])
        return x

    def compute_output_shape(self, shape):
        return shape


@pytest.fixture
def model():
    ModelEnergy.register_layer(Watch)(lambda node: {})
    watch = Watch(name="watch")
    watch.seen = []
    model = keras.Sequential([keras.Input((4,)), watch, keras.layers.Dense(3)])
    watch.seen.clear()
    return model


def rate(energy):
    return energy.network.layers[-1].rate(0.001)


def test_the_model_never_runs_on_more_than_one_batch(model, rng):
    data = rng.random((70, 4), dtype="float32")
    energy = ModelEnergy(model, data, batch_size=16)
    assert model.layers[0].seen == [16, 16, 16, 16, 6]
    assert rate(energy) == pytest.approx(data.mean(), rel=1e-6)


def test_data_that_does_not_fit_in_memory(model, tmp_path):
    path = tmp_path / "data.dat"
    data = np.memmap(path, dtype="float32", mode="w+", shape=(1000, 4))
    data[:] = np.arange(4)
    asked = []

    class Slow:
        """Stand-in for a file: it only returns slices."""

        shape, dtype = data.shape, data.dtype

        def __getitem__(self, part):
            asked.append(part)
            return data[part]

        def __len__(self):
            return len(data)

        def __array__(self, *args, **kwargs):
            raise AssertionError("the whole array was read")

    assert rate(ModelEnergy(model, data, batch_size=300)) == 1.5
    assert rate(ModelEnergy(model, Slow(), batch_size=300)) == 1.5
    assert asked == [slice(i, i + 300) for i in range(0, 1000, 300)]


def test_generators_and_data_sets(model, rng):
    parts = [rng.random((n, 4), dtype="float32") for n in (5, 3, 1)]
    wanted = pytest.approx(np.concatenate(parts).mean(), rel=1e-6)
    assert rate(ModelEnergy(model, (part for part in parts))) == wanted
    assert rate(ModelEnergy(model, ((part, part) for part in parts))) == wanted
    import tensorflow as tf

    data = tf.data.Dataset.from_generator(
        lambda: iter(parts), output_signature=tf.TensorSpec((None, 4), tf.float32)
    )
    assert rate(ModelEnergy(model, data)) == wanted
    assert rate(ModelEnergy(model, tf.constant(parts[0]))) == pytest.approx(parts[0].mean(), 1e-6)

    class Sequence(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return parts[index], parts[index]

    assert rate(ModelEnergy(model, Sequence())) == wanted


def test_lists_of_numbers(model):
    assert rate(ModelEnergy(model, [[0, 1, 2, 3], [0, 1, 2, 3]])) == 1.5


def two_inputs(**names):
    a, b = keras.Input((2,), name="a"), keras.Input((3,), name="b")
    x = keras.layers.Concatenate()([a, b])
    return keras.Model({"a": a, "b": b} if names.get("dictionary") else [a, b], x)


def test_several_inputs(rng):
    a, b = rng.random((5, 2)), rng.random((5, 3))
    for model, data in (
        (two_inputs(), [a, b]),
        (two_inputs(dictionary=True), {"a": a, "b": b}),
        (two_inputs(dictionary=True), {"b": b, "a": a}),
    ):
        energy = ModelEnergy(model, data, batch_size=2)
        rates = {layer.name: layer.rate(0.001) for layer in energy.network.layers}
        # 1e-6: the model casts to float32.
        assert rates["a"] == pytest.approx(a.mean(), rel=1e-6)
        assert rates["b"] == pytest.approx(b.mean(), rel=1e-6)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (np.ones((0, 4)), ValueError, r"example_data is empty.*Received: shape=\(0, 4\)"),
        (np.float64(3), ValueError, "example_data is empty"),
        (np.ones((5, 3)), ValueError, r"must have the shape \(None, 4\). Received: shape=\(5, 3\)"),
        (np.ones((5, 4, 1)), ValueError, r"must have the shape \(None, 4\)"),
        (np.ones((5, 4), dtype=complex), TypeError, "must hold real numbers. Received: dtype=comp"),
        (np.full((5, 4), None), TypeError, "must hold real numbers. Received: dtype=object"),
        ("data.npy", TypeError, "example_data must be arrays or batches. Received: 'data.npy'"),
        ([np.ones((5, 4)), np.ones((5, 4))], ValueError, "must hold 1 array. Received: 2"),
        (iter([]), ValueError, "example_data is empty"),
        (iter([np.ones((5, 3))]), ValueError, r"must have the shape \(None, 4\)"),
    ],
    ids=range(10),
)
def test_bad_data(model, data, error, message):
    with pytest.raises(error, match=message):
        ModelEnergy(model, data)


def test_bad_data_for_several_inputs():
    with pytest.raises(
        ValueError, match=r"must have the keys \['a', 'b'\]. Received: \['a', 'c'\]"
    ):
        ModelEnergy(two_inputs(dictionary=True), {"a": np.ones((5, 2)), "c": np.ones((5, 3))})
    with pytest.raises(ValueError, match=r"example_data\[1\] must have the shape \(None, 3\)"):
        ModelEnergy(two_inputs(), [np.ones((5, 2)), np.ones((5, 2))])
    with pytest.raises(ValueError, match=r"same number of examples. Received: \[4, 5\]"):
        ModelEnergy(two_inputs(), [np.ones((5, 2)), np.ones((4, 3))])


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batch_size_must_be_positive(model, batch_size):
    with pytest.raises(ValueError, match=r"batch_size must be at least 1. Received: batch_size="):
        ModelEnergy(model, batch_size=batch_size)
    with pytest.raises(TypeError, match=r"batch_size must be a whole number"):
        ModelEnergy(model, batch_size=1.5)


def test_nan_is_named(model):
    data = np.ones((5, 4))
    data[3, 2] = np.nan
    with pytest.raises(ValueError, match=r"the activity at the input of layer .* contains NaN"):
        ModelEnergy(model, data)


def test_shapes_that_change_from_batch_to_batch(rng):
    model = keras.Sequential([keras.Input((5, None)), keras.layers.GlobalAveragePooling1D()])
    with pytest.raises(ValueError, match=r"changes the shape of layer .* from batch to batch"):
        ModelEnergy(model, (rng.random((2, 5, n)) for n in (2, 3)))


def test_progress_on_request(model, rng, capsys):
    ModelEnergy(model, rng.random((70, 4)), batch_size=10, progress=True)
    shown = capsys.readouterr()
    assert "measuring rates" in shown.err + shown.out
    ModelEnergy(model, rng.random((70, 4)), batch_size=10)
    shown = capsys.readouterr()
    assert "measuring rates" not in shown.err + shown.out


def test_progress_without_tqdm(model, rng, capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    ModelEnergy(model, rng.random((70, 4)), batch_size=10, progress=True)
    assert "measuring rates: 7 batches" in capsys.readouterr().out


def test_text_goes_through_uncounted():
    assert next(batches(np.array([["a"], ["b"]]))).shape == (2, 1)
