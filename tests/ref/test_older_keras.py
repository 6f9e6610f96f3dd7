"""Tests of details that older Keras 3 versions wrote differently, in files written by hand."""

import archives as a
import numpy as np

import kspike_ref


def _load(path, layers, inputs):
    last = layers[-1]["name"]
    config = a.functional(layers, [[name, 0, 0] for name in inputs], [[last, 0, 0]])
    a.archive(path, config, {})
    return kspike_ref.load_model(path)


def test_a_mask_of_nothing_for_each_input(tmp_path):
    """Keras 3.8 writes a None for each input of a Lambda layer."""
    kspike_ref.register_layer("product of two")(lambda pair: pair[0] * pair[1])
    product = a.applied(
        a.layer("Lambda", "product of two"),
        [[a.tensor("x"), a.tensor("y")]],
        mask=[None, None],
    )
    inputs = [a.applied(a.input_layer(3, name=name)) for name in "xy"]
    x, y = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("f4")
    loaded = _load(tmp_path / "m.keras", [*inputs, product], "xy")
    np.testing.assert_array_equal(loaded.predict([x, y]), x * y)


def test_former_arguments_of_threshold(tmp_path):
    operation = a.layer("Threshold", "t", "keras.src.ops.nn", threshold_value=0.5, value=-2.0)
    layers = [a.applied(a.input_layer(3, name="x")), a.applied(operation, [a.tensor("x")])]
    x = np.array([[0.0, 0.5, 0.75]], "f4")
    loaded = _load(tmp_path / "m.keras", layers, "x")
    np.testing.assert_array_equal(loaded.predict(x), [[-2.0, -2.0, 0.75]])
