"""Tests of attention layers, with masks that tensors carry and masks passed as arguments."""

import keras
import numpy as np
import pytest
import versions
from agreement import assert_close, check, check_mixes, check_streams, normal, random_weights

import kspike_ref
from kspike_energy import ModelEnergy

L = keras.layers


def tokens(batch=3, steps=6, seed=0):
    """Return integers with some trailing zeros; one example is all zeros."""
    x = np.random.default_rng(seed).integers(1, 9, (batch, steps))
    for i, length in enumerate((steps, steps - 2, 0)[:batch]):
        x[i, length:] = 0
    return x.astype("int32")


HEADS = [
    (L.MultiHeadAttention, {"num_heads": 2, "key_dim": 3}),
    (L.MultiHeadAttention, {"num_heads": 2, "key_dim": 3, "value_dim": 5, "output_shape": 7}),
    (L.MultiHeadAttention, {"num_heads": 3, "key_dim": 2, "use_bias": False, "dropout": 0.1}),
    (L.GroupQueryAttention, {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2}),
]
CALLS = [{}, {"use_causal_mask": True}, {"return_attention_scores": True}]


def test_no_examples(tmp_path):
    x, y = L.Input((None, 4)), L.Input((None, 3))
    model = keras.Model([x, y], L.MultiHeadAttention(num_heads=2, key_dim=3)(x, y))
    model.save(tmp_path / "m.keras")
    loaded = kspike_ref.load_model(tmp_path / "m.keras")
    assert loaded.predict([normal(0, 6, 4), normal(0, 5, 3)]).shape == (0, 6, 4)


@pytest.mark.parametrize("options", CALLS, ids=str)
@pytest.mark.parametrize(("kind", "arguments"), HEADS)
def test_heads(kind, arguments, options, tmp_path):
    width = 3 if kind is L.MultiHeadAttention else 4
    x, y = L.Input((None, 4)), L.Input((None, width))
    model = random_weights(keras.Model([x, y], kind(**arguments)(x, y, **options)))
    check_mixes(check(model, tmp_path, [normal(3, 6, 4), normal(3, 5, width)]))


@pytest.mark.parametrize("options", CALLS, ids=str)
@pytest.mark.parametrize(("kind", "arguments"), [HEADS[0], HEADS[3]])
def test_heads_without_examples(kind, arguments, options, tmp_path):
    x = L.Input((5, 4))
    y = keras.tree.flatten(kind(**arguments)(x, x, **options))
    keras.Model(x, y).save(tmp_path / "m.keras")
    made = kspike_ref.load_model(tmp_path / "m.keras").predict(np.ones((0, 5, 4), "f4"))
    made = made if isinstance(made, list) else [made]
    assert [one.shape for one in made] == [(0, *tensor.shape[1:]) for tensor in y]


@versions.since(3, 10, "gives values, not zeros, where everything is masked")
@pytest.mark.parametrize("options", CALLS, ids=str)
@pytest.mark.parametrize(("kind", "arguments"), [HEADS[0], HEADS[2], HEADS[3]])
def test_heads_listen_to_masks(kind, arguments, options, tmp_path):
    """The mask reaches the last layer; one example is masked everywhere."""
    x = L.Input((6,), dtype="int32")
    embedded, other, third = (L.Embedding(9, 4, mask_zero=True)(x) for _ in range(3))
    plain = L.Embedding(9, 4)(x)
    allowed = L.Input((6, 6), dtype="bool")
    both = kind(**arguments)(embedded, embedded, **options)
    first = keras.tree.flatten(both)[0]
    outputs = [both, L.LSTM(3)(first)]
    outputs.append(kind(**arguments)(query=plain, value=other, key=plain, **options))
    outputs.append(kind(**arguments)(third, plain, attention_mask=allowed, **options))
    model = random_weights(keras.Model([x, allowed], outputs))
    check(model, tmp_path, [tokens(), np.random.default_rng(1).random((3, 6, 6)) > 0.4])


def test_masks_that_heads_are_called_with(tmp_path):
    x, mask = L.Input((6, 4)), L.Input((6,), dtype="bool")
    for kind, arguments in (HEADS[0], HEADS[3]):
        outputs = [
            kind(**arguments)(x, x, **{f"{name}_mask": mask}) for name in ("query", "value", "key")
        ]
        model = random_weights(keras.Model([x, mask], outputs))
        check(model, tmp_path, [normal(3, 6, 4), tokens() > 0])


