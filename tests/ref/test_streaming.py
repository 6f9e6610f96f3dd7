"""Tests of streaming: steps give the bits of one run, and a batch those of single examples."""

from __future__ import annotations

import numpy as np
import pytest
from archives import applied, dense, functional, input_layer, layer, sequential, tensor
from unsaved import unsaved

SPIKING = {"activation": "relu", "dt": 0.1, "seed": 3}


def _temporal(name, *, sequences):
    """Return a layer over time, by its class name."""
    if name.startswith("Global"):
        return layer(name, "temporal")
    if name == "SpikingActivation":
        return layer(name, "temporal", "kspike_tf", **SPIKING, return_sequences=sequences)
    if name in ("Lowpass", "Alpha"):
        return layer(name, "temporal", "kspike_tf", dt=0.1, return_sequences=sequences)
    options = {"go_backwards": True} if name == "backwards" else {}
    kind = "LSTM" if name in ("Bidirectional", "backwards") else name
    item = layer(kind, "temporal", units=2, return_sequences=sequences, **options)
    if name == "Bidirectional":
        return layer("Bidirectional", "temporal", layer=item, merge_mode="concat")
    return item


CARRY = [
    *[("GlobalAveragePooling1D", False), ("GlobalMaxPooling1D", False)],
    *[
        (name, sequences)
        for name in ("SpikingActivation", "Lowpass", "Alpha", "LSTM", "GRU", "SimpleRNN")
        for sequences in (False, True)
    ],
]
WITHIN = [*CARRY, ("Bidirectional", False), ("Bidirectional", True), ("backwards", True)]


def check(model, x, steps=None):
    """Compare one run with its steps, and with its examples one by one.

    If the model takes inputs of any length, an output without a time axis is compared with a run
    over the steps so far.
    """
    x = x if isinstance(x, list) else [x]
    whole = _list(model.predict(x))
    for i in range(len(x[0])):
        alone = _list(model.predict([a[i : i + 1] for a in x]))
        for one, y in zip(alone, whole, strict=True):
            np.testing.assert_array_equal(one, y[i : i + 1])
    timed = model._engine.inputs.timed
    entries = [node.output_shapes[0] for node in model.nodes if not node.inputs]
    is_open = steps is None and all(s[1] is None for s, k in zip(entries, timed, strict=True) if k)
    steps = steps or next(a.shape[1] for a, k in zip(x, timed, strict=True) if k)
    state = model.initial_state(len(x[0]))
    for t in range(steps):
        step = [a[:, t] if k else a for a, k in zip(x, timed, strict=True)]
        outputs, state = model.step(step, state)
        first = [a[:, : t + 1] if k else a for a, k in zip(x, timed, strict=True)]
        so_far = _list(model.predict(first)) if is_open else whole
        ends = model._engine.stream.outputs
        for y, y_so_far, y_all, is_timed in zip(_list(outputs), so_far, whole, ends, strict=True):
            if is_timed:
                np.testing.assert_array_equal(y, y_all[:, t])
            elif is_open or t == steps - 1:
                np.testing.assert_array_equal(y, y_so_far)


def _list(outputs):
    return outputs if isinstance(outputs, list) else [outputs]


