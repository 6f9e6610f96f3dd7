"""Tests of the cost of every kind of Keras layer against counts worked out by hand."""

import inspect

import keras
import numpy as np
import pytest

import kspike_tf
from kspike_energy import ModelEnergy
from kspike_energy.counting.nodes import LayerSpec, Node, UndefinedShapeError
from kspike_energy.counting.rules import RULES, count
from kspike_energy.counting.rules.linear import einsum_fan_out

L = keras.layers

# These layers run the user's own code, so only the user can count them.
ANYTHING = {"Lambda", "JaxLayer", "FlaxLayer", "TFSMLayer", "TorchModuleWrapper"}
ABSTRACT = {"Layer", "Wrapper"}


def stats(layer, *shapes):
    """Return (connections, neurons, spiking) of a layer applied to inputs of these shapes."""
    inputs = [keras.Input(shape) for shape in shapes]
    layer(inputs if len(inputs) > 1 else inputs[0])
    counted = ModelEnergy.compute_layer_stats(layer)
    return counted["connections"], counted["neurons"], counted["spiking"]


def test_every_layer_of_keras_has_a_rule():
    names = {
        cls.__name__
        for _, cls in inspect.getmembers(keras.layers, inspect.isclass)
        if issubclass(cls, keras.layers.Layer)
    }
    assert names - set(RULES) == ANYTHING | ABSTRACT


def test_every_layer_and_cell_of_kspike_tf_has_a_rule():
    for name in ("SpikingActivation", "Lowpass", "Alpha"):
        for suffix in ("", "Cell"):
            cls = getattr(kspike_tf, name + suffix)
            assert keras.saving.get_registered_name(cls) in RULES


HAND = [
    # layer, input shapes, connections, unit updates, spiking
    (L.Dense(5, "relu"), [(7,)], 35, 5, False),
    (L.Dense(5), [(7,)], 35, 0, True),
    (L.EinsumDense("abc,cd->abd", (None, 5), activation="relu"), [(3, 4)], 60, 15, False),
    (L.Embedding(100, 8), [(6,)], 48, 0, True),
    (L.Activation("tanh"), [(3, 4)], 0, 12, False),
    (L.Activation("linear"), [(3, 4)], 0, 0, True),
    (L.PReLU(), [(4,)], 0, 4, False),
    (L.BatchNormalization(), [(4,)], 4, 0, True),  # there is no layer to fold it into
    (L.LayerNormalization(), [(4,)], 20, 0, False),
    (L.LayerNormalization(center=False, scale=False), [(4,)], 16, 0, False),
    (L.GroupNormalization(2), [(3, 4)], 60, 0, False),
    (L.UnitNormalization(), [(4,)], 8, 0, False),
    (L.Rescaling(0.5), [(4,)], 0, 0, True),
    (L.MaxPooling2D(2), [(4, 6, 3)], 72, 0, False),
    (L.AveragePooling1D(2), [(4, 3)], 12, 0, True),
    (L.GlobalMaxPooling1D(), [(4, 3)], 12, 0, False),
    (L.Add(), [(4,), (4,), (4,)], 12, 0, True),
    (L.Multiply(), [(4,), (4,)], 8, 0, False),
    (L.Maximum(), [(4,), (4,)], 8, 0, False),
    (L.Concatenate(), [(4,), (3,)], 0, 0, True),
    (L.Dot(1), [(4,), (4,)], 4, 0, False),
    (L.Dot((2, 2)), [(3, 4), (5, 4)], 60, 0, False),
    (L.UpSampling2D(2, interpolation="bilinear"), [(2, 2, 1)], 36, 0, True),
    (L.Resizing(4, 4), [(2, 2, 3)], 108, 0, True),
    (L.Flatten(), [(3, 4)], 0, 0, True),
    (L.Dropout(0.5), [(4,)], 0, 0, True),
    (L.RandomFlip(), [(4, 4, 1)], 0, 0, True),
    (L.SimpleRNN(4), [(None, 3)], 12 + 16, 4, False),
    (L.SimpleRNN(4, activation="linear"), [(None, 3)], 28, 0, True),
    (L.LSTM(4), [(None, 3)], 4 * (12 + 16) + 12, 20, False),
    (L.GRU(4), [(None, 3)], 3 * (12 + 16) + 12, 12, False),
    (L.RNN(L.GRUCell(4)), [(None, 3)], 3 * (12 + 16) + 12, 12, False),
    (L.RNN([L.SimpleRNNCell(4), L.SimpleRNNCell(2)]), [(5, 3)], 28 + 8 + 4, 6, False),
    (L.Bidirectional(L.LSTM(4)), [(None, 3)], 2 * 124, 40, False),
    (L.Bidirectional(L.SimpleRNN(4), merge_mode="sum"), [(None, 3)], 2 * 28 + 8, 8, False),
    (L.ConvLSTM1D(2, 3, padding="same"), [(None, 4, 1)], 10 * 8 + 20 * 8 + 24, 40, False),
    (L.TimeDistributed(L.Dense(5)), [(None, 3)], 15, 0, True),
    (L.TimeDistributed(L.Dense(5)), [(7, 3)], 15, 0, True),
    (L.SpectralNormalization(L.Dense(5)), [(3,)], 15, 0, True),
    (L.Pipeline([L.Dense(4), L.ReLU()]), [(4,)], 16, 4, False),
    (L.Attention(), [(3, 4), (5, 4)], 15 * 4 + 15 * 4, 15, False),
    (L.AdditiveAttention(), [(3, 4), (5, 4)], 2 * 15 * 4 + 15 * 4, 15 * 4 + 15, False),
    (
        L.GroupQueryAttention(head_dim=3, num_query_heads=4, num_key_value_heads=2),
        [(5, 6), (7, 6)],
        5 * 6 * 12 + 2 * (7 * 6 * 6) + 4 * 5 * 7 * (3 + 3) + 5 * 12 * 6,
        4 * 5 * 7,
        False,
    ),
    (L.Solarization(), [(4, 4, 3)], 0, 48, False),
    (kspike_tf.SpikingActivation("relu"), [(None, 6)], 0, 6, True),
    (kspike_tf.Lowpass(0.1), [(None, 6)], 0, 6, True),
    (kspike_tf.Alpha(0.1), [(None, 6)], 0, 12, True),
    (L.RNN(kspike_tf.LowpassCell(6, 0.1)), [(None, 6)], 0, 6, True),
]
if hasattr(L, "RMSNormalization"):  # Keras 3.9 and newer
    HAND.append((L.RMSNormalization(), [(4,)], 12, 0, False))
