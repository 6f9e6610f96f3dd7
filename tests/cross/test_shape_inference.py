"""Tests that shape inference changes no layer, even if it needs more than the configuration."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops
from shape_inference import check_layers_stay

import kspike_ref


def _attention_with_masks():
    x, mask = keras.Input((4, 8)), keras.Input((4, 4), dtype="bool")
    y = L.MultiHeadAttention(2, 4)(x, x, attention_mask=mask, use_causal_mask=True)
    return keras.Model([x, mask], y)


def _attention_along_two_axes():
    x = keras.Input((3, 4, 8))
    return keras.Model(x, L.MultiHeadAttention(2, 4, attention_axes=(2,))(x, x))


def _grouped_attention():
    x = keras.Input((4, 8))
    return keras.Model(x, L.GroupQueryAttention(4, 4, 2)(x, x))


def _einsum():
    x, y = keras.Input((4, 8)), keras.Input((4, 3))
    constant = np.ones((5, 8), np.float32)
    z = ops.einsum("bij,kj->bik", x, constant)
    return keras.Model([x, y], [z, ops.einsum("kj,bij->bi", constant, x), y])


def _squeezed():
    x = keras.Input((1, 4, 1))
    return keras.Model(x, [ops.squeeze(x), ops.squeeze(x, axis=1)])


def _both_ways():
    x = keras.Input((4, 3))
    y = L.Masking()(x)
    return keras.Model(x, L.Bidirectional(L.GRU(2, return_sequences=True), merge_mode=None)(y))


MODELS = {
    make.__name__.strip("_").replace("_", " "): make
    for make in (
        _attention_with_masks,
        _attention_along_two_axes,
        _grouped_attention,
        _einsum,
        _squeezed,
        _both_ways,
    )
}


@pytest.mark.parametrize("name", MODELS)
def test_shape_inference_does_not_change_a_layer(name, tmp_path):
    model = MODELS[name]()
    model.save(tmp_path / "m.keras")
    loaded = kspike_ref.load_model(tmp_path / "m.keras")
    check_layers_stay(loaded)
    shapes = [(5, *tensor.shape[1:]) for tensor in model.inputs]
    cost = loaded.cost(shapes if len(shapes) > 1 else shapes[0])
    loaded.cost([(2, *shape[1:]) for shape in shapes] if len(shapes) > 1 else (2, *shapes[0][1:]))
    assert loaded.cost(shapes if len(shapes) > 1 else shapes[0]) == cost


def test_the_constants_of_an_einsum_count_as_operations(tmp_path):
    x = keras.Input((4, 8))
    found = []
    for rows in (5, 50):
        y = ops.einsum("kj,bij->bi", np.ones((rows, 8), np.float32), x)
        keras.Model(x, y).save(tmp_path / "m.keras")
        found.append(kspike_ref.load_model(tmp_path / "m.keras").cost((3, 4, 8)).operations)
    assert found[1] - found[0] == 3 * 4 * 8 * 45
