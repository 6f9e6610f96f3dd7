"""Tests of kspike_ref's activations against those of Keras."""

import keras
import numpy as np
import pytest
import versions

from kspike_ref import activations

NAMES = sorted(set(dir(keras.activations)) - {"get", "serialize", "deserialize"})
NAMES = [name for name in NAMES if not name.startswith("_")]
PARAMETERS = {
    "celu": [{}, {"alpha": 0.3}],
    "elu": [{}, {"alpha": 0.3}],
    "gelu": [{}, {"approximate": True}],
    "glu": [{}, {"axis": 0}],
    "hard_shrink": [{}, {"threshold": 1.5}],
    "leaky_relu": [{}, {"negative_slope": 0.05}],
    "log_softmax": [{}, {"axis": 0}],
    "relu": [
        {},
        {"negative_slope": 0.1},
        {"max_value": 2.0},
        {"max_value": 6},
        {"threshold": 1.5},
        {"threshold": -1.0},
        {"negative_slope": 0.1, "threshold": 1.0},
        {"negative_slope": 0.3, "threshold": -1.0, "max_value": 2.0},
        {"negative_slope": 0.2, "max_value": 6},
    ],
    "soft_shrink": [{}, {"threshold": 1.5}],
    "softmax": [{}, {"axis": 0}],
    "sparsemax": [{}, {"axis": 0}],
    "squareplus": [{}, {"b": 0.5}],
    "threshold": [{"threshold": 0.3, "default_value": 2.0}],
}
CASES = [(name, parameters) for name in NAMES for parameters in PARAMETERS.get(name, [{}])]


@versions.whole_table
def test_every_name_of_keras_is_there():
    assert set(NAMES) == set(activations.ACTIVATIONS)


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_equals_keras(name, parameters):
    rng = np.random.default_rng(0)
    extremes = [-200, -100, -30, -1, -0.5, -0.0, 0, 0.5, 1, 3, 6, 30, 80, 1e-7, -1e-7, 1.5]
    x = np.concatenate([rng.normal(0, 4, 1984), extremes]).astype(np.float32).reshape(-1, 20)
    ours = activations.get(name)(x, **parameters)
    keras_ = keras.ops.convert_to_numpy(getattr(keras.activations, name)(x, **parameters))
    assert ours.dtype == keras_.dtype
    # A few roundings of float32 (6e-8), relative to each value or to 1.
    np.testing.assert_allclose(ours, keras_, rtol=1e-6, atol=1e-6)