if hasattr(L, "AdaptiveMaxPooling1D"):  # Keras 3.12 and newer; bins of 3 and 3
    HAND.append((L.AdaptiveMaxPooling1D(2), [(5, 3)], 18, 0, False))


@pytest.mark.parametrize(
    ("layer", "shapes", "connections", "neurons", "spiking"),
    HAND,
    ids=[f"{type(case[0]).__name__}-{index}" for index, case in enumerate(HAND)],
)
def test_by_hand(layer, shapes, connections, neurons, spiking):
    if isinstance(layer, L.Attention | L.AdditiveAttention):
        inputs = [keras.Input(shape) for shape in shapes]
        layer(inputs)
    elif isinstance(layer, L.GroupQueryAttention):
        layer(keras.Input(shapes[0]), keras.Input(shapes[1]))
    elif isinstance(layer, L.Embedding):
        layer(keras.Input(shapes[0], dtype="int32"))
    else:
        assert stats(layer, *shapes) == (connections, neurons, spiking)
        return
    counted = ModelEnergy.compute_layer_stats(layer)
    assert tuple(counted.values()) == (connections, neurons, spiking)


def test_stft_counts_its_matrix_product():
    layer = L.STFTSpectrogram(frame_length=8, frame_step=4, fft_length=8)
    inp = keras.Input((20, 1))
    frames, bins = layer(inp).shape[1:3]
    assert ModelEnergy.compute_layer_stats(layer)["connections"] == frames * bins * 8 * 2


def test_mel_spectrogram_counts_two_matrix_products():
    layer = L.MelSpectrogram(num_mel_bins=5, fft_length=16, sequence_stride=8)
    inp = keras.Input((64,))
    frames = int(np.prod(layer(inp).shape[1:])) // 5
    wanted = frames * 9 * 16 * 2 + frames * 9 * 5
    assert ModelEnergy.compute_layer_stats(layer)["connections"] == wanted


def model_of(*layers, shape):
    return keras.Sequential([keras.Input(shape), *layers])


