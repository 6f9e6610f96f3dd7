"""Tests of every layer argument: it works as in Keras, is refused, or has no effect."""

from __future__ import annotations

import inspect

import keras
import layerwise
import numpy as np
import pytest
import versions
from keras import layers as L

import kspike_ref
import kspike_tf
from kspike_ref.layers.images import Augmentation
from kspike_ref.layers.registry import _registry

# Arguments that do not affect a trained model's answer, and why.
NO_EFFECT = {
    "values that are in the file": "initializer regularizer constraint weights",
    "of training": (
        "trainable rate noise_shape seed stddev l1 l2 dropout recurrent_dropout momentum"
        " synchronized renorm_clipping renorm_momentum unit_forget_bias spiking_aware_training"
        " apply_during_training power_iterations"
    ),
    "of speed": "unroll use_cudnn flash_attention",
    "that Keras makes an Input of": "input_shape",
    "of adapt, which leaves its results in the file": "num_bins epsilon max_tokens",
    "of boxes, and of augmentation": "bounding_box_format factor",
    "documented in Model.predict, and tested there: each call starts anew": "stateful",
    "tested with the types": "dtype",
    "tested with quantised and adapted layers": (
        "lora_rank lora_alpha quantization_config gptq_unpacked_column_size"
    ),
    "of base classes, set by the layers themselves": (
        "self name args kwargs rank pool_dimensions pool_mode state_size always_use_inference"
    ),
    "of masks, tested with them": "zero_output_for_mask mask_zero",
}
# Names of such arguments, or their last words.
UNUSED = {name for names in NO_EFFECT.values() for name in names.split()}
SEQUENCE, IMAGE, VOLUME = (6, 4), (6, 7, 4), (4, 5, 4, 2)
CAUSAL = {"padding": "causal", "dilation_rate": 2}


def _options(cls):
    return set(inspect.signature(cls.__init__).parameters)


def _spatial(rank):
    """Return a shape and the options that convolutions of every rank share."""
    shape = {1: SEQUENCE, 2: IMAGE, 3: VOLUME}[rank]
    return shape, [
        {"strides": 2, "padding": "same", "activation": "tanh"},
        {"dilation_rate": 2, "use_bias": False},
        {"data_format": "channels_first"},
    ]


CASES = []


def case(make, shape, *every, **common):
    CASES.extend(
        (make, {**common, **options}, shape)
        for options in every or ({},)
        if versions.KERAS >= versions.NEWEST or not _needs_newest(make.__name__, options)
    )


def _needs_newest(name, options):
    """Return whether older versions of Keras fail on a CPU, or give another shape."""
    needs = {"data_format"} if "Conv" in name else set()
    needs |= {"dilation_rate", "output_padding"} if "Transpose" in name else set()
    return not needs.isdisjoint(options)


for rank in (1, 2, 3):
    shape, every = _spatial(rank)
    sizes = {"filters": 4, "kernel_size": 2}
    conv = getattr(L, f"Conv{rank}D")
    case(conv, shape, *every, {"groups": 2, "use_bias": True}, **sizes)
    transposed = getattr(L, f"Conv{rank}DTranspose")
    case(transposed, shape, *every, **sizes)
    case(transposed, shape, {"strides": 2, "output_padding": 1, "padding": "same"}, **sizes)
    if rank < 3:
        depthwise = getattr(L, f"DepthwiseConv{rank}D")
        case(depthwise, shape, *every, {"depth_multiplier": 3}, kernel_size=2)
        separable = getattr(L, f"SeparableConv{rank}D")
        case(separable, shape, *every, {"depth_multiplier": 3}, **sizes)
    for kind in ("Average", "Max"):
        pooling = getattr(L, f"{kind}Pooling{rank}D")
        case(pooling, shape, {"strides": 2, "padding": "same"}, {}, pool_size=3)
        case(pooling, shape, {"data_format": "channels_first"}, pool_size=2)
        everywhere = getattr(L, f"Global{kind}Pooling{rank}D")
        case(everywhere, shape, {"keepdims": True}, {"data_format": "channels_first"})
    around = ({"padding": 2}, {"padding": ((1, 2),) * rank if rank > 1 else (1, 2)})
    case(getattr(L, f"ZeroPadding{rank}D"), shape, *around)
    case(getattr(L, f"ZeroPadding{rank}D"), shape, {"data_format": "channels_first"})
    cropping = getattr(L, f"Cropping{rank}D")
    case(cropping, shape, {"cropping": 1}, {"cropping": ((1, 0),) * rank if rank > 1 else (1, 0)})
    case(getattr(L, f"UpSampling{rank}D"), shape, {"size": 3})
    if rank > 1:
        case(cropping, shape[::-1], {"data_format": "channels_first"}, cropping=1)
        case(getattr(L, f"UpSampling{rank}D"), shape, {"data_format": "channels_first"})
        dropout = getattr(L, f"SpatialDropout{rank}D")
        case(dropout, shape, {"data_format": "channels_first"}, rate=0.5)