def _x(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _each(inner, *shape, name="each"):
    """Return TimeDistributed(Sequential(inner)): a model at each time step."""
    model = sequential(input_layer(*shape), *inner, name=f"{name}_model")
    return layer("TimeDistributed", name, layer=model)


@pytest.mark.parametrize(("name", "sequences"), CARRY)
def test_layers_carry_their_state(name, sequences):
    check(
        unsaved(sequential(input_layer(None, 3), _temporal(name, sequences=sequences))), _x(3, 7, 3)
    )


@pytest.mark.parametrize(("name", "sequences"), WITHIN)
def test_a_model_at_each_step_starts_anew(name, sequences):
    inner = [_temporal(name, sequences=sequences)]
    model = unsaved(sequential(input_layer(None, 5, 3), _each(inner, 5, 3)))
    check(model, _x(3, 4, 5, 3))


@pytest.mark.parametrize(("name", "sequences"), WITHIN)
def test_a_model_at_each_step_of_a_model_at_each_step(name, sequences):
    inner = _each([_temporal(name, sequences=sequences)], 5, 3, name="inner")
    model = unsaved(sequential(input_layer(None, 2, 5, 3), _each([inner], 2, 5, 3)))
    check(model, _x(3, 4, 2, 5, 3))


@pytest.mark.parametrize(("name", "sequences"), WITHIN)
def test_a_layer_at_each_step_starts_anew(name, sequences):
    each = layer("TimeDistributed", "each", layer=_temporal(name, sequences=sequences))
    check(unsaved(sequential(input_layer(None, 5, 3), each)), _x(3, 4, 5, 3))
    twice = layer("TimeDistributed", "twice", layer=each)
    check(unsaved(sequential(input_layer(None, 2, 5, 3), twice)), _x(3, 4, 2, 5, 3))


@pytest.mark.parametrize(("name", "sequences"), CARRY)
def test_a_state_goes_through_a_model_at_each_step(name, sequences):
    """The inner layer carries nothing; the same kind of layer after it carries its state."""
    inner = [_temporal("LSTM", sequences=True), layer("Flatten", "flat"), dense("small", 3)]
    model = unsaved(
        sequential(
            input_layer(None, 5, 3), _each(inner, 5, 3), _temporal(name, sequences=sequences)
        )
    )
    check(model, _x(3, 6, 5, 3))


@pytest.mark.parametrize(
    "inner",
    [
        [layer("Flatten", "flat"), dense("d", 2)],
        [layer("Conv1D", "conv", filters=2, kernel_size=[3], strides=[1], padding="same")],
        [layer("MaxPooling1D", "pool", pool_size=[2], strides=[2], padding="valid")],
        [layer("Masking", "mask", mask_value=0.0), _temporal("GRU", sequences=True)],
        [layer("Permute", "turn", dims=[2, 1]), _temporal("Lowpass", sequences=True)],
    ],
)
def test_what_mixes_an_axis_within_a_step_streams(inner):
    x = _x(3, 4, 5, 3)
    x[1, :, 2:4] = 0
    check(unsaved(sequential(input_layer(None, 5, 3), _each(inner, 5, 3))), x)


@pytest.mark.parametrize("mask", ["Masking", None])
@pytest.mark.parametrize(("name", "sequences"), [c for c in CARRY if c[0] != "GlobalMaxPooling1D"])
def test_nested_models_stream(name, sequences, mask):
    masking = [layer("Masking", "mask", mask_value=0.0)] if mask else []
    nested = sequential(
        input_layer(None, 3), *masking, _temporal(name, sequences=sequences), name="nested"
    )
    x = _x(3, 6, 3)
    x[0, 2] = x[2, 4:] = 0
    check(unsaved(sequential(input_layer(None, 3), dense("first", 3), nested)), x)


def test_an_autoencoder_decodes_anew_at_each_step():
    model = unsaved(
        sequential(
            input_layer(None, 3),
            layer("LSTM", "encoder", units=2),
            layer("RepeatVector", "repeat", n=4),
            layer("LSTM", "decoder", units=3, return_sequences=True),
        )
    )
    check(model, _x(3, 6, 3))


def test_a_repeated_vector_has_a_time_axis():
    model = unsaved(
        sequential(
            input_layer(4),
            dense("first", 3),
            layer("RepeatVector", "repeat", n=6),
            layer("SpikingActivation", "spikes", "kspike_tf", **SPIKING),
            layer("Lowpass", "low", "kspike_tf", dt=0.1),
            dense("last", 2),
        )
    )
    check(model, 5 * _x(3, 4), steps=6)


@pytest.mark.parametrize(
    ("length", "target"),
    [(None, [-1, 6]), (10, [-1, 6]), (10, [10, 6]), (10, [10, -1]), (10, None)],
)
def test_pixels_of_each_step_in_a_row(length, target):
    """As a layer, and as an operation of keras.ops."""
    reshape = layer("Reshape", "row", target_shape=target)
    if target is None:
        reshape = layer("Reshape", "row", newshape=[-1, 10, 6])
        reshape["module"] = "keras.src.ops.numpy"
    config = functional(
        [
            applied(input_layer(length, 2, 3)),
            applied(reshape, [tensor("input")]),
            applied(dense("d", 4, "relu"), [tensor("row")]),
            applied(layer("SpikingActivation", "spikes", "kspike_tf", **SPIKING), [tensor("d")]),
        ],
        ["input", 0, 0],
        ["spikes", 0, 0],
    )
    model = unsaved(config)
    x = 9 * _x(3, 10, 2, 3)
    check(model, x)
    still = model.predict(x[:, 0], timesteps=10)
    np.testing.assert_array_equal(still, model.predict(np.repeat(x[:, :1], 10, axis=1)))
    if length == 10:
        with pytest.raises(ValueError, match=r"the number of time steps of 'input'\. Received: 3"):
            model.predict(x[:, 0], timesteps=3)


def test_states_beside_outputs():
    config = functional(
        [
            applied(input_layer(None, 3)),
            applied(
                layer("LSTM", "rnn", units=2, return_sequences=True, return_state=True),
                [tensor("input")],
            ),
            applied(dense("d", 2), [tensor("rnn", 0, 2)]),
        ],
        ["input", 0, 0],
        [["rnn", 0, 0], ["rnn", 0, 1], ["d", 0, 0]],
    )
    check(unsaved(config), _x(3, 5, 3))


def test_two_time_axes_that_nothing_combines():
    config = functional(
        [
            applied(input_layer(None, 3, name="a")),
            applied(input_layer(None, 2, name="b")),
            applied(layer("LSTM", "one", units=2), [tensor("a")]),
            applied(layer("GRU", "other", units=2), [tensor("b")]),
            applied(layer("Add", "sum"), [[tensor("one"), tensor("other")]]),
        ],
        [["a", 0, 0], ["b", 0, 0]],
        ["sum", 0, 0],
    )
    model = unsaved(config)
    check(model, [_x(3, 5, 3), _x(3, 5, 2)])
    assert model.predict([_x(3, 5, 3), _x(3, 9, 2)]).shape == (3, 2)  # as in Keras


def test_a_mask_that_the_model_is_called_with():
    config = functional(
        [
            applied(input_layer(None, 3, name="a")),
            applied(layer("InputLayer", "m", batch_shape=[None, None], dtype="bool")),
            applied(layer("LSTM", "rnn", units=2), [tensor("a")], mask=tensor("m")),
        ],
        [["a", 0, 0], ["m", 0, 0]],
        ["rnn", 0, 0],
    )
    model = unsaved(config)
    mask = np.random.default_rng(1).random((3, 6)) < 0.6
    check(model, [_x(3, 6, 3), mask])
    with pytest.raises(ValueError, match=r"number of time steps\. Received: 6 at 'a', 5 at 'm'"):
        model.predict([_x(3, 6, 3), mask[:, :5]])


def _refused(config, match):
    model = unsaved(config)
    with pytest.raises(ValueError, match=match):
        model.initial_state(2)


def test_what_combines_a_step_with_the_steps_so_far_is_refused():
    """In one run, each step is combined with the mean over all steps, including later ones."""
    config = functional(
        [
            applied(input_layer(5, 3)),
            applied(layer("LSTM", "rnn", units=3, return_sequences=True), [tensor("input")]),
            applied(layer("GlobalAveragePooling1D", "mean"), [tensor("rnn")]),
            applied(layer("RepeatVector", "repeat", n=5), [tensor("mean")]),
            applied(layer("Add", "sum"), [[tensor("rnn"), tensor("repeat")]]),
        ],
        ["input", 0, 0],
        ["sum", 0, 0],
    )
    _refused(config, r"'sum' \(Add\) combines single time steps with other tensors")


def test_a_static_vector_beside_single_steps():
    """The vector is repeated for every step of the input, so all steps see the same values."""
    config = functional(
        [
            applied(input_layer(5, 3, name="a")),
            applied(input_layer(3, name="b")),
            applied(layer("RepeatVector", "repeat", n=5), [tensor("b")]),
            applied(layer("Add", "sum"), [[tensor("a"), tensor("repeat")]]),
            applied(layer("LSTM", "rnn", units=2, return_sequences=True), [tensor("sum")]),
        ],
        [["a", 0, 0], ["b", 0, 0]],
        ["rnn", 0, 0],
    )
    check(unsaved(config), [_x(3, 5, 3), _x(3, 3)])


@pytest.mark.parametrize(
    ("item", "match"),
    [
        (_temporal("Bidirectional", sequences=True), r"'temporal' \(Bidirectional\) mixes time"),
        (_temporal("backwards", sequences=True), r"'temporal' \(LSTM\) mixes time steps"),
        (layer("Conv1D", "c", filters=2, kernel_size=[3], padding="same"), r"'c' \(Conv1D\) mix"),
        (
            layer("EinsumDense", "e", equation="abc,cd->abd", output_shape=[5, 2], bias_axes="bd"),
            r"'e' \(EinsumDense\) mixes time steps",
        ),
        (layer("Permute", "p", dims=[2, 1]), r"'p' \(Permute\) mixes time steps"),
        (
            layer("SpikingActivation", "s", "kspike_tf", **SPIKING, time_major=True),
            r"'s' \(SpikingActivation\) takes time as the first axis",
        ),
    ],
)  # fmt: skip
def test_what_mixes_time_steps_is_refused(item, match):
    """This includes a separate bias for each time step."""
    low = layer("Lowpass", "low", "kspike_tf")
    _refused(sequential(input_layer(5, 3), low, item), match)


@pytest.mark.parametrize("name", ["SpikingActivation", "Lowpass", "GRU"])
@pytest.mark.parametrize("around", ["Pipeline", "SpectralNormalization"])
def test_a_layer_that_carries_a_state_within_another_one(around, name):
    """The outer layer runs over all steps; it must not pass for one that treats them separately."""
    inner = _temporal(name, sequences=True)
    options = {"layers": [inner]} if around == "Pipeline" else {"layer": inner}
    model = unsaved(sequential(input_layer(None, 3), layer(around, "outer", **options)))
    with pytest.raises(ValueError, match=r"layer 'outer' .* mixes time steps"):
        model.initial_state(1)
    still = _x(2, 3)
    repeated = np.repeat(still[:, None], 6, axis=1)
    expected = unsaved(sequential(input_layer(None, 3), inner)).predict(repeated)
    assert (expected[:, 0] != expected[:, -1]).any()
    np.testing.assert_array_equal(model.predict(repeated), expected)
    if model._engine.inputs.timed[0]:
        np.testing.assert_array_equal(model.predict(still, timesteps=6), expected)


def test_states_of_unknown_sizes_are_refused():
    conv = layer("ConvLSTM1D", "c", filters=2, kernel_size=[3], padding="same", strides=[1])
    model = unsaved(sequential(input_layer(None, None, 2), conv))
    with pytest.raises(ValueError, match="'c' needs known input lengths"):
        model.initial_state(1)


def test_scales_along_the_channels_first_axis_are_refused():
    low = layer("Lowpass", "low", "kspike_tf")
    scale = layer("Rescaling", "r", scale=[1, 2, 3, 4, 5], offset=0.0, data_format="channels_first")
    _refused(sequential(input_layer(5, 3, 2), low, scale), r"'r' \(Rescaling\) mixes time steps")


def test_time_axes_of_several_lengths_are_refused():
    config = functional(
        [
            applied(input_layer(5, 3, name="a")),
            applied(input_layer(7, 3, name="b")),
            applied(layer("LSTM", "one", units=2), [tensor("a")]),
            applied(layer("LSTM", "other", units=2), [tensor("b")]),
        ],
        [["a", 0, 0], ["b", 0, 0]],
        [["one", 0, 0], ["other", 0, 0]],
    )
    _refused(config, r"time axes of several lengths \(5 at 'a', 7 at 'b'\)")


@pytest.mark.parametrize("sequences", [False, True])
def test_convolutions_over_time(sequences):
    conv = layer(
        "ConvLSTM2D", "conv", filters=2, kernel_size=[3, 3], strides=[1, 1], padding="same",
        return_sequences=sequences,
    )  # fmt: skip
    check(unsaved(sequential(input_layer(None, 4, 3, 2), conv)), _x(3, 5, 4, 3, 2))
    inner = _each([conv], 2, 4, 3, 2)
    check(unsaved(sequential(input_layer(None, 2, 4, 3, 2), inner)), _x(3, 4, 2, 4, 3, 2))


def _attending(*shape):
    heads = layer("MultiHeadAttention", "heads", num_heads=2, key_dim=3, value_dim=3, dropout=0.0)
    return functional(
        [
            applied(input_layer(*shape)),
            applied(heads, [tensor("input"), tensor("input")]),
        ],
        ["input", 0, 0],
        ["heads", 0, 0],
        name="attending",
    )


def test_attention_over_time_is_refused_and_within_a_step_streams():
    _refused(
        sequential(input_layer(None, 4), layer("Lowpass", "low", "kspike_tf"), _attending(None, 4)),
        r"heads' \(MultiHeadAttention\) mixes time steps",
    )
    each = layer("TimeDistributed", "each", layer=_attending(5, 4))
    check(unsaved(sequential(input_layer(None, 5, 4), each)), _x(3, 4, 5, 4))


@pytest.mark.parametrize(
    ("name", "time", "units"),
    [
        ("Cumsum", {"axis": 1}, {"axis": 2}),
        ("Flip", {"axis": [1]}, {"axis": [2]}),
        ("Roll", {"axis": 1, "shift": 1}, {"axis": 2, "shift": 1}),
        ("Sort", {"axis": 1}, {"axis": 3}),
        ("Repeat", {"axis": 1, "repeats": 2}, {"axis": 2, "repeats": 2}),
        ("Mean", {"axis": [1]}, {"axis": [2]}),
        ("Swapaxes", {"axis1": 1, "axis2": 2}, {"axis1": 2, "axis2": 3}),
        ("Std", {"axis": [1]}, {"axis": [3]}),
        ("Argmax", {"axis": 1}, {"axis": 2}),
    ],
)
def test_operations_along_time_are_refused_and_along_units_stream(name, time, units):
    def model(options):
        operation = {**layer(name, "op", **options), "module": "keras.src.ops.numpy"}
        return functional(
            [
                applied(input_layer(None, 3, 3)),
                applied(layer("Lowpass", "low", "kspike_tf", dt=0.1), [tensor("input")]),
                applied(operation, [tensor("low")]),
            ],
            ["input", 0, 0],
            ["op", 0, 0],
        )

    _refused(model(time), r"'op' \(\w+\) mixes time steps")
    check(unsaved(model(units)), _x(2, 4, 3, 3))