def test_batch_normalisation_folds_into_the_linear_layer_before_it():
    model = model_of(L.Conv2D(2, 3, name="conv"), L.BatchNormalization(), shape=(5, 5, 1))
    folded, separate = (
        ModelEnergy(model, normalization=choice).network.layers[-1].connections
        for choice in ("folded", "separate")
    )
    assert (folded, separate) == (0, 18)


def test_batch_normalisation_behind_a_nonlinearity_cannot_be_folded():
    model = model_of(L.Dense(4, "relu"), L.BatchNormalization(), shape=(3,))
    assert ModelEnergy(model).network.layers[-1].connections == 4


def test_constant_scaling_can_be_counted():
    model = model_of(L.Rescaling(0.5), L.Dense(2), shape=(4,))
    assert ModelEnergy(model, normalization="separate").network.layers[1].connections == 4


def test_embedding_fetches_one_row_an_index_whatever_the_index():
    model = keras.Sequential([keras.Input((6,), dtype="int32"), L.Embedding(100, 8)])
    energy = ModelEnergy(model, np.full((2, 6), 99))
    # 48 weights per presentation: never 48 · 99 Hz · dt, as if the index were a rate.
    assert energy.network.layers[1].synops(0.001) == pytest.approx(48)


def test_operations_in_a_functional_model(rng):
    ops = keras.ops
    a, b = keras.Input((4, 6)), keras.Input((6, 5))
    x = ops.matmul(a, b)  # (4, 5)
    x = ops.relu(x + 1.0)
    x = ops.reshape(x, (-1, 20))
    x = ops.matmul(x, rng.random((20, 3), dtype="float32"))
    x = ops.sum(ops.square(x), axis=-1)
    energy = ModelEnergy(keras.Model([a, b], x), [rng.random((2, 4, 6)), rng.random((2, 6, 5))])
    counted = {
        layer.name: (layer.connections, layer.neurons, layer.spiking)
        for layer in energy.network.layers[2:]
    }
    assert list(counted.values()) == [
        (4 * 6 * 5, 0, False),  # a product of two signals
        (20, 0, True),
        (0, 20, False),
        (0, 0, True),
        (60, 0, True),  # constant weights: a dense layer
        (0, 3, False),
        (3, 0, True),
    ]


def test_convolutions_as_operations_count_as_layers():
    ops = keras.ops
    inp = keras.Input((6, 7, 4))
    outs = [
        ops.conv(inp, np.ones((3, 2, 4, 6), "float32"), 2, "same"),
        ops.depthwise_conv(inp, np.ones((3, 3, 4, 2), "float32"), 1, "valid"),
        ops.conv_transpose(inp, np.ones((3, 3, 5, 4), "float32"), 2, "valid"),
        ops.average_pool(inp, 2, 2, "same"),
        ops.einsum("abcd,de->abce", inp, np.ones((4, 3), "float32")),
    ]
    layers = [
        L.Conv2D(6, (3, 2), 2, "same"),
        L.DepthwiseConv2D(3, depth_multiplier=2),
        L.Conv2DTranspose(5, 3, 2),
        L.AveragePooling2D(2, 2, "same"),
        L.Dense(3),
    ]
    counted = [row.connections for row in ModelEnergy(keras.Model(inp, outs)).network.layers[1:]]
    wanted = [stats(layer, (6, 7, 4))[0] for layer in layers]
    assert sorted(counted) == sorted(wanted)


def test_nested_models_are_opened_and_used_twice(rng):
    inner_in = keras.Input((4,))
    inner = keras.Model(inner_in, L.Dense(4, name="d")(inner_in), name="inner")
    inp = keras.Input((4,))
    model = keras.Model(inp, L.Dense(2, name="last")(inner(inner(inp))))
    energy = ModelEnergy(model, rng.random((3, 4)))
    names = [layer.name for layer in energy.network.layers]
    assert names[1:] == ["inner/d", "last"]
    assert energy.network.layers[1].connections == 32
    assert len(energy.network.layers[1].synapses) == 2
    assert energy.layer_energy(inner.layers[1], "cpu")[0] == pytest.approx(32 * 8.6e-9)


def test_a_nested_model_on_another_shape_than_it_was_built_for():
    inner = keras.Sequential([keras.Input((None, None, 3)), L.Conv2D(2, 3, name="c")], name="inner")
    inp = keras.Input((8, 6, 3))
    energy = ModelEnergy(keras.Model(inp, inner(inp)))
    assert energy.network.layers[1].connections == 6 * 4 * 9 * 3 * 2


