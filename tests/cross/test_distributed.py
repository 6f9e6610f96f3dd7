"""Models past one array: datasets of TensorFlow, and clusters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import kspike_ref

GOLDEN = Path(__file__).parents[1] / "golden" / "models"


@pytest.fixture(scope="module")
def model():
    return kspike_ref.load_model(GOLDEN / "spiking.keras")


def _x(examples, seed=0):
    return np.random.default_rng(seed).normal(size=(examples, 7, 4)).astype(np.float32)


@pytest.mark.parametrize("with_targets", [False, True])
def test_a_dataset_of_tensorflow_comes_batch_by_batch(model, with_targets):
    x = _x(23)
    dataset = tf.data.Dataset.from_tensor_slices((x, np.arange(23)) if with_targets else x)
    batches = dataset.batch(5).prefetch(2)
    wanted = model.predict(x)
    for given in (batches, batches.as_numpy_iterator(), iter(batches)):
        outputs = list(model.predict(given))
        assert [len(y) for y in outputs] == [5, 5, 5, 5, 3]
        assert np.concatenate(outputs).tobytes() == wanted.tobytes()