case(L.Conv1D, SEQUENCE, CAUSAL, filters=3, kernel_size=2)
case(L.UpSampling2D, IMAGE, {"interpolation": "bilinear"}, {"interpolation": "bicubic"})
case(L.Activation, SEQUENCE, {"activation": "softsign"})
case(L.ReLU, SEQUENCE, {"max_value": 1.0}, {"negative_slope": 0.3, "threshold": 0.5})
case(L.LeakyReLU, SEQUENCE, {"negative_slope": 0.1})
case(L.ELU, SEQUENCE, {"alpha": 0.5})
case(L.Softmax, SEQUENCE, {"axis": 1}, {"axis": (1, 2)})
case(L.PReLU, IMAGE, {"shared_axes": [1, 2]}, {})
case(L.Masking, SEQUENCE, {"mask_value": 0.0})
case(L.Dense, SEQUENCE, {"activation": "gelu"}, {"use_bias": False}, units=3)
einsum = {"equation": "abc,cd->abd", "output_shape": (None, 3)}
case(L.EinsumDense, SEQUENCE, {"activation": "tanh"}, {"bias_axes": "d"}, **einsum)
case(L.EinsumDense, SEQUENCE, {"bias_axes": "bd", "output_shape": (6, 3)}, equation="abc,cd->abd")
case(L.Embedding, SEQUENCE, input_dim=1, output_dim=3)
case(L.BatchNormalization, IMAGE, {"axis": 1}, {"epsilon": 0.5, "center": False}, {"scale": False})
case(L.LayerNormalization, IMAGE, {"axis": [1, 3]}, {"epsilon": 0.5, "center": False})
case(L.LayerNormalization, IMAGE, {"scale": False})
if hasattr(L, "RMSNormalization"):  # Keras 3.9 and newer
    case(L.RMSNormalization, IMAGE, {"axis": [2, 3]}, {"epsilon": 0.5})
    case(L.RMSNormalization, (3, 3), {"axis": 1})
case(L.GroupNormalization, IMAGE, {"groups": 2, "epsilon": 0.5}, {"groups": -1, "center": False})
case(L.GroupNormalization, IMAGE, {"groups": 2, "scale": False}, {"groups": 3, "axis": 1})
case(L.UnitNormalization, IMAGE, {"axis": 1}, {"axis": [1, 2]})
case(L.Normalization, SEQUENCE, {"invert": True}, {}, mean=[1.0, 2, 3, 4], variance=[1.0, 4, 9, 2])
case(L.Normalization, SEQUENCE, axis=None, mean=2.0, variance=4.0)
case(L.Rescaling, SEQUENCE, {"scale": 0.5, "offset": 2.0}, {"scale": [1, 2, 3, 4.0]})
case(L.Flatten, IMAGE, {"data_format": "channels_first"}, {})
case(L.Reshape, SEQUENCE, {"target_shape": (-1, 3)})
case(L.Permute, IMAGE, {"dims": (3, 1, 2)})
case(L.RepeatVector, (4,), {"n": 3})
for recurrent in (L.SimpleRNN, L.LSTM, L.GRU):
    options = [{"activation": "relu"}, {"use_bias": False}, {"go_backwards": True}]
    case(recurrent, SEQUENCE, *options, {"return_sequences": True, "return_state": True}, units=3)
