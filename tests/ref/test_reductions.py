"""Tests of reductions that need no Keras: memory and read-only inputs."""

import tracemalloc

import numpy as np
from archives import input_layer, layer, sequential
from unsaved import unsaved


def _argmax(shape, **options):
    item = {**layer("Argmax", "place", **options), "module": "keras.src.ops.numpy"}
    return unsaved(sequential(input_layer(*shape), item))


def test_argmax_copies_no_input():
    """NumPy copies arrays that are read-only, and a run's inputs are."""
    model, x = _argmax((600, 500), axis=-1), np.zeros((4, 600, 500), np.float32)
    x[:, 7, 9] = [1, 2, np.nan, np.inf]
    model.predict(x)
    tracemalloc.start()
    try:
        y = model.predict(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(y, np.argmax(x, axis=-1))
    assert y.dtype == np.int32
    assert peak < x.nbytes / 4


def test_argmax_of_a_read_only_file(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.normal(size=(30, 4, 5)).astype(np.float32))
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    np.testing.assert_array_equal(_argmax((4, 5), axis=-1).predict(x), np.argmax(x, -1))
