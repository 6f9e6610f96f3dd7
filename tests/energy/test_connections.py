"""Tests of connections and exact events against a connection matrix built by brute force.

With all weights one, each input element of a linear layer in turn is set to one: it is connected
to the outputs that are not zero. This shares no code with the formulas of `counts`.
"""

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from kspike_energy import ModelEnergy

# Building a Keras layer takes a few milliseconds, and the first one longer.
RANDOM = settings(
    max_examples=45,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
SIDE = st.integers(1, 7)


def connection_matrix(layer, shape):
    """Return a matrix (input elements, output elements) that says which are connected."""
    size = int(np.prod(shape))
    impulses = np.eye(size, dtype=np.float32).reshape(size, *shape)
    outputs = keras.ops.convert_to_numpy(layer(impulses))
    return outputs.reshape(size, -1) != 0


def check(layer, shape, seed=0):
    """Compare a layer's connections and exact events with its matrix."""
    inp = keras.Input(shape)
    out = layer(inp)
    assume(all(length for length in out.shape[1:]))
    for weight in layer.weights:
        weight.assign(np.ones(weight.shape))
    if getattr(layer, "bias", None) is not None:
        layer.bias.assign(np.zeros(layer.bias.shape))
    matrix = connection_matrix(layer, shape)
    events = np.random.default_rng(seed).integers(0, 2, (3, *shape)).astype(np.float32)
    energy = ModelEnergy(
        keras.Model(inp, out), events, events="exact", input_coding="events", batch_size=2
    )
    counted = energy.network.layers[-1]
    assert counted.connections == matrix.sum()
    assert ModelEnergy.compute_layer_stats(layer)["connections"] == matrix.sum()
    brute = int((events.reshape(3, -1).astype(np.int64) @ matrix.sum(axis=1)).sum())
    assert counted.operations == brute
    assert isinstance(counted.operations, int)
    assert counted.synops(0.001, "exact") == pytest.approx(brute / 3, rel=1e-12)


@st.composite
def windows(draw, rank):
    """Draw size, kernel, stride, dilation and padding of windows; stride or dilation is one."""
    size = tuple(draw(SIDE) for _ in range(rank))
    kernel = tuple(draw(st.integers(1, 4)) for _ in range(rank))
    stride, dilation = 1, 1
    if draw(st.booleans()):
        stride = draw(st.integers(1, 3))
    else:
        dilation = draw(st.integers(1, 3))
    padding = draw(st.sampled_from(["valid", "same"]))
    if padding == "valid":
        reach = [(k - 1) * dilation + 1 for k in kernel]
        assume(all(s >= r for s, r in zip(size, reach, strict=True)))
    return size, kernel, stride, dilation, padding


@RANDOM
@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.integers(1, 6))
def test_dense(shape, units):
    check(keras.layers.Dense(units), tuple(shape))


@RANDOM
@given(st.data())
def test_convolution(data):
    rank = data.draw(st.integers(1, 2))
    size, kernel, stride, dilation, padding = data.draw(windows(rank))
    groups = data.draw(st.integers(1, 2))
    channels, filters = (groups * data.draw(st.integers(1, 2)) for _ in range(2))
    make = {1: keras.layers.Conv1D, 2: keras.layers.Conv2D}[rank]
    if rank == 1 and data.draw(st.booleans()):
        padding = "causal"
    layer = make(
        filters, kernel, strides=stride, dilation_rate=dilation, padding=padding, groups=groups
    )
    check(layer, (*size, channels))


@settings(RANDOM, max_examples=8)
@given(windows(3), st.integers(1, 2), st.integers(1, 2))
def test_convolution_in_three_dimensions(window, channels, filters):
    size, kernel, stride, dilation, padding = window
    size = tuple(min(length, 4) for length in size)
    assume(
        padding == "same"
        or all(s >= (k - 1) * dilation + 1 for s, k in zip(size, kernel, strict=True))
    )
    layer = keras.layers.Conv3D(
        filters, kernel, strides=stride, dilation_rate=dilation, padding=padding
    )
    check(layer, (*size, channels))


@RANDOM
@given(st.data())
def test_depthwise_convolution(data):
    rank = data.draw(st.integers(1, 2))
    size, kernel, stride, dilation, padding = data.draw(windows(rank))
    make = {1: keras.layers.DepthwiseConv1D, 2: keras.layers.DepthwiseConv2D}[rank]
    layer = make(
        kernel[0],
        strides=stride,
        dilation_rate=dilation,
        padding=padding,
        depth_multiplier=data.draw(st.integers(1, 3)),
    )
    if padding == "valid":
        assume(all(s >= (kernel[0] - 1) * dilation + 1 for s in size))
    check(layer, (*size, data.draw(st.integers(1, 3))))


@RANDOM
@given(st.data())
def test_transposed_convolution(data):
    rank = data.draw(st.integers(1, 2))
    size = tuple(data.draw(st.integers(1, 5)) for _ in range(rank))
    kernel = tuple(data.draw(st.integers(1, 4)) for _ in range(rank))
    stride = data.draw(st.integers(1, 3))
    make = {1: keras.layers.Conv1DTranspose, 2: keras.layers.Conv2DTranspose}[rank]
    layer = make(
        data.draw(st.integers(1, 3)),
        kernel,
        strides=stride,
        padding=data.draw(st.sampled_from(["valid", "same"])),
    )
    check(layer, (*size, data.draw(st.integers(1, 2))))


