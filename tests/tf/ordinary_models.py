"""Weights and data for models that tests convert."""

import keras
import numpy as np

__all__ = ["assert_same_function", "data_for", "trained"]


def trained(model):
    """Give all weights of a model different values, batch normalisation's included; return it."""
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if "adapted" in variable.path:
            continue
        values = rng.normal(0.1, 0.4, variable.shape)
        if "variance" in variable.path or "gamma" in variable.path:
            values = rng.uniform(0.5, 1.5, variable.shape)
        variable.assign(values)
    return model


def data_for(model, examples=24):
    """Return inputs for a model, in its structure: from 0 to 1, or integers from 0 to 7."""
    rng = np.random.default_rng(1)
    inputs = model.inputs[0] if isinstance(model, keras.Sequential) else model.input

    def values(tensor):
        shape = (examples, *tensor.shape[1:])
        if "int" in tensor.dtype:
            return rng.integers(0, 8, shape).astype(tensor.dtype)
        return rng.uniform(0, 1, shape).astype("float32")

    return keras.tree.map_structure(values, inputs)


def assert_same_function(conversion, model, x):
    """Assert that a conversion with some 1e5 spikes per step computes the same as the model.

    Rates are then quantised to 1e-5 of the largest activations.
    """
    expected = keras.tree.flatten(model.predict(x, verbose=0))
    found = keras.tree.flatten(conversion.predict(x, 3, verbose=0))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-3 * np.abs(other).max())
