"""Table with at least one application of every layer and operation that kspike_ref knows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import versions
from keras import layers as L
from keras import ops
from keras.src.applications.convnext import LayerScale

import kspike_tf


@dataclass(frozen=True)
class Entry:
    """Function that applies a layer or an operation, and the shapes of its inputs.

    Inputs hold values that suit their type, or integers within ``within``. ``is_cut`` means that
    Keras casts real numbers to the type of the input, which may not hold them. For the types in
    ``refused``, Keras gives meaningless answers or may end the process, and kspike_ref raises an
    error; for those in ``left_out``, only Keras fails.
    """

    build: Any
    shapes: tuple
    within: tuple | None = None
    is_cut: bool = False
    refused: tuple = ()
    left_out: tuple = ()


def one(build, *shape, **options):
    return Entry(build, (shape or (5, 4),), **options)


def two(build, *shape, within=None):
    return Entry(build, (shape or (5, 4),) * 2, within)


def cell(make):
    return one(lambda x: L.RNN(make(), return_sequences=True)(x))


IMAGE = (6, 5, 2)
VOLUME = (4, 5, 4, 2)

LAYERS = {
    "Activation": one(lambda x: L.Activation("tanh")(x)),
    "ReLU": one(lambda x: L.ReLU(negative_slope=0.1, max_value=2.0, threshold=0.5)(x)),
    "LeakyReLU": one(lambda x: L.LeakyReLU(negative_slope=0.1)(x)),
    "ELU": one(lambda x: L.ELU()(x)),
    "Softmax": one(lambda x: L.Softmax()(x)),
    "PReLU": one(lambda x: L.PReLU(alpha_initializer="ones")(x)),
    "Dropout": one(lambda x: L.Dropout(0.5)(x)),
    "AlphaDropout": one(lambda x: L.AlphaDropout(0.5)(x)),
    "Identity": one(lambda x: L.Identity()(x)),
    "GaussianDropout": one(lambda x: L.GaussianDropout(0.5)(x)),
    "GaussianNoise": one(lambda x: L.GaussianNoise(0.5)(x)),
    "ActivityRegularization": one(lambda x: L.ActivityRegularization(0.5)(x)),
    "SpatialDropout1D": one(lambda x: L.SpatialDropout1D(0.5)(x)),
    "SpatialDropout2D": one(lambda x: L.SpatialDropout2D(0.5)(x), *IMAGE),
    "SpatialDropout3D": one(lambda x: L.SpatialDropout3D(0.5)(x), *VOLUME),
    "Masking": one(lambda x: L.Masking(1.0)(x)),
    "Add": two(lambda x, y: L.Add()([x, y])),
    "Subtract": two(lambda x, y: L.Subtract()([x, y])),
    "Multiply": two(lambda x, y: L.Multiply()([x, y])),
    "Maximum": two(lambda x, y: L.Maximum()([x, y])),
    "Minimum": two(lambda x, y: L.Minimum()([x, y])),
    "Average": two(lambda x, y: L.Average()([x, y])),
    "Concatenate": two(lambda x, y: L.Concatenate()([x, y])),
    "Dot": two(lambda x, y: L.Dot(axes=2)([x, y]), within=(0, 5)),
    "Dense": one(lambda x: L.Dense(3)(x)),
    "EinsumDense": one(lambda x: L.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d")(x)),
    "Embedding": one(lambda x: L.Embedding(9, 3)(x), 5, within=(0, 8)),
    "Conv1D": one(lambda x: L.Conv1D(3, 2)(x)),
    "Conv2D": one(lambda x: L.Conv2D(3, 2)(x), *IMAGE),
    "Conv3D": one(lambda x: L.Conv3D(3, 2)(x), *VOLUME),
    "DepthwiseConv1D": one(lambda x: L.DepthwiseConv1D(2)(x)),
    "DepthwiseConv2D": one(lambda x: L.DepthwiseConv2D(2)(x), *IMAGE),
    "SeparableConv1D": one(lambda x: L.SeparableConv1D(3, 2)(x)),
    "SeparableConv2D": one(lambda x: L.SeparableConv2D(3, 2)(x), *IMAGE),
    "Conv1DTranspose": one(lambda x: L.Conv1DTranspose(3, 2)(x)),
    "Conv2DTranspose": one(lambda x: L.Conv2DTranspose(3, 2)(x), *IMAGE),
    "Conv3DTranspose": one(lambda x: L.Conv3DTranspose(3, 2)(x), *VOLUME),
    "BatchNormalization": one(lambda x: L.BatchNormalization()(x)),
    "LayerNormalization": one(lambda x: L.LayerNormalization()(x), is_cut=True),
    "RMSNormalization": one(lambda x: L.RMSNormalization()(x), is_cut=True),
    "GroupNormalization": one(lambda x: L.GroupNormalization(2)(x), is_cut=True),
    "UnitNormalization": one(lambda x: L.UnitNormalization()(x)),
    "Normalization": one(lambda x: L.Normalization(mean=3.0, variance=4.0)(x)),
    "Rescaling": one(lambda x: L.Rescaling(1 / 127.5, -1.0)(x)),
    "LayerScale": one(lambda x: LayerScale(0.5, 4)(x), refused=("bool",)),
    # as saved by Keras 3.0
    "custom:LayerScale": one(lambda x: LayerScale(0.5, 4)(x), refused=("bool",)),
    "InputLayer": one(lambda x: x),
    "Flatten": one(lambda x: L.Flatten()(x)),
    "Reshape": one(lambda x: L.Reshape((4, 5))(x)),
    "Permute": one(lambda x: L.Permute((2, 1))(x)),
    "RepeatVector": one(lambda x: L.RepeatVector(3)(x), 4),
    "ZeroPadding1D": one(lambda x: L.ZeroPadding1D(1)(x)),
    "ZeroPadding2D": one(lambda x: L.ZeroPadding2D(1)(x), *IMAGE),
    "ZeroPadding3D": one(lambda x: L.ZeroPadding3D(1)(x), *VOLUME),
    "Cropping1D": one(lambda x: L.Cropping1D(1)(x)),
    "Cropping2D": one(lambda x: L.Cropping2D(1)(x), *IMAGE),
    "Cropping3D": one(lambda x: L.Cropping3D(1)(x), *VOLUME),
    "UpSampling1D": one(lambda x: L.UpSampling1D(2)(x)),
    "UpSampling2D": one(lambda x: L.UpSampling2D(2)(x), *IMAGE),
    "UpSampling3D": one(lambda x: L.UpSampling3D(2)(x), *VOLUME),
    "AveragePooling1D": one(lambda x: L.AveragePooling1D(2)(x)),
    "AveragePooling2D": one(lambda x: L.AveragePooling2D(2)(x), *IMAGE),
    "AveragePooling3D": one(lambda x: L.AveragePooling3D(2)(x), *VOLUME),
    "MaxPooling1D": one(lambda x: L.MaxPooling1D(2)(x)),
    "MaxPooling2D": one(lambda x: L.MaxPooling2D(2)(x), *IMAGE),
    "MaxPooling3D": one(lambda x: L.MaxPooling3D(2)(x), *VOLUME),
    "GlobalAveragePooling1D": one(lambda x: L.GlobalAveragePooling1D()(x)),
    "GlobalAveragePooling2D": one(lambda x: L.GlobalAveragePooling2D()(x), *IMAGE),
    "GlobalAveragePooling3D": one(lambda x: L.GlobalAveragePooling3D()(x), *VOLUME),
    "GlobalMaxPooling1D": one(lambda x: L.GlobalMaxPooling1D()(x)),
    "GlobalMaxPooling2D": one(lambda x: L.GlobalMaxPooling2D()(x), *IMAGE),
    "GlobalMaxPooling3D": one(lambda x: L.GlobalMaxPooling3D()(x), *VOLUME),
    "SimpleRNNCell": cell(lambda: L.SimpleRNNCell(3)),
    "LSTMCell": cell(lambda: L.LSTMCell(3)),
    "GRUCell": cell(lambda: L.GRUCell(3)),
    "StackedRNNCells": cell(lambda: L.StackedRNNCells([L.GRUCell(3), L.SimpleRNNCell(2)])),
    "RNN": cell(lambda: L.GRUCell(3, reset_after=False)),
    "SimpleRNN": one(lambda x: L.SimpleRNN(3)(x)),
    "LSTM": one(lambda x: L.LSTM(3)(x)),
    "GRU": one(lambda x: L.GRU(3)(x)),
    "Bidirectional": one(lambda x: L.Bidirectional(L.LSTM(3))(x)),
    "custom:kspike_tf>SpikingActivationCell": cell(
        lambda: kspike_tf.SpikingActivationCell((4,), "relu", dt=0.5, seed=0)
    ),
    "custom:kspike_tf>LowpassCell": cell(lambda: kspike_tf.LowpassCell((4,), 2.0, dt=0.5)),
    "custom:kspike_tf>AlphaCell": cell(lambda: kspike_tf.AlphaCell((4,), 2.0, dt=0.5)),
    "custom:kspike_tf>SpikingActivation": one(
        lambda x: kspike_tf.SpikingActivation("relu", dt=0.5, seed=0)(x)
    ),
    "custom:kspike_tf>Lowpass": one(lambda x: kspike_tf.Lowpass(2.0, dt=0.5)(x)),
    "custom:kspike_tf>Alpha": one(lambda x: kspike_tf.Alpha(2.0, dt=0.5)(x)),
    "TimeDistributed": one(lambda x: L.TimeDistributed(L.Dense(3))(x)),
}

_UNARY = [
    "negative",
    "absolute",
    "abs",
    "square",
    "sqrt",
    "exp",
    "expm1",
    "log",
    "log1p",
    "sin",
    "cos",
    "tanh",
    "sign",
    "floor",
    "ceil",
    "rsqrt",
    "reciprocal",
    "relu",
    "relu6",
    "sigmoid",
    "silu",
    "softplus",
    "softsign",
    "hard_sigmoid",
    "hard_silu",
    "selu",
    "logical_not",
    "ones_like",
    "zeros_like",
    "softmax",
]
_BINARY = [
    "add",
    "subtract",
    "multiply",
    "power",
    "maximum",
    "minimum",
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "logical_and",
    "logical_or",
]
_REDUCING = ["mean", "sum", "max", "min", "prod", "any", "all"]


def along(function):
    """Return a function of x that works along axis 1."""
    return lambda x: function(x, axis=1)


def key_of(operation):
    return "ops:" + "".join(part.capitalize() for part in operation.split("_"))


# Divisors are positive, because Keras refuses to divide integers by zero.
_DIVIDING = ("true_divide", "divide", "floor_divide", "mod")
OPERATIONS = (
    {key_of(name): one(getattr(ops, name)) for name in _UNARY}
    | {key_of(name): two(getattr(ops, name)) for name in _BINARY}
    | {key_of(name): two(getattr(ops, name), within=(1, 9)) for name in _DIVIDING}
    | {key_of(name): one(along(getattr(ops, name))) for name in _REDUCING}
    | {
        "ops:Power": two(ops.power, within=(0, 5)),
        "ops:Reshape": one(lambda x: ops.reshape(x, (-1, 4, 5))),
        "ops:Transpose": one(lambda x: ops.transpose(x, (0, 2, 1))),
        "ops:ExpandDims": one(lambda x: ops.expand_dims(x, 1)),
        "ops:Squeeze": one(lambda x: ops.squeeze(x, 2), 5, 1),
        "ops:GetItem": one(lambda x: x[:, 1:3]),
        "ops:Concatenate": two(lambda x, y: ops.concatenate([x, y], axis=-1)),
        "ops:Stack": two(lambda x, y: ops.stack([x, y], axis=-1)),
        "ops:Clip": one(lambda x: ops.clip(x, 1, 3)),
        "ops:Cast": one(lambda x: ops.cast(x, "int32")),
    }
)

# Other uses of them, with type rules of their own.
_ACTIVATIONS = [
    "celu",
    "elu",
    "exponential",
    "gelu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_tanh",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softmax",
    "softplus",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "squareplus",
    "tanh_shrink",
    "glu",
]
_TARGETS = ("bool", "int8", "float16", "bfloat16", "float32", "float64")
USES = {f"activation {name}": one(lambda x, n=name: L.Activation(n)(x)) for name in _ACTIVATIONS}
USES |= {
    "ReLU()": one(lambda x: L.ReLU()(x)),
    "ReLU(2.5)": one(lambda x: L.ReLU(2.5)(x)),
    "ReLU(6)": one(lambda x: L.ReLU(6)(x)),
    "ReLU with a slope": one(lambda x: L.ReLU(negative_slope=0.5)(x)),
    "ReLU with a threshold": one(lambda x: L.ReLU(threshold=1.5)(x)),
    "ReLU with both": one(lambda x: L.ReLU(3.5, threshold=1.5)(x)),
    "Activation(LeakyReLU())": one(lambda x: L.Activation(L.LeakyReLU())(x)),
    "Dense with gelu": one(lambda x: L.Dense(3, "gelu")(x)),
    "rms_scaling": one(lambda x: L.LayerNormalization(rms_scaling=True)(x)),
    "Normalization backwards": one(
        lambda x: L.Normalization(mean=3.0, variance=4.0, invert=True)(x)
    ),
    "Dot of vectors": two(lambda x, y: L.Dot(1)([x, y]), 4, within=(0, 7)),
    "Dot normalised": two(lambda x, y: L.Dot(2, normalize=True)([x, y])),
    "UpSampling2D bilinear": one(lambda x: L.UpSampling2D(2, interpolation="bilinear")(x), *IMAGE),
    "MaxPooling1D same": one(lambda x: L.MaxPooling1D(3, 2, "same")(x)),
    "MaxPooling2D same": one(lambda x: L.MaxPooling2D((3, 2), (2, 3), "same")(x), *IMAGE),
    "Masking of zeros": one(lambda x: L.Masking()(x), within=(0, 1)),
    "the mean of steps": one(lambda x: L.GlobalAveragePooling1D()(L.Masking()(x)), within=(0, 1)),
    "three summands": one(lambda x: L.Add()([x, x, L.Identity()(x)])),
    "a masked mean": one(lambda x: ops.sum(x * (x > 0), 1) / ops.sum(x > 0, 1)),
    **{f"cast to {name}": one(lambda x, n=name: ops.cast(x, n)) for name in _TARGETS},
    "x + 1": one(lambda x: x + 1),
    "x + 1.5": one(lambda x: x + 1.5),
    "x + True": one(lambda x: x + True, left_out=("bfloat16",)),
    "x + (-1)": one(lambda x: x + -1),
    "x + 300": one(lambda x: x + 300),
    "1 - x": one(lambda x: 1 - x),
    "1 - (x > .5)": one(lambda x: 1 - (x > 0.5)),
    "2 * (x > .5)": one(lambda x: 2.0 * (x > 0.5)),
    "x / 2": one(lambda x: x / 2),
    "x // 2": one(lambda x: x // 2),
    "x // .1": one(lambda x: x // 0.1),
    "x % 3": one(lambda x: x % 3),
    "x % .7": one(lambda x: x % 0.7),
    "x ** 2": one(lambda x: x**2, within=(0, 9)),
    "2. ** x": one(lambda x: 2.0**x, within=(0, 9)),
    "x > .1": one(lambda x: x > 0.1),
    "x > 300": one(lambda x: x > 300),
    "x == 300": one(lambda x: ops.equal(x, 300)),
    "x and True": one(lambda x: ops.logical_and(x, True)),
    "maximum(x, .5)": one(lambda x: ops.maximum(x, 0.5)),
    "maximum(x, 300)": one(lambda x: ops.maximum(x, 300)),
    "clip(x, .5, 1.5)": one(lambda x: ops.clip(x, 0.5, 1.5)),
    "clip(x, 3, 1)": one(lambda x: ops.clip(x, 3, 1)),
    "max with 9": one(lambda x: ops.max(x, axis=1, initial=9)),
    "min with .5": one(lambda x: ops.min(x, axis=1, initial=0.5)),
    "ones of int8": one(lambda x: ops.ones_like(x, dtype="int8")),
    "x + float64": one(lambda x: x + np.full(4, 0.1)),
    "x + float32": one(lambda x: x + np.full(4, 0.1, np.float32)),
    "x + int64": one(lambda x: x + np.arange(4)),
    "x + int8": one(lambda x: x + np.arange(4, dtype=np.int8)),
    "sum to float": one(lambda x: ops.sum(x, axis=-1) * 0.5),
}

_MORE = [
    "celu",
    "elu",
    "gelu",
    "hard_shrink",
    "hard_tanh",
    "leaky_relu",
    "log_sigmoid",
    "soft_shrink",
    "sparse_plus",
    "sparse_sigmoid",
    "squareplus",
    "tanh_shrink",
    "erf",
    "log_softmax",
    "sparsemax",
    "glu",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctanh",
    "cosh",
    "sinh",
    "tan",
    "log10",
    "log2",
    "exp2",
    "isfinite",
    "isinf",
    "isnan",
]
_SINGLE = dict.fromkeys(("gelu", "leaky_relu"), ("float64",))  # Keras' constants are float32
_MORE_REDUCING = ["var", "std", "logsumexp", "count_nonzero", "amax", "amin", "argmax", "argmin"]
_ALONG = ["sort", "argsort", "cumsum", "cumprod"]
MORE = (
    {
        key_of(name): one(getattr(ops, name), left_out=_SINGLE.get(name, ()))
        for name in _MORE
        if hasattr(ops, name)
    }
    | {key_of(name): one(along(getattr(ops, name))) for name in _MORE_REDUCING}
    | {key_of(name): one(along(getattr(ops, name))) for name in _ALONG}
    | {
        "ops:LogicalXor": two(ops.logical_xor),
        "ops:Threshold": one(lambda x: ops.threshold(x, 0.5, 2.0)),
        "ops:Where": two(lambda x, y: ops.where(x > 0, x, y)),
        "ops:SaturateCast": one(lambda x: ops.saturate_cast(x, "uint8")),
        "ops:ConvertToTensor": one(lambda x: ops.convert_to_tensor(x)),
        "ops:Norm": one(lambda x: ops.norm(x, axis=1)),
        "ops:Normalize": one(lambda x: ops.normalize(x, axis=1)),
        "ops:TopK": one(lambda x: ops.top_k(x, 2)[0]),
        "ops:Matmul": two(lambda x, y: ops.matmul(x, ops.transpose(y, (0, 2, 1))), within=(0, 5)),
        "ops:Einsum": two(lambda x, y: ops.einsum("abc,abc->ab", x, y), within=(0, 5)),
        "ops:Split": one(lambda x: ops.split(x, 2, axis=2)[1]),
        "ops:Unstack": one(lambda x: ops.unstack(x, axis=1)[1]),
        "ops:Take": one(lambda x: ops.take(x, [0, 2], axis=1)),
        "ops:Pad": one(lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 0)))),
        "ops:Repeat": one(lambda x: ops.repeat(x, 2, axis=1)),
        "ops:Tile": one(lambda x: ops.tile(x, (1, 2, 1))),
        "ops:Swapaxes": one(lambda x: ops.swapaxes(x, 1, 2)),
        "ops:Moveaxis": one(lambda x: ops.moveaxis(x, 1, 2)),
        "ops:Flip": one(lambda x: ops.flip(x, axis=1)),
        "ops:Roll": one(lambda x: ops.roll(x, 1, axis=1)),
        "ops:OneHot": one(lambda x: ops.one_hot(x, 4), 5, within=(0, 3)),
        "ops:MultiHot": one(lambda x: ops.multi_hot(x, 4), 5, within=(0, 3)),
    }
)

COLOURS = (6, 5, 3)
FRAMES = (3, 6, 5, 2)
_AUGMENTING = {
    "AugMix": (), "CutMix": (), "MaxNumBoundingBoxes": (3,), "MixUp": (), "RandAugment": (),
    "RandomBrightness": (0.3,), "RandomColorDegeneration": (0.3,), "RandomColorJitter": (),
    "RandomContrast": (0.3,), "RandomCrop": (4, 4), "RandomElasticTransform": (),
    "RandomErasing": (), "RandomFlip": (), "RandomGaussianBlur": (), "RandomGrayscale": (),
    "RandomHue": (0.3,), "RandomInvert": (), "RandomPerspective": (), "RandomPosterization": (4,),
    "RandomRotation": (0.2,), "RandomSaturation": (0.3,), "RandomSharpness": (0.3,),
    "RandomShear": (), "RandomTranslation": (0.1, 0.1), "RandomZoom": (0.2,), "Solarization": (),
}  # fmt: skip


def augmenting(name, arguments):
    return one(lambda x: getattr(L, name)(*arguments)(x), *COLOURS)


def conv_lstm(rank):
    return one(lambda x: getattr(L, f"ConvLSTM{rank}D")(3, 2)(x), *FRAMES[: rank + 1], 2)


def encoding(make, *shape, **options):
    return one(lambda x: make()(x), *(shape or (5,)), **options)


_HEADS = one(lambda x: L.GroupQueryAttention(3, 4, 2)(x, x))
NEWER = (
    {name: augmenting(name, given) for name, given in _AUGMENTING.items() if hasattr(L, name)}
    | {f"ConvLSTM{rank}D{part}": conv_lstm(rank) for rank in (1, 2, 3) for part in ("", "Cell")}
    | {
        "MultiHeadAttention": two(lambda x, y: L.MultiHeadAttention(2, 3)(x, y)),
        "GroupQueryAttention": _HEADS,
        "GroupedQueryAttention": _HEADS,
        "Attention": two(lambda x, y: L.Attention(use_scale=True)([x, y]), within=(0, 5)),
        "AdditiveAttention": two(lambda x, y: L.AdditiveAttention()([x, y])),
        "SpectralNormalization": one(
            lambda x: L.SpectralNormalization(L.Dense(3))(x), is_cut=True, within=(0, 3)
        ),
        "CategoryEncoding": encoding(lambda: L.CategoryEncoding(9), within=(0, 8)),
        "Discretization": encoding(lambda: L.Discretization([-1.0, 0.0, 1.5, 50.0])),
        "IntegerLookup": encoding(lambda: L.IntegerLookup(vocabulary=[1, 5, 3]), within=(0, 8)),
        "AutoContrast": one(lambda x: L.AutoContrast()(x), *COLOURS),
        "Resizing": one(lambda x: L.Resizing(4, 7)(x), *COLOURS),
        "CenterCrop": one(lambda x: L.CenterCrop(4, 3)(x), *COLOURS),
        "Pipeline": one(lambda x: L.Pipeline([L.RandomFlip(), L.Rescaling(0.5)])(x), *COLOURS),
        "custom:kspike_tf>TimeFolded": one(lambda x: kspike_tf.TimeFolded(L.Dense(3))(x)),
        "ops:TakeAlongAxis": one(
            lambda x: ops.take_along_axis(x, ops.cast(x > 0, "int32"), axis=2)
        ),
    }
)


def quantised(layer):
    """Return a function that applies a layer with 8-bit weights."""

    def build(x):
        made = layer()
        made(x)
        made.quantize("int8")
        return made(x)

    return build


USES |= {
    "Dense in 8 bits": one(
        quantised(lambda: L.Dense(3)), refused=("uint8", "uint16", "uint32", "uint64")
    ),
    "Embedding in 8 bits": one(quantised(lambda: L.Embedding(9, 3)), 5, within=(0, 8)),
    "causal attention": one(lambda x: L.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True)),
    "attention dropped out": one(lambda x: L.MultiHeadAttention(2, 3, dropout=0.5)(x, x)),
    "attention as it is": two(lambda x, y: L.Attention()([x, y]), within=(0, 5)),
    "causal attention as it is": two(
        lambda x, y: L.Attention()([x, y], use_causal_mask=True), within=(0, 5)
    ),
    "attention that concatenates": two(lambda x, y: L.Attention(score_mode="concat")([x, y])),
    "spectral Conv1D": one(lambda x: L.SpectralNormalization(L.Conv1D(3, 2))(x)),
    "spectral Embedding": one(
        lambda x: L.SpectralNormalization(L.Embedding(9, 3))(x), 5, within=(0, 8)
    ),
    "pooling at every step": one(lambda x: L.TimeDistributed(L.MaxPooling1D(2))(x), 3, 4, 2),
    "folded pooling": one(lambda x: kspike_tf.TimeFolded(L.MaxPooling1D(2))(x), 3, 4, 2),
    "folded embedding": one(
        lambda x: kspike_tf.TimeFolded(L.Embedding(9, 3))(x), 5, 2, within=(0, 8)
    ),
    **{
        f"{name} as {mode}": encoding(lambda make=make, mode=mode: make(mode), within=(0, 8))
        for mode in ("one_hot", "multi_hot", "count")
        for name, make in {
            "categories": lambda mode: L.CategoryEncoding(9, output_mode=mode),
            "bins": lambda mode: L.Discretization([1.0, 2.5, 4.0], output_mode=mode),
            "places": lambda mode: L.IntegerLookup(vocabulary=[1, 5, 3], output_mode=mode),
        }.items()
    },
    "places of zeros": encoding(
        lambda: L.IntegerLookup(vocabulary=[1, 5], mask_token=0, num_oov_indices=2), within=(0, 8)
    ),
    "weighted categories": Entry(
        lambda x, w: L.CategoryEncoding(9, output_mode="count")(x, count_weights=w),
        ((5,), (5,)), (0, 8),
    ),
    **{
        f"Resizing {method}": one(
            lambda x, method=method: L.Resizing(4, 7, interpolation=method)(x), *COLOURS
        )
        for method in ("nearest", "bicubic", "lanczos3", "lanczos5", "area")
    },
    "Resizing cut": one(lambda x: L.Resizing(4, 7, crop_to_aspect_ratio=True)(x), *COLOURS),
    "Resizing padded": one(
        lambda x: L.Resizing(4, 7, pad_to_aspect_ratio=True, fill_value=3.0)(x), *COLOURS
    ),
    "Resizing padded by an integer": one(
        lambda x: L.Resizing(4, 7, pad_to_aspect_ratio=True, fill_value=3)(x), *COLOURS
    ),
    "CenterCrop of less": one(lambda x: L.CenterCrop(9, 8)(x), *COLOURS),
    "AutoContrast of units": one(lambda x: L.AutoContrast(value_range=(0, 1))(x), *COLOURS),
    "a Pipeline of Dense": one(lambda x: L.Pipeline([L.Dense(3), L.ReLU()])(x)),
    "a Pipeline of padding": one(lambda x: L.Pipeline([L.ZeroPadding2D(1)])(x), *COLOURS),
}  # fmt: skip
if not hasattr(L, "RMSNormalization"):  # before Keras 3.9
    del LAYERS["RMSNormalization"]
if not hasattr(ops, "sparse_sigmoid"):
    del USES["activation sparse_sigmoid"]
if versions.KERAS < (3, 11):
    del MORE["ops:Logsumexp"]  # fails for a single axis
if versions.KERAS < versions.NEWEST:  # older versions cast integers differently, or not at all
    del LAYERS["LayerNormalization"], LAYERS["GroupNormalization"]
    del USES["rms_scaling"], MORE["ops:ConvertToTensor"]
    # Layers that have changed since: test_attention, test_images and test_more_layers cover them.
    NEWER = {}
    for name in list(USES)[list(USES).index("Dense in 8 bits") :]:
        del USES[name]
# TensorFlow may abort where a number does not fit into uint64: its issue 75400.
for table in (MORE, USES):
    for name in table.keys() & {
        "ops:SparsePlus", "ops:SparseSigmoid", "ops:SaturateCast",
        "activation sparse_plus", "activation sparse_sigmoid",
    }:  # fmt: skip
        table[name] = replace(table[name], refused=("uint64",))
ENTRIES = LAYERS | OPERATIONS | MORE | NEWER