for gated in (L.LSTM, L.GRU):
    case(gated, SEQUENCE, {"recurrent_activation": "hard_sigmoid"}, units=3)
case(L.GRU, SEQUENCE, {"reset_after": False}, units=3)
cells = {
    L.SimpleRNNCell: [{"activation": "relu", "use_bias": False}],
    L.LSTMCell: [{"activation": "relu", "recurrent_activation": "tanh", "use_bias": False}],
    L.GRUCell: [
        {"activation": "relu", "recurrent_activation": "tanh", "use_bias": False},
        {"reset_after": False},
    ],
}
RUN = [
    {"return_sequences": True}, {"return_state": True, "go_backwards": True},
]  # fmt: skip


def over_time(make):
    """Return a function that makes a cell and runs it over time."""

    def run(return_sequences=False, return_state=False, go_backwards=False, **options):
        return L.RNN(
            make(**options), return_sequences=return_sequences, return_state=return_state,
            go_backwards=go_backwards,
        )  # fmt: skip

    run.made = make
    return run


for make, every in cells.items():
    case(over_time(make), SEQUENCE, *every, units=3)
case(L.RNN, SEQUENCE, *RUN, cell=lambda: L.GRUCell(3))
case(L.RNN, SEQUENCE, cell=lambda: L.StackedRNNCells([L.GRUCell(3), L.LSTMCell(2)]))
for mode in ("concat", "sum", "mul", "ave"):
    case(L.Bidirectional, SEQUENCE, merge_mode=mode, layer=lambda: L.LSTM(3))
case(
    L.Bidirectional, SEQUENCE, layer=lambda: L.GRU(2),
    backward_layer=lambda: L.GRU(2, go_backwards=True, activation="relu"),
)  # fmt: skip
case(L.TimeDistributed, SEQUENCE, layer=lambda: L.Dense(3))
temporal = [{"return_sequences": False, "return_state": True}, {"dt": 0.2}]
# as many steps as examples; the seed is that of the spikes
case(kspike_tf.SpikingActivation, (3, 5), {"time_major": True, "activation": "relu", "seed": 1})
for make in (kspike_tf.Lowpass, kspike_tf.Alpha):
    case(make, (3, 5), {"time_major": True, "tau_initializer": 0.5})
case(kspike_tf.SpikingActivation, SEQUENCE, *temporal, activation="relu", seed=1)
case(kspike_tf.Lowpass, SEQUENCE, *temporal, tau_initializer=0.5)
case(kspike_tf.Alpha, SEQUENCE, *temporal, tau_initializer=0.5)
SIZE = {"size": (4,), "dt": 0.2}
case(over_time(kspike_tf.SpikingActivationCell), SEQUENCE, activation="relu", seed=1, **SIZE)
case(over_time(kspike_tf.LowpassCell), SEQUENCE, tau_initializer=0.5, **SIZE)
case(over_time(kspike_tf.AlphaCell), SEQUENCE, tau_initializer=0.5, **SIZE)


def on_itself(make, listed=False):
    """Return a function that makes an attention layer and applies it to a tensor and itself."""

    def run(**options):
        layer = make(**options)
        return lambda x: layer([x, x]) if listed else layer(x, x)

    run.made = make
    return run


def of_integers(make):
    """Return a function that makes a layer and applies it to categories."""

    def run(**options):
        layer = make(**options)
        return lambda x: layer(keras.ops.cast(keras.ops.abs(x) * 3, "int32") % 6)

    run.made = make
    return run