@pytest.mark.parametrize("axes", [(1,), (2,), (1, 2), (2, 1), None])
def test_attention_axes(axes, tmp_path):
    x, y = L.Input((5, 3, 4)), L.Input((5, 3, 2))
    layer = L.MultiHeadAttention(2, 3, attention_axes=axes)
    scored = L.MultiHeadAttention(2, 3, attention_axes=axes)
    outputs = [layer(x, y), *scored(x, y, return_attention_scores=True)]
    loaded = check(
        random_weights(keras.Model([x, y], outputs)),
        tmp_path,
        [normal(3, 5, 3, 4), normal(3, 5, 3, 2)],
    )
    assert loaded.layers[-1].pointwise((None, 5, 3, 4), (None, 5, 3, 2)) == (axes == (2,))


def test_attention_within_time_steps_streams(tmp_path):
    x = L.Input((None, 3, 4))
    y = L.MultiHeadAttention(2, 3, attention_axes=2)(x, x)
    model = random_weights(keras.Model(x, L.SimpleRNN(3, return_sequences=True)(
        L.TimeDistributed(L.Flatten())(y)
    )))  # fmt: skip
    values = normal(2, 5, 3, 4)
    check_streams(check(model, tmp_path, values), values)


def _has(kind, name):
    return name in kind(*(2, 3, 1)[: 2 + (kind is L.GroupQueryAttention)]).get_config()


@pytest.mark.parametrize("option", [{"use_gate": True}, {"sliding_window": 2}], ids=str)
def test_gates_and_windows(option, tmp_path):
    x = L.Input((6, 4))
    for kind, arguments in (HEADS[1], HEADS[3]):
        if not _has(kind, *option):
            pytest.skip(f"this version of Keras has no {', '.join(option)}")
        outputs = [kind(**arguments, **option)(x, x, **call) for call in CALLS]
        check(random_weights(keras.Model(x, outputs)), tmp_path, normal(3, 6, 4))


ONES = [
    (L.Attention, {}),
    (L.Attention, {"use_scale": True}),
    (L.Attention, {"score_mode": "concat"}),
    (L.Attention, {"score_mode": "concat", "use_scale": True}),
    (L.AdditiveAttention, {}),
    (L.AdditiveAttention, {"use_scale": False, "dropout": 0.2}),
]


@versions.since(3, 12, "fails for masked values in Attention")
@pytest.mark.parametrize(("kind", "arguments"), ONES)
def test_attention_without_projections(kind, arguments, tmp_path):
    x = L.Input((6,), dtype="int32")
    query = L.Embedding(9, 4, mask_zero=True)(x)
    value, key = L.Input((5, 3)), L.Input((5, 4))
    outputs = [kind(**arguments)([query, value, key], **options) for options in CALLS]
    masked = L.Embedding(9, 4, mask_zero=True)(x)
    outputs += [kind(**arguments)([query, masked], **options) for options in CALLS]
    outputs.append(L.LSTM(3)(kind(**arguments)(inputs=[masked, query])))
    model = random_weights(keras.Model([x, value, key], outputs))
    check(model, tmp_path, [tokens(), normal(3, 5, 3), normal(3, 5, 4)])


def test_masks_by_position_and_inputs_by_name(tmp_path):
    x, y, z = L.Input((6, 4)), L.Input((5, 3)), L.Input((5, 2))
    mask, allowed = L.Input((5,), dtype="bool"), L.Input((6, 5), dtype="bool")
    steps = L.Input((6,), dtype="bool")
    heads = [L.MultiHeadAttention(2, 3) for _ in range(3)]
    outputs = [
        heads[0](x, y, z, steps, mask, mask, allowed),
        heads[1](value=y, key=z, query=x, attention_mask=allowed),
        heads[2](x, y, None, steps, mask),
    ]
    model = random_weights(keras.Model([x, y, z, mask, allowed, steps], outputs))
    some = np.random.default_rng(1).random((3, 6, 5)) > 0.4
    values = [normal(3, 6, 4), normal(3, 5, 3), normal(3, 5, 2), tokens(steps=5) > 0, some]
    values.append(tokens() > 0)
    check(model, tmp_path, values)


