"""Tests of low-rank adapters, 8-bit weights, categories, ConvLSTM, and normalised kernels."""

import keras
import numpy as np
import pytest
import versions
from agreement import check, check_mixes, check_streams, normal, random_weights, unary

import kspike_ref

L = keras.layers


def _adapted(layer):
    layer.enable_lora(2)
    return layer


@pytest.mark.parametrize(
    ("layer", "shape", "dtype"),
    [
        (lambda: L.Dense(4), (6,), "float32"),
        (lambda: L.EinsumDense("ab,bc->ac", 4), (6,), "float32"),
        (lambda: L.Conv1D(4, 2), (6, 3), "float32"),
        (lambda: L.Embedding(9, 4), (3,), "int32"),
    ],
)
def test_low_rank_adapters_are_saved_merged(layer, shape, dtype, tmp_path):
    layer = layer()
    model = unary(layer, *shape, dtype=dtype)
    layer.enable_lora(2)
    random_weights(model)
    x = normal(3, *shape) if dtype == "float32" else np.arange(9).reshape(3, 3).astype(dtype)
    check(model, tmp_path, x)


@pytest.mark.parametrize("activations", [True, False])
def test_int8(activations, tmp_path):
    """Inputs are rounded to 127 steps as well: the same steps, as the model defines them."""
    x, i = L.Input((None, 6)), L.Input((3,), dtype="int32")
    model = random_weights(
        keras.Model([x, i], [L.Dense(40, "relu")(x), L.Embedding(9, 4, mask_zero=True)(i)])
    )
    if activations:
        model.quantize("int8")
    elif hasattr(keras.quantizers, "Int8QuantizationConfig"):
        model.quantize(config=keras.quantizers.Int8QuantizationConfig(activation_quantizer=None))
    else:
        pytest.skip("this version of Keras rounds inputs always")
    check(model, tmp_path, [normal(5, 4, 6), np.arange(15).reshape(5, 3).astype("int32") % 9])


EQUATIONS = {
    "abc,cd->abd": ((5, 8), (None, 4), "d"),
    "abc,cde->abde": ((5, 8), (None, 2, 3), "de"),
    "abcd,cde->abe": ((5, 2, 4), (None, 6), "e"),
    "abc,bcd->abd": ((5, 8), (5, 4), None),
    "abc,cd->adb": ((5, 8), (4, 5), None),
    "abc,bd->acd": ((5, 8), (8, 4), "d"),
    "abcd,dce->abe": ((5, 2, 4), (None, 6), "e"),
}


@pytest.mark.parametrize("activations", [True, False])
@pytest.mark.parametrize("equation", EQUATIONS)
def test_int8_einsum(equation, activations, tmp_path):
    shape, made, bias = EQUATIONS[equation]
    layer = L.EinsumDense(equation, made, "tanh", bias_axes=bias)
    model = random_weights(keras.Sequential([L.Input(shape), layer]))
    if activations:
        model.quantize("int8")
    elif hasattr(keras.quantizers, "Int8QuantizationConfig"):
        model.quantize(config=keras.quantizers.Int8QuantizationConfig(activation_quantizer=None))
    else:
        pytest.skip("this version of Keras rounds inputs always")
    assert layer.kernel_scale.shape
    check(model, tmp_path, normal(5, *shape))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 8), (3, 4, 8)])
def test_int8_attention(shape, bias, tmp_path):
    """Keras itself cannot load these files: attention does not save that it is quantised."""
    x = L.Input(shape)
    model = keras.Model(x, L.MultiHeadAttention(2, 3, value_dim=4, use_bias=bias)(x, x))
    random_weights(model).quantize("int8")
    check(model, tmp_path, normal(3, *shape))


@pytest.mark.parametrize(
    "mode",
    [pytest.param("int4", marks=versions.since(3, 11, "has no weights of 4 bits")), "float8"],
)
def test_attention_in_other_ways_is_refused_by_name(mode, tmp_path):
    x = L.Input((5, 8))
    model = keras.Model(x, L.MultiHeadAttention(2, 3)(x, x))
    model.quantize(mode)
    model.save(tmp_path / "m.keras")
    with pytest.raises(
        kspike_ref.UnsupportedLayerError, match="query_dense with a quantisation other than int8"
    ):
        kspike_ref.load_model(tmp_path / "m.keras")


def test_int8_with_a_quantiser_of_another_kind(tmp_path):
    if not hasattr(keras.quantizers, "Int8QuantizationConfig"):
        pytest.skip("this version of Keras has one quantiser of inputs")
    model = keras.Sequential([L.Input((6,)), L.Dense(4)])
    quantizer = keras.quantizers.AbsMaxQuantizer(axis=-1, epsilon=0.5)
    config = keras.quantizers.Int8QuantizationConfig(activation_quantizer=quantizer)
    model.quantize(config=config)
    model.save(tmp_path / "m.keras")
    with pytest.raises(kspike_ref.UnsupportedLayerError, match="activation_quantizer"):
        kspike_ref.load_model(tmp_path / "m.keras")


def test_the_cost_of_an_int8_embedding_has_no_products(tmp_path):
    model = keras.Sequential([L.Input((3,), dtype="int32"), L.Embedding(9, 4)])
    model.quantize("int8")
    loaded = check(model, tmp_path, np.arange(15, dtype="int32").reshape(5, 3) % 9)
    assert loaded.cost((5, 3)).operations == 5 * 3 * (1 + 4)  # one for each element