def test_a_model_at_each_time_step(rng):
    inner = keras.Sequential([keras.Input((6, 6, 1)), L.Conv2D(2, 3, name="c"), L.Flatten()])
    inp = keras.Input((None, 6, 6, 1))
    x = L.TimeDistributed(inner, name="each")(inp)
    model = keras.Model(inp, L.LSTM(3)(x))
    data = rng.random((4, 5, 6, 6, 1))
    energy = ModelEnergy(model, data, batch_size=3)
    conv = energy.network.layers[1]
    assert conv.name == "each/c"
    assert conv.connections == 16 * 9 * 2
    assert conv.rate(0.001) == pytest.approx(data.mean(), rel=1e-5)  # float32 in the model


class Doubling(keras.layers.Layer):
    def call(self, x):
        return 2 * x

    def compute_output_shape(self, shape):
        return shape


class RenamedDense(keras.layers.Dense):
    """Layer that differs from Dense only in its name."""


class OtherDense(keras.layers.Dense):
    def call(self, x):
        return super().call(x) + super().call(-x)


class Dense(keras.layers.Layer):  # not Keras' own, despite its name
    def call(self, x):
        return x


def test_a_layer_that_nobody_registered_is_a_visible_gap():
    model = model_of(L.Dense(3), Doubling(name="twice"), L.Dense(2), shape=(4,))
    with pytest.warns(UserWarning, match=r"layer 'twice' \(Doubling\) has no rule.*this layer is"):
        energy = ModelEnergy(model)
    report = energy.summary_string()
    row = next(line for line in report.splitlines() if line.startswith("twice"))
    assert row.count("?") == 3  # connections, neurons, energy
    assert "(leaves out 1 layer)" in report
    assert "NOT COUNTED: layer 'twice'" in report
    assert energy.network.connections == 12 + 6
    with pytest.raises(ValueError, match=r"layer 'twice' cannot be estimated"):
        energy.layer_energy("twice", "cpu")


def test_statistics_of_a_layer_without_a_rule_are_zero():
    layer = Doubling(name="odd")
    layer(keras.Input((4,)))
    with pytest.warns(UserWarning, match=r"layer 'odd' .* has no rule.*; the layer is counted as"):
        found = ModelEnergy.compute_layer_stats(layer)
    assert (found["connections"], found["neurons"]) == (0, 0)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (2, r"'odd1'.*; these layers are left out of all totals$"),
        (6, r"'odd4'[^']*; and 1 more layer; these layers are left out of all totals$"),
        (7, r"'odd4'[^']*; and 2 more layers; these layers are left out of all totals$"),
    ],
)
def test_many_gaps_give_one_warning(number, message):
    model = model_of(*(Doubling(name=f"odd{index}") for index in range(number)), shape=(4,))
    with pytest.warns(UserWarning, match=message):
        ModelEnergy(model)


def test_a_subclass_counts_as_its_base_unless_it_computes_something_else():
    assert stats(RenamedDense(5), (7,)) == (35, 0, True)
    for layer in (OtherDense(5), Dense()):
        with pytest.warns(UserWarning, match=r"has no rule"):
            assert stats(layer, (7,)) == (0, 0, True)


def test_a_registered_layer_counts_in_models_and_inside_others(rng):
    @ModelEnergy.register_layer(Doubling)
    def doubling(node):
        assert node.layer.name
        return {"connections": int(np.prod(node.step_output_shapes[1:])), "neurons": 1}

    model = model_of(L.TimeDistributed(Doubling()), Doubling(name="d"), shape=(None, 4))
    energy = ModelEnergy(model, rng.random((2, 3, 4)), events="exact")
    assert [layer.connections for layer in energy.network.layers] == [0, 4, 4]
    assert [layer.neurons for layer in energy.network.layers] == [0, 1, 1]


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (None, TypeError, "must be a dictionary"),
        ({"connections": -1}, ValueError, "connections of layer 'd' must not be negative"),
        ({"neurons": 0.5}, TypeError, "neurons of layer 'd' must be a whole number"),
        ({"neurons": "many"}, TypeError, "neurons of layer 'd' must be a whole number.*'many'"),
        ({"synapses": 1}, ValueError, "may have the keys .*Received: 'synapses'"),
    ],
)
def test_bad_statistics_are_named(returned, error, message):
    ModelEnergy.register_layer(Doubling)(lambda node: returned)
    model = model_of(Doubling(name="d"), shape=(4,))
    with pytest.raises(error, match=message):
        ModelEnergy(model)