NEWER = [{name: value} for name, value in (("use_gate", True), ("sliding_window", 2))]
HEADS = [{"use_bias": False}, *(o for o in NEWER if {*o} <= _options(L.MultiHeadAttention))]
own = [{"value_dim": 5, "output_shape": 7}, {"attention_axes": 1}]
case(on_itself(L.MultiHeadAttention), SEQUENCE, *HEADS, *own, num_heads=2, key_dim=3)
groups = {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2}
case(on_itself(L.GroupQueryAttention), SEQUENCE, *HEADS, **groups)
scored = [{"use_scale": True}, {"score_mode": "concat"}]
case(on_itself(L.Attention, listed=True), SEQUENCE, *scored)
scored = [{"use_scale": False}, {"score_mode": "concat"}]
case(on_itself(L.AdditiveAttention, listed=True), SEQUENCE, *scored)
case(L.SpectralNormalization, SEQUENCE, layer=lambda: L.Dense(3))
case(kspike_tf.TimeFolded, SEQUENCE, layer=lambda: L.Dense(3))
for rank in (1, 2, 3):
    every = [
        {"activation": "relu", "recurrent_activation": "hard_sigmoid", "use_bias": False},
        {"strides": 2, "padding": "same", "return_sequences": True},
        {"go_backwards": True, "return_state": True},
        {"data_format": "channels_first"},
    ]
    case(getattr(L, f"ConvLSTM{rank}D"), (3, *[4] * rank, 4), *every, filters=2, kernel_size=2)
MODES = [{"output_mode": mode} for mode in ("one_hot", "multi_hot", "count")]
case(of_integers(L.CategoryEncoding), (4,), *MODES, num_tokens=6)
case(L.Discretization, (4,), *MODES, {"output_mode": "int"}, bin_boundaries=[-0.5, 0.0, 0.7])
lookups = [
    {"mask_token": 0}, {"num_oov_indices": 2, "oov_method": "floormod"}, {"oov_token": -7},
    {"num_oov_indices": 2, "oov_method": "farmhash", "salt": [1, 2]}, {"invert": True},
    {"pad_to_max_tokens": True, "max_tokens": 9, "output_mode": "one_hot"},
]  # fmt: skip
case(of_integers(L.IntegerLookup), (4,), *MODES, *lookups, vocabulary=[4, 2, 1])
sized = [
    {"interpolation": "bicubic", "antialias": True}, {"crop_to_aspect_ratio": True},
    {"pad_to_aspect_ratio": True, "fill_value": 2.0}, {"data_format": "channels_first"},
]  # fmt: skip
case(L.Resizing, IMAGE, *sized, height=3, width=5)
case(L.CenterCrop, IMAGE, {}, {"data_format": "channels_first"}, height=3, width=4)
ranges = [{"value_range": (-1, 2)}, {"data_format": "channels_first"}]
case(L.AutoContrast, IMAGE, *ranges)
case(L.Pipeline, IMAGE, layers=lambda: [L.Rescaling(0.5), L.Dense(3)])
merged = {"Concatenate": {"axis": 1}, "Dot": {"axes": (1, 1), "normalize": True}}

lookup, sparse = {"vocabulary": [4, 2, 1]}, {"sparse": True, "output_mode": "one_hot"}
REFUSED = [
    (L.Discretization, {"bin_boundaries": [0.0], **sparse}, (4,), "sparse"),
    (of_integers(L.IntegerLookup), {**lookup, **sparse}, (4,), "sparse"),
    (L.Resizing, {"height": 3, "width": 5, "fill_mode": "reflect"}, IMAGE, "fill_mode"),
    (L.BatchNormalization, {"renorm": True}, IMAGE, "renorm"),
    (L.Softmax, {"axis": 0}, SEQUENCE, "axis"),
    (lambda axis: lambda x: L.Concatenate(axis)([x, x]), {"axis": 0}, SEQUENCE, "axis"),
    (L.UnitNormalization, {"axis": 0}, SEQUENCE, "axis"),
    (lambda axis: L.RMSNormalization(axis), {"axis": 1}, SEQUENCE, "axis"),
]