@versions.since(3, 12, "fails for masked values in Attention")
def test_masks_that_attention_is_called_with(tmp_path):
    x, mask = L.Input((6, 4)), L.Input((6,), dtype="bool")
    outputs = [L.Attention()([x, x], mask=masks) for masks in ([mask, mask], [None, mask])]
    model = keras.Model([x, mask], outputs)
    check(model, tmp_path, [normal(3, 6, 4), tokens() > 0])


def test_heads_take_the_masks_from_their_inputs(tmp_path):
    """In Keras, a layer after MultiHeadAttention finds no mask on the tensor it was called with.

    So the mean over a residual connection counts all steps, and a second layer masks nothing.
    """
    x = L.Input((6,), dtype="int32")
    embedded = L.Embedding(9, 4, mask_zero=True)(x)
    y = L.MultiHeadAttention(2, 3)(embedded, embedded)
    residual = L.LayerNormalization()(L.Add()([embedded, y]))
    again = L.MultiHeadAttention(2, 3)(residual, embedded)
    outputs = [L.GlobalAveragePooling1D()(one) for one in (y, residual, again)]
    check(random_weights(keras.Model(x, outputs)), tmp_path, tokens())


def test_axes_that_are_heads_are_refused(tmp_path):
    x = L.Input((5, 3, 4))
    keras.Model(x, L.MultiHeadAttention(2, 3, attention_axes=-1)(x, x)).save(tmp_path / "m.keras")
    with pytest.raises(kspike_ref.UnsupportedLayerError, match="Keras attends to heads"):
        kspike_ref.load_model(tmp_path / "m.keras")


def test_float64(tmp_path):
    x = L.Input((6, 4), dtype="float64")
    layers = [kind(**arguments, dtype="float64") for kind, arguments in (HEADS[0], HEADS[3])]
    model = random_weights(keras.Model(x, [layer(x, x) for layer in layers]))
    check(model, tmp_path, normal(3, 6, 4).astype("float64"), tolerance=1e-13)


def test_a_shared_layer_has_its_weights_once(tmp_path):
    x, y = L.Input((6, 4)), L.Input((5, 4))
    layer = L.MultiHeadAttention(2, 3)
    model = random_weights(keras.Model([x, y], [layer(x, x), layer(x, y)]))
    check(model, tmp_path, [normal(3, 6, 4), normal(3, 5, 4)])


def test_energy_is_the_same_from_both_packages(tmp_path):
    x, allowed = L.Input((6, 4)), L.Input((6, 6), dtype="bool")
    y = L.MultiHeadAttention(2, 3, name="heads")(x, x, attention_mask=allowed)
    y = L.GroupQueryAttention(3, 4, 2, name="groups")(y, x)
    model = keras.Model([x, allowed], L.AdditiveAttention(name="one")([y, x]))
    model.save(tmp_path / "m.keras")
    loaded = kspike_ref.load_model(tmp_path / "m.keras")
    theirs, ours = ModelEnergy(model), ModelEnergy(loaded)
    assert ours.total_energy("cpu") == theirs.total_energy("cpu")


def test_a_query_that_may_see_nothing_looks_at_all_alike_in_fused_attention():
    """Worked out by hand: the mean of the values if Keras fuses, zero if it does not."""
    from kspike_ref.layers.attention_masks import masked_softmax

    scores, allowed = np.array([[1.0, 5.0]], np.float32), np.zeros((1, 2), bool)
    assert_close(masked_softmax(scores, allowed, True), np.full((1, 2), 0.5, np.float32), 0)
    assert_close(masked_softmax(scores, allowed, False), np.zeros((1, 2), np.float32), 0)


def test_the_cost_of_a_run_is_known_before(tmp_path):
    """The memory is an upper bound: what NumPy allocates in a run stays below it."""
    import tracemalloc

    x = L.Input((200, 8))
    y = L.MultiHeadAttention(2, 3)(x, x)
    y = L.Attention()([y, x])
    keras.Model(x, keras.ops.einsum("bti,bsi->bts", y, x)).save(tmp_path / "m.keras")
    loaded = kspike_ref.load_model(tmp_path / "m.keras")
    given = normal(4, 200, 8)
    loaded.predict(given)
    tracemalloc.start()
    loaded.predict(given, batch_size=4)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    cost = loaded.cost((4, 200, 8))
    scores = 4 * 200 * 200
    assert peak <= cost.bytes
    assert cost.operations >= scores * (2 * 6 + 16 + 8)