@RANDOM
@given(st.data())
def test_average_pooling(data):
    rank = data.draw(st.integers(1, 2))
    size, kernel, stride, _, padding = data.draw(windows(rank))
    make = {1: keras.layers.AveragePooling1D, 2: keras.layers.AveragePooling2D}[rank]
    layer = make(kernel, strides=data.draw(st.sampled_from([None, stride])), padding=padding)
    check(layer, (*size, data.draw(st.integers(1, 3))))


@RANDOM
@given(st.data())
def test_einsum_dense(data):
    equation, shape, output = data.draw(
        st.sampled_from(
            [
                ("ab,bc->ac", (4,), 3),
                ("...x,xy->...y", (3, 4), 2),
                ("abc,cd->abd", (3, 4), (None, 5)),
                ("abc,bcd->ad", (3, 4), 5),
                ("abc,cde->abde", (3, 4), (None, 2, 3)),
                ("abc,bd->adc", (3, 4), (5, None)),
                ("abc,c->abc", (3, 4), (None, 4)),
            ]
        )
    )
    layer = keras.layers.EinsumDense(equation, output_shape=output)
    check(layer, shape, seed=data.draw(st.integers(0, 99)))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (keras.layers.GlobalAveragePooling1D(), (5, 3)),
        (keras.layers.GlobalAveragePooling2D(), (4, 5, 2)),
        (keras.layers.UpSampling1D(3), (4, 2)),
        (keras.layers.UpSampling2D((2, 3)), (3, 2, 2)),
        (keras.layers.UpSampling3D(2), (2, 1, 3, 1)),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, tuple) else None,
)
def test_fixed_linear_layers(layer, shape):
    check_fixed(layer, shape)


@pytest.mark.parametrize(("axes", "size", "shape"), [(1, 3, (7, 2)), (2, (2, 3), (5, 7, 2))])
def test_adaptive_pooling(axes, size, shape):
    check_fixed(getattr(keras.layers, f"AdaptiveAveragePooling{axes}D")(size), shape)


def check_fixed(layer, shape):
    inp = keras.Input(shape)
    energy = ModelEnergy(keras.Model(inp, layer(inp)))
    assert energy.network.connections == connection_matrix(layer, shape).sum()


def test_separable_convolution_stage_by_stage(rng):
    layer = keras.layers.SeparableConv2D(
        5, (3, 2), strides=2, padding="same", depth_multiplier=2, use_bias=False
    )
    inp = keras.Input((6, 7, 3))
    energy = ModelEnergy(keras.Model(inp, layer(inp)))
    first = keras.layers.DepthwiseConv2D(
        (3, 2), strides=2, padding="same", depth_multiplier=2, depthwise_initializer="ones"
    )
    second = keras.layers.Conv2D(5, 1, kernel_initializer="ones")
    stages = [
        connection_matrix(first, (6, 7, 3)).sum(),
        connection_matrix(second, (3, 4, 6)).sum(),
    ]
    assert [s.connections for s in energy.network.layers[1].synapses[0]] == stages


def test_a_recurrent_cell_stage_by_stage():
    inp = keras.Input((None, 3))
    energy = ModelEnergy(keras.Model(inp, keras.layers.SimpleRNN(4)(inp)))
    dense = keras.layers.Dense(4, kernel_initializer="ones")
    stages = [connection_matrix(dense, (3,)).sum()]
    back = keras.layers.Dense(4, kernel_initializer="ones")
    stages.append(connection_matrix(back, (4,)).sum())
    assert [s.connections for s in energy.network.layers[1].synapses[0]] == stages


def test_a_convolutional_recurrent_cell_stage_by_stage():
    layers = keras.layers
    inp = keras.Input((None, 5, 6, 2))
    cell = layers.ConvLSTM2D(3, (3, 2), padding="same", strides=2)
    energy = ModelEnergy(keras.Model(inp, cell(inp)))
    along = layers.Conv2D(12, (3, 2), padding="same", strides=2, kernel_initializer="ones")
    back = layers.Conv2D(12, (3, 2), padding="same", kernel_initializer="ones")
    stages = [
        connection_matrix(along, (5, 6, 2)).sum(),
        connection_matrix(back, (3, 3, 3)).sum(),
        3 * 3 * 3 * 3,  # three gate products per unit
    ]
    assert [s.connections for s in energy.network.layers[1].synapses[0]] == stages


def test_attention_stage_by_stage():
    layers = keras.layers
    query, value = keras.Input((5, 6)), keras.Input((4, 3))
    layer = layers.MultiHeadAttention(num_heads=2, key_dim=7, value_dim=3)
    energy = ModelEnergy(keras.Model([query, value], layer(query, value)))

    def dense(shape, units):
        matrix = connection_matrix(layers.Dense(units, kernel_initializer="ones"), shape)
        return matrix.sum()

    scores = 2 * 5 * 4
    stages = [
        dense((5, 6), 2 * 7),  # queries
        dense((4, 3), 2 * 3),  # values
        dense((4, 3), 2 * 7),  # keys
        scores * (7 + 3),  # query · key, then weighted sum of values
        dense((5, 2 * 3), 6),  # output
    ]
    counted = energy.network.layers[-1]
    assert [s.connections for s in counted.synapses[0]] == stages
    assert counted.neurons == scores
    assert not counted.spiking