def _class(key):
    name = key.split(">")[-1]
    return getattr(L, name, None) or getattr(kspike_tf, name, None)


def _arguments(cls):
    """Return the arguments of a class and of its base classes that receive its ``kwargs``."""
    names = set()
    for base in cls.__mro__:
        if base is keras.Layer or "__init__" not in base.__dict__:
            continue
        parameters = inspect.signature(base.__init__).parameters
        names |= set(parameters)
        if "kwargs" not in parameters:
            break
    return {n for n in names if n not in UNUSED and n.split("_")[-1] not in UNUSED}


@versions.whole_table
def test_the_table_holds_every_argument():
    missing = {}
    held = {}
    for make, options, *_ in (*CASES, *REFUSED):
        held.setdefault(getattr(make, "made", make), set()).update(options)
    held |= {getattr(L, name): set(options) for name, options in merged.items()}
    held[L.StackedRNNCells] = {"cells"}
    for key in _registry:
        cls = None if key.startswith("ops:") else _class(key)
        # InputLayer has its own tests; a Lambda's function belongs to the user; and augmentation is
        # the identity, whatever its arguments (see test_images).
        if cls in (None, L.InputLayer, L.Lambda) or issubclass(_registry[key], Augmentation):
            continue
        if key in ("Hashing", "StringLookup", "TextVectorization"):  # strings: see test_strings
            continue
        own = _arguments(cls) - held.get(cls, set())
        own -= {"cell"} if cls is not L.RNN else set()  # an argument of RNN
        own -= {"sparse"} if cls is L.CategoryEncoding else set()  # Keras does not save it
        if own:
            missing[key] = own
    assert not missing


@versions.whole_table
def test_arguments_have_the_effect_of_keras(tmp_path):
    rng = np.random.default_rng(0)
    inputs, outputs, names = {}, [], []
    for make, options, shape in CASES:
        tensor = inputs.setdefault(shape, keras.Input(shape))
        if make is L.Embedding:
            tensor = tensor * 0.0
        fresh = {key: value() if callable(value) else value for key, value in options.items()}
        made = make(**fresh)(tensor)
        for y in made if isinstance(made, list | tuple) else [made]:
            outputs.append(y)
            names.append(f"{getattr(make, 'made', make).__name__} {options}")
    x = inputs[SEQUENCE]
    for name, options in merged.items():
        outputs.append(getattr(L, name)(**options)([x, L.Dense(4)(x)]))
        names.append(f"{name} {options}")
    model = keras.Model(list(inputs.values()), outputs)
    model.set_weights([rng.uniform(0.2, 0.9, w.shape) for w in model.get_weights()])
    model.save(tmp_path / "m.keras")
    values = [rng.normal(size=(3, *shape)).astype(np.float32) for shape in inputs]
    theirs = layerwise.answers(model, values)
    ours = kspike_ref.load_model(tmp_path / "m.keras").predict(values)
    wrong = [
        (name, layerwise.error(a, b))
        for name, a, b in zip(names, ours, theirs, strict=True)
        if a.shape != b.shape or layerwise.error(a, b) > layerwise.TOLERANCE
    ]
    assert not wrong


@pytest.mark.parametrize(("make", "options", "shape", "argument"), REFUSED)
def test_arguments_that_are_not_supported_are_refused_by_name(
    make, options, shape, argument, tmp_path
):
    if argument == "renorm" and versions.KERAS < (3, 14):
        pytest.skip("Keras before 3.14 has no renorm")
    tensor = keras.Input(shape)
    keras.Model(tensor, [make(**options)(tensor), tensor]).save(tmp_path / "m.keras")
    with pytest.raises(kspike_ref.UnsupportedLayerError, match=argument):
        kspike_ref.load_model(tmp_path / "m.keras")