def test_register_layer_wants_a_class_and_a_function():
    with pytest.raises(TypeError, match=r"layer_class must be a class. Received: layer_class=3"):
        ModelEnergy.register_layer(3)
    with pytest.raises(TypeError, match=r"statistics must be a function of a node. Received: 3"):
        ModelEnergy.register_layer(Doubling)(3)


def test_a_layer_that_was_never_applied():
    with pytest.raises(ValueError, match=r"layer 'idle' was never applied"):
        ModelEnergy.compute_layer_stats(L.Dense(3, name="idle"))
    with pytest.raises(TypeError, match=r"layer must be a Keras layer.*Received: 3"):
        ModelEnergy.compute_layer_stats(3)


def test_attention_over_a_sequence_of_unknown_length_is_a_gap():
    inp = keras.Input((None, 6))
    model = keras.Model(inp, L.MultiHeadAttention(2, 3, name="look")(inp, inp))
    with pytest.warns(UserWarning, match=r"layer 'look' attends over an input of undefined shape"):
        assert ModelEnergy(model).network.gaps[0].name == "look"


@pytest.mark.parametrize(
    ("shapes", "function", "message"),
    [
        (
            [(8, None, 3)],
            L.MaxPooling2D(2, name="c"),
            r"layer 'c' has an input of undefined shape \(None, 8, None, 3\)",
        ),
        ([(4, None), (None, 5)], keras.ops.matmul, "operation 'matmul.*' contracts an undefined"),
        (
            [(4, None), (5, None)],
            lambda x, y: keras.ops.einsum("abc,adc->abd", x, y),
            "operation 'einsum.*' has an input of undefined shape",
        ),
        (
            [(4, 6), (4, 6)],
            lambda x, y: keras.ops.einsum("...a,...a->...", x, y),
            "operation 'einsum.*': einsum of several signals with an ellipsis",
        ),
    ],
    ids=["window", "matmul", "einsum", "ellipsis"],
)
def test_undefined_shapes_are_gaps_that_are_named(shapes, function, message):
    inputs = [keras.Input(shape) for shape in shapes]
    model = keras.Model(inputs, function(*inputs))
    with pytest.warns(UserWarning, match=message):
        energy = ModelEnergy(model)
    assert len(energy.network.gaps) == 1


def test_an_einsum_onto_an_axis_of_undefined_length():
    with pytest.raises(UndefinedShapeError, match=r"equation 'ab,bc->ac' has an output of undef"):
        einsum_fan_out("ab,bc->ac", (None, 4), (None, None), (4,))


def spec_of(kind, wrapped=None):
    return LayerSpec(None, "one", kind, kind, dict, lambda key: wrapped)


def test_a_convolution_whose_kernel_nobody_sees():
    node = Node(spec_of("ops>Conv"), ((None, 5, 3),), ((None, 5, 2),))
    with pytest.raises(UndefinedShapeError, match=r"operation 'one' has a kernel of unknown shape"):
        count(node)


@pytest.mark.parametrize("kind", ["TimeDistributed", "SpectralNormalization", "Bidirectional"])
def test_a_wrapper_of_several_layers(kind):
    node = Node(spec_of(kind, [spec_of("Dense")]), ((None, 5, 3),), ((None, 5, 2),))
    with pytest.raises(TypeError, match=r"layer of layer 'one' must be one layer. Received: \["):
        count(node)


def test_a_model_at_each_step_knows_what_is_around_it(rng):
    inner = keras.Sequential([keras.Input((4,)), L.Dense(3, name="d")], name="inner")
    inp = keras.Input((7, 5))  # fixed number of steps
    x = kspike_tf.SpikingActivation("relu", name="spikes")(L.Dense(4, name="first")(inp))
    x = L.TimeDistributed(inner, name="each")(x)
    model = keras.Model(inp, L.Dense(2, name="last")(x))
    energy = ModelEnergy(model, rng.random((2, 7, 5)), input_coding="dense")
    counted = {layer.name: layer for layer in energy.network.layers}
    assert counted["each/d"].connections == 12
    assert counted["last"].connections == 6  # per step, not for all 7
    # Only the network's own input is dense: the inner model's input and output are not.
    codings = {name: layer.synapses[0][0].coding for name, layer in counted.items()}
    assert codings["first"] == "dense"
    assert codings["each/d"] == codings["last"] == "signal"