def test_int8_streams(tmp_path):
    recurrent = L.SimpleRNN(3, return_sequences=True)
    model = keras.Sequential([L.Input((None, 6)), L.Dense(5), recurrent])
    model.quantize("int8")
    check_streams(check(model, tmp_path, normal(2, 4, 6)), normal(2, 4, 6))


@pytest.mark.parametrize(
    "mode",
    [pytest.param("int4", marks=versions.since(3, 11, "has no weights of 4 bits")), "float8"],
)
def test_other_quantisation_is_refused_by_name(mode, tmp_path):
    model = keras.Sequential([L.Input((6,)), L.Dense(4, name="d")])
    model.quantize(mode)
    model.save(tmp_path / "m.keras")
    with pytest.raises(kspike_ref.UnsupportedLayerError, match=f"d: weights quantised as {mode}"):
        kspike_ref.load_model(tmp_path / "m.keras")


def test_category_encoding(tmp_path):
    x = np.array([[0, 4, 4], [1, 2, 3], [2, 2, 2]], "int32")
    for mode in ("one_hot", "multi_hot", "count"):
        check(unary(L.CategoryEncoding(5, output_mode=mode), 3, dtype="int32"), tmp_path, x)
    check(unary(L.CategoryEncoding(5, output_mode="one_hot"), 1, dtype="int32"), tmp_path, x[:, :1])
    i, w = L.Input((3,), dtype="int32"), L.Input((3,))
    weighted = L.CategoryEncoding(5, output_mode="count")(i, count_weights=w)
    loaded = check(keras.Model([i, w], weighted), tmp_path, [x, normal(3, 3)])
    with pytest.raises(ValueError, match=r"'category_encoding.*: x must hold integers from 0 to 4"):
        loaded.predict([x + 1, normal(3, 3)])


@versions.since(3, 12, "gives bins as int64")
def test_discretization(tmp_path):
    adapted = L.Discretization(num_bins=4)
    adapted.adapt(np.arange(100.0))
    x = np.array([[-1.0, 0.0, 0.5], [1.0, 30.0, 99.0], [24.0, 49.0, 74.0]], "float32")
    check(unary(adapted, 3), tmp_path, x)
    for mode in ("int", "one_hot", "multi_hot", "count"):
        for dtype in ("float32", "int32"):
            layer = L.Discretization(bin_boundaries=[0.0, 1.0, 7.5], output_mode=mode)
            check(unary(layer, 3, dtype=dtype), tmp_path, x.astype(dtype))


@pytest.mark.parametrize(
    "options",
    [
        {}, {"num_oov_indices": 2}, {"mask_token": 0}, {"mask_token": 0, "num_oov_indices": 3},
        {"output_mode": "one_hot"}, {"output_mode": "multi_hot"}, {"output_mode": "count"},
        {"output_mode": "count", "mask_token": 0}, {"output_mode": "multi_hot", "mask_token": 0},
    ],
    ids=str,
)  # fmt: skip
def test_integer_lookup(options, tmp_path):
    x = np.array([[12, 36, 5], [42, 0, 1138], [-3, 7, 12]], "int64")
    layer = L.IntegerLookup(vocabulary=[12, 36, 1138, 42], **options)
    check(unary(layer, 3, dtype="int64"), tmp_path, x)


@pytest.mark.parametrize(
    ("rank", "options"),
    [
        (1, {"padding": "same"}),
        (2, {}),
        (2, {"strides": 2, "use_bias": False, "data_format": "channels_last"}),
        (2, {"return_state": True, "dilation_rate": 2}),
        (3, {"padding": "same"}),
    ],
)
def test_conv_lstm(rank, options, tmp_path):
    kind = getattr(L, f"ConvLSTM{rank}D")
    model = random_weights(unary(kind(3, 2, **options), 4, *[5] * rank, 2))
    check(model, tmp_path, normal(3, 4, *[5] * rank, 2))


def test_conv_lstm_streams_and_listens(tmp_path):
    x = L.Input((None, 5, 4, 2))
    model = random_weights(keras.Model(x, L.ConvLSTM2D(3, 2, return_sequences=True)(x)))
    check_streams(check(model, tmp_path, normal(3, 4, 5, 4, 2)), normal(3, 4, 5, 4, 2))
    mask = L.Input((4,), dtype="bool")
    x = L.Input((4, 5, 4, 2))
    model = random_weights(keras.Model([x, mask], L.ConvLSTM2D(3, 2)(x, mask=mask)))
    check(model, tmp_path, [normal(3, 4, 5, 4, 2), np.array([[1, 1, 0, 1]] * 3, bool)])


def test_spectral_normalization(tmp_path):
    for layer, shape in ((L.Dense(4, "relu"), (6,)), (L.Conv2D(3, 2), (5, 5, 2))):
        model = unary(L.SpectralNormalization(layer), *shape)
        model(normal(3, *shape), training=True)
        check(model, tmp_path, normal(3, *shape))


@pytest.mark.parametrize(
    ("groups", "axis", "options"),
    [(2, -1, {}), (-1, -1, {}), (4, -1, {"scale": False}), (1, 1, {}), (2, 2, {"center": False})],
)
def test_group_normalization(groups, axis, options, tmp_path):
    layer = L.GroupNormalization(groups, axis=axis, **options)
    check(random_weights(unary(layer, 6, 4, 4)), tmp_path, normal(3, 6, 4, 4))


def test_group_normalization_mixes_time(tmp_path):
    model = unary(L.GroupNormalization(2), None, 4)
    check_mixes(check(model, tmp_path, normal(2, 5, 4)))
