"""Checks of a whole model in both packages: values, types, batches, streaming."""

import keras
import numpy as np
import pytest

import kspike_ref

# Float32 sums of a few hundred terms in another order differ by about 1e-6 of the largest output.
TOLERANCE = 1e-5


def leaves(value):
    return [np.asarray(one) for one in keras.tree.flatten(value)]


def answers(model, x):
    """Return Keras' answers; of `predict` for image layers, which keep integers in eager calls."""
    modules = [type(each).__module__ for each in model._flatten_layers()]
    has_images = any(".image_preprocessing." in each for each in modules)
    return model.predict_on_batch(x) if has_images else model(x, training=False)


def check(model, folder, x, tolerance=TOLERANCE, independent=True):
    """Save and load a model and compare it with Keras; return the loaded model.

    Integers and bools must be equal, floats within ``tolerance`` times the largest one. If examples
    are ``independent``, each must have the same bits alone as in a batch.
    """
    path = folder / "model.keras"
    model.save(path)
    loaded = kspike_ref.load_model(path)
    theirs = leaves(answers(model, x))
    ours = leaves(loaded.predict(x))
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        assert_close(one, other, tolerance)
    shapes = [shape for node in loaded.nodes for shape in node.output_shapes]
    assert all(shape[0] is None for shape in shapes)
    if independent:
        alone = leaves(loaded.predict(x, batch_size=1))
        for one, other in zip(alone, ours, strict=True):
            np.testing.assert_array_equal(one, other)
    return loaded


def assert_close(ours, theirs, tolerance):
    if theirs.dtype.kind in "biu":
        np.testing.assert_array_equal(ours, theirs)
        return
    scale = np.abs(theirs[np.isfinite(theirs)]).max(initial=0)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * scale)


def unary(layer, *shape, dtype="float32"):
    """Return a model of one layer."""
    x = keras.Input(shape, dtype=dtype)
    return keras.Model(x, layer(x))


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def random_weights(model, seed=0):
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if "float" in str(weight.dtype):
            weight.assign(rng.normal(0, 0.5, weight.shape))
    return model


def check_streams(loaded, x):
    """Run step by step, and compare with one whole run bit for bit."""
    whole = leaves(loaded.predict(x))
    state = loaded.initial_state(len(x))
    for t in range(x.shape[1]):
        y, state = loaded.step(x[:, t], state)
        for one, other in zip(leaves(y), whole, strict=True):
            np.testing.assert_array_equal(one, other[:, t])


def check_mixes(loaded, batch=2):
    with pytest.raises(ValueError, match="mixes time steps"):
        loaded.initial_state(batch)
