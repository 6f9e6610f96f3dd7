"""Tests of models of every supported layer, saved by Keras and loaded without it.

Every layer gets the same inputs as in Keras, and must agree to 1e-5 of its largest output:
float32 products of a few hundred terms, added in another order, differ by about 1e-6.
"""

from __future__ import annotations

import keras
import layerwise
import numpy as np
import pytest
import versions

import kspike_tf

L = keras.layers
ops = keras.ops


def _sequence(*layers):
    def connect(x):
        for layer in layers:
            x = layer(x)
        return x

    return connect


def _pair(layer):
    return lambda x, y: layer([x, y])


IMAGE, FIRST, VOLUME, SERIES, FLAT = (9, 8, 6), (6, 9, 8), (5, 6, 4, 3), (7, 6), (12,)

STATELESS = {
    "dense": ([FLAT], lambda: _sequence(L.Dense(5, "gelu"), L.Dense(40, use_bias=False))),
    "dense on series": ([SERIES], lambda: _sequence(L.Dense(33, "softmax"))),
    "dense with layer": ([SERIES], lambda: _sequence(L.Dense(4, activation=L.LeakyReLU(0.1)))),
    "einsum": ([SERIES], lambda: _sequence(L.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d"))),
    "einsum heads": (
        [SERIES],
        lambda: _sequence(
            L.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de"),
            L.EinsumDense("abde,dec->abc", (None, 6), bias_axes="c", activation="relu"),
        ),
    ),
    "einsum dots": (
        [SERIES],
        lambda: _sequence(L.EinsumDense("...x,xy->...y", (4,), bias_axes="y")),
    ),
    "einsum dots and two": (
        [IMAGE],
        lambda: _sequence(L.EinsumDense("...x,xyz->...yz", (4, 2), bias_axes="yz")),
    ),
    "einsum over time": ([SERIES], lambda: _sequence(L.EinsumDense("abc,bd->adc", (5, 6)))),
    "einsum shared axis": ([SERIES], lambda: _sequence(L.EinsumDense("abc,bcd->abd", (7, 4)))),
    "conv1d": ([SERIES], lambda: _sequence(L.Conv1D(5, 3, padding="same"), L.Conv1D(4, 2, 2))),
    "conv1d causal": (
        [SERIES],
        lambda: _sequence(L.Conv1D(5, 3, padding="causal", dilation_rate=2)),
    ),
    "conv1d strided same": ([SERIES], lambda: _sequence(L.Conv1D(5, 4, strides=3, padding="same"))),
    "conv2d": ([IMAGE], lambda: _sequence(L.Conv2D(7, (3, 2), activation="relu"))),
    "conv2d same strided": ([IMAGE], lambda: _sequence(L.Conv2D(7, 3, strides=2, padding="same"))),
    "conv2d dilated": ([IMAGE], lambda: _sequence(L.Conv2D(5, 3, dilation_rate=(2, 3)))),
    "conv2d groups": ([IMAGE], lambda: _sequence(L.Conv2D(6, 3, groups=3, padding="same"))),
    "conv2d 1x1": ([IMAGE], lambda: _sequence(L.Conv2D(40, 1, use_bias=False))),
    "conv3d": (
        [VOLUME],
        lambda: _sequence(L.Conv3D(4, (2, 3, 2), strides=(1, 2, 1), padding="same")),
    ),
    "depthwise1d": ([SERIES], lambda: _sequence(L.DepthwiseConv1D(3, depth_multiplier=2))),
    "depthwise2d": ([IMAGE], lambda: _sequence(L.DepthwiseConv2D(3, strides=2, padding="same"))),
    "depthwise2d dilated": (
        [IMAGE],
        lambda: _sequence(L.DepthwiseConv2D(3, dilation_rate=2, depth_multiplier=3)),
    ),
    "separable": (
        [IMAGE],
        lambda: _sequence(L.SeparableConv2D(5, 3, padding="same", depth_multiplier=2)),
    ),
    "separable1d": ([SERIES], lambda: _sequence(L.SeparableConv1D(5, 3, strides=2))),
    "transpose1d": ([SERIES], lambda: _sequence(L.Conv1DTranspose(4, 3, strides=2))),
    "transpose2d": ([IMAGE], lambda: _sequence(L.Conv2DTranspose(4, 3, strides=2, padding="same"))),
    "transpose2d wide stride": (
        [IMAGE],
        lambda: _sequence(L.Conv2DTranspose(3, 2, strides=3, padding="same")),
    ),
    "transpose2d valid wide stride": (
        [IMAGE],
        lambda: _sequence(L.Conv2DTranspose(3, 2, strides=3)),
    ),
    "transpose2d output padding": (
        [IMAGE],
        lambda: _sequence(L.Conv2DTranspose(3, 4, strides=2, padding="same", output_padding=1)),
    ),
    "max pooling": ([IMAGE], lambda: _sequence(L.MaxPooling2D(2), L.MaxPooling2D(3, 1, "same"))),
    "average pooling": (
        [IMAGE],
        lambda: _sequence(L.AveragePooling2D(3, 2, "same"), L.AveragePooling2D(2)),
    ),
    "pooling1d": ([SERIES], lambda: _sequence(L.MaxPooling1D(2), L.AveragePooling1D(2, 1))),
    "pooling3d": (
        [VOLUME],
        lambda: _sequence(L.MaxPooling3D(2, 1, "same"), L.AveragePooling3D((2, 3, 2))),
    ),
    "global 1d": ([SERIES], lambda: _sequence(L.GlobalAveragePooling1D())),
    "global max 1d": ([SERIES], lambda: _sequence(L.GlobalMaxPooling1D(keepdims=True))),
    "global 2d": ([IMAGE], lambda: _sequence(L.GlobalAveragePooling2D(keepdims=True), L.Flatten())),
    "global max 2d": ([IMAGE], lambda: _sequence(L.GlobalMaxPooling2D())),
    "global 3d": ([VOLUME], lambda: _sequence(L.GlobalAveragePooling3D())),
    "global max 3d": ([VOLUME], lambda: _sequence(L.GlobalMaxPooling3D())),
    "batch normalization": ([IMAGE], lambda: _sequence(L.BatchNormalization())),
    "batch normalization bare": (
        [FIRST],
        lambda: _sequence(L.BatchNormalization(axis=1, scale=False, center=False)),
    ),
    "layer normalization": ([SERIES], lambda: _sequence(L.LayerNormalization())),
    "layer normalization axes": (
        [IMAGE],
        lambda: _sequence(L.LayerNormalization(axis=[1, 3], center=False)),
    ),
    "group normalization": ([IMAGE], lambda: _sequence(L.GroupNormalization(groups=3))),
    "instance normalization": (
        [IMAGE],
        lambda: _sequence(L.GroupNormalization(groups=-1, scale=False)),
    ),
    "rms normalization": ([SERIES], lambda: _sequence(L.RMSNormalization())),
    "unit normalization": ([SERIES], lambda: _sequence(L.UnitNormalization())),
    "normalization given": (
        [SERIES],
        lambda: _sequence(L.Normalization(mean=[1, 2, 3, 4, 5, 6], variance=[2.0] * 6)),
    ),
    "normalization scalar": (
        [SERIES],
        lambda: _sequence(L.Normalization(axis=None, mean=1.5, variance=4.0, invert=True)),
    ),
    "normalization adapted": ([SERIES], lambda: _sequence(L.Normalization())),
    "rescaling": ([IMAGE], lambda: _sequence(L.Rescaling(1 / 255, offset=-0.5))),
    "flatten": ([IMAGE], lambda: _sequence(L.Flatten(), L.Reshape((6, -1)), L.Permute((2, 1)))),
    "repeat": ([FLAT], lambda: _sequence(L.RepeatVector(4))),
    "padding1d": ([SERIES], lambda: _sequence(L.ZeroPadding1D((2, 1)), L.Cropping1D(1))),
    "padding2d": (
        [IMAGE],
        lambda: _sequence(L.ZeroPadding2D(((1, 2), (0, 3))), L.Cropping2D(((2, 1), (1, 0)))),
    ),
    "padding3d": ([VOLUME], lambda: _sequence(L.ZeroPadding3D((1, 2, 0)), L.Cropping3D(1))),
    "upsampling1d": ([SERIES], lambda: _sequence(L.UpSampling1D(3))),
    "upsampling2d": ([IMAGE], lambda: _sequence(L.UpSampling2D((2, 3)))),
    "upsampling2d bilinear": (
        [IMAGE],
        lambda: _sequence(L.UpSampling2D((2, 3), interpolation="bilinear")),
    ),
    "upsampling3d": ([VOLUME], lambda: _sequence(L.UpSampling3D((1, 2, 2)))),
    "add": ([SERIES, SERIES], lambda: _pair(L.Add())),
    "add broadcast": ([SERIES, (6,)], lambda: _pair(L.Add())),
    "subtract": ([SERIES, SERIES], lambda: _pair(L.Subtract())),
    "multiply": ([SERIES, (1, 6)], lambda: _pair(L.Multiply())),
    "average": ([SERIES, SERIES], lambda: _pair(L.Average())),
    "maximum": ([SERIES, SERIES], lambda: _pair(L.Maximum())),
    "minimum": ([SERIES, SERIES], lambda: _pair(L.Minimum())),
    "concatenate": ([SERIES, (4, 6)], lambda: _pair(L.Concatenate(axis=1))),
    "dot": ([SERIES, SERIES], lambda: _pair(L.Dot(axes=2))),
    "dot normalized": ([FLAT, FLAT], lambda: _pair(L.Dot(axes=1, normalize=True))),
    "dot two axes": ([(7, 6), (6, 3)], lambda: _pair(L.Dot(axes=(2, 1)))),
    "activations": (
        [FLAT],
        lambda: _sequence(
            L.ReLU(max_value=2.0, negative_slope=0.1, threshold=0.2),
            L.LeakyReLU(),
            L.ELU(0.7),
            L.PReLU(),
            L.Softmax(),
            L.Activation("tanh"),
            L.Activation("swish"),
        ),
    ),
    "softmax axes": ([IMAGE], lambda: _sequence(L.Softmax(axis=[1, 2]))),
    "prelu shared": ([IMAGE], lambda: _sequence(L.PReLU(shared_axes=[1, 2]))),
    "identities": (
        [SERIES],
        lambda: _sequence(
            L.Dropout(0.5),
            L.SpatialDropout1D(0.5),
            L.GaussianDropout(0.5),
            L.GaussianNoise(1.0),
            L.AlphaDropout(0.5),
            L.ActivityRegularization(),
            L.Identity(),
        ),
    ),
    "time distributed": (
        [(7, 9, 8, 3)],
        lambda: _sequence(
            L.TimeDistributed(L.Conv2D(4, 3)),
            L.TimeDistributed(L.Flatten()),
            L.TimeDistributed(L.Dense(3)),
        ),
    ),
    "simple rnn": (
        [SERIES],
        lambda: _sequence(L.SimpleRNN(5, return_sequences=True), L.SimpleRNN(4)),
    ),
    "lstm": (
        [SERIES],
        lambda: _sequence(L.LSTM(5, return_sequences=True), L.LSTM(4, use_bias=False)),
    ),
    "gru": (
        [SERIES],
        lambda: _sequence(L.GRU(5, return_sequences=True), L.GRU(4, reset_after=False)),
    ),
    "gru without bias": ([SERIES], lambda: _sequence(L.GRU(5, use_bias=False, go_backwards=True))),
    "bidirectional": (
        [SERIES],
        lambda: _sequence(
            L.Bidirectional(L.LSTM(4, return_sequences=True)),
            L.Bidirectional(L.GRU(3, return_sequences=True), merge_mode="ave"),
            L.Bidirectional(L.SimpleRNN(3), merge_mode="mul"),
        ),
    ),
    "two directions": (
        [SERIES],
        lambda: _sequence(
            L.Bidirectional(L.LSTM(4), backward_layer=L.GRU(3, go_backwards=True)),
        ),
    ),
    "stacked cells": (
        [SERIES],
        lambda: _sequence(
            L.RNN([L.LSTMCell(5), L.GRUCell(4), L.SimpleRNNCell(3), L.LSTMCell(2)]),
        ),
    ),
    # With as many filters as the output is wide, Keras (3.15, TensorFlow) would add the bias along
    # the width: if lengths allow it, its `ops.add` takes the last axis for the channels.
    "channels first convolutions": (
        [FIRST],
        lambda: _sequence(
            L.Conv2D(7, 3, strides=2, padding="same", data_format="channels_first"),
            L.DepthwiseConv2D(2, data_format="channels_first"),
            L.Conv2DTranspose(3, 2, strides=2, data_format="channels_first"),
            L.SeparableConv2D(5, 2, padding="same", data_format="channels_first"),
        ),
    ),
    "channels first pooling": (
        [FIRST],
        lambda: _sequence(
            L.MaxPooling2D(2, 1, data_format="channels_first"),
            L.AveragePooling2D(3, 2, "same", data_format="channels_first"),
            L.GlobalAveragePooling2D(data_format="channels_first"),
        ),
    ),
    "channels first series": (
        [SERIES],
        lambda: _sequence(
            L.Conv1D(5, 3, padding="same", data_format="channels_first"),
            L.MaxPooling1D(2, data_format="channels_first"),
            L.Permute((2, 1)),
            L.GlobalMaxPooling1D(data_format="channels_first"),
        ),
    ),
    "transpose3d": ([VOLUME], lambda: _sequence(L.Conv3DTranspose(3, 2, strides=(1, 2, 2)))),
    "channels first": (
        [FIRST],
        lambda: _sequence(
            L.ZeroPadding2D(1, data_format="channels_first"),
            L.UpSampling2D(2, data_format="channels_first"),
            L.Cropping2D(1, data_format="channels_first"),
            L.Flatten(data_format="channels_first"),
        ),
    ),
}


def _operations(x, y):
    z = ops.reshape((x + 2.0) * y - x / (1.0 + y * y), (-1, 7, 3, 2))
    a = ops.mean(z, axis=[1, 3]) - ops.sum(z, axis=(1, -1))
    b = ops.max(z[:, 1:5, 0], axis=1) + ops.min(z[:, :, -1, :], axis=1, keepdims=False)
    c = ops.squeeze(ops.expand_dims(-ops.abs(x), 1), 1)
    d = ops.concatenate(
        [ops.transpose(c, (0, 2, 1))[:, :3, ::2], ops.square(a)[..., None]], axis=-1
    )
    e = ops.stack([b, ops.maximum(b, 0.25)], axis=1) ** 2 - np.float32([0.5, 1.0])
    return [ops.exp(-d), ops.clip(ops.relu(e) + ops.sigmoid(e), 0.1, 2.0), ops.softmax(a)]


STATELESS["operations"] = ([SERIES, SERIES], lambda: _operations)

SPIKING = {
    "spiking": (
        [(None, 6)],
        lambda: _sequence(L.Dense(8), kspike_tf.SpikingActivation("relu", seed=1)),
    ),
    "spiking dt": (
        [(None, 6)],
        lambda: _sequence(kspike_tf.SpikingActivation("softplus", seed=2**40, dt=1 / 30)),
    ),
    "spiking images": (
        [(None, 5, 4, 3)],
        lambda: _sequence(kspike_tf.SpikingActivation("tanh", seed=0, dt=0.5)),
    ),
    "lowpass": ([(None, 6)], lambda: _sequence(kspike_tf.Lowpass(0.01))),
    "lowpass images": (
        [(None, 5, 4, 3)],
        lambda: _sequence(kspike_tf.Lowpass(0.1, return_sequences=False)),
    ),
    "alpha": ([(None, 6)], lambda: _sequence(kspike_tf.Alpha(0.004, dt=0.002))),
    "alpha images": ([(None, 5, 4, 3)], lambda: _sequence(kspike_tf.Alpha(0.1))),
    "last spikes": (
        [(None, 6)],
        lambda: _sequence(kspike_tf.SpikingActivation("relu", seed=7, return_sequences=False)),
    ),
    "cell": (
        [(None, 6)],
        lambda: _sequence(
            L.RNN(kspike_tf.SpikingActivationCell(6, "relu", seed=3, dt=0.2), return_sequences=True)
        ),
    ),
    "cells": (
        [(None, 6)],
        lambda: _sequence(
            L.RNN(
                L.StackedRNNCells(
                    [
                        kspike_tf.SpikingActivationCell(6, "relu", seed=3, dt=0.2),
                        kspike_tf.LowpassCell(6, 0.5, dt=0.2),
                        kspike_tf.AlphaCell(6, 0.5, dt=0.2),
                        L.SimpleRNNCell(4),
                    ],
                    dtype="float64",
                ),  # otherwise Keras casts the voltage
                return_sequences=True,
            )
        ),
    ),
}


def _randomised(model, rng):
    """Give every weight a value that no initialiser gives, so that a mix-up shows."""
    for weight in model.weights:
        shape = weight.shape
        if "variance" in weight.path or weight.path.endswith("tau"):
            weight.assign(rng.uniform(0.01, 2.0, shape))
        elif "float" in str(weight.dtype):
            fan = max(1, int(np.prod(shape[:-1])))
            weight.assign(rng.normal(0, 1 / np.sqrt(fan), shape) + rng.uniform(-0.1, 0.1))
    for layer in model.layers:
        if isinstance(layer, L.Normalization) and layer.input_mean is None:
            layer.finalize_state()


def _build(shapes, connect, rng):
    inputs = [keras.Input(shape) for shape in shapes]
    model = keras.Model(inputs if len(inputs) > 1 else inputs[0], connect(*inputs))
    _randomised(model, rng)
    return model


def _batch(shapes, rng, scale=1.0):
    sizes = [[5, *(11 if n is None else n for n in shape)] for shape in shapes]
    return [rng.normal(0, scale, size).astype(np.float32) for size in sizes]


def _flat(value):
    return (
        [array for item in value for array in _flat(item)]
        if isinstance(value, list | tuple)
        else [value]
    )


OTHERWISE = {
    "transpose2d output padding": versions.since(3, 15, "gives other shapes with output_padding")
}


@pytest.mark.parametrize("name", versions.cases(STATELESS, OTHERWISE))
def test_layers(name, tmp_path):
    rng = np.random.default_rng(len(name))
    shapes, connect = STATELESS[name]
    given = _batch(shapes, rng)
    x = given if len(given) > 1 else given[0]
    model = _build(shapes, connect(), rng)
    loaded = layerwise.compare(model, tmp_path / "m.keras", x)
    expected = _flat(layerwise.answers(model, x))
    for one, other in zip(_flat(loaded.predict(x)), expected, strict=True):
        assert layerwise.error(one, other) <= layerwise.TOLERANCE


@pytest.mark.parametrize("name", SPIKING)
def test_spiking_layers(name, tmp_path):
    rng = np.random.default_rng(len(name))
    shapes, connect = SPIKING[name]
    model = _build(shapes, connect(), rng)
    x = _batch(shapes, rng, scale=50.0)[0]
    loaded = layerwise.compare(model, tmp_path / "m.keras", x)
    whole = loaded.predict(x)
    state = loaded.initial_state(5)
    steps = []
    for t in range(x.shape[1]):
        y, state = loaded.step(x[:, t], state)
        steps.append(y)
    if whole.ndim == x.ndim:
        np.testing.assert_array_equal(np.stack(steps, axis=1), whole)
    else:
        np.testing.assert_array_equal(steps[-1], whole)
