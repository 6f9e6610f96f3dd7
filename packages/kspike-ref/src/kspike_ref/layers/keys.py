"""The options of every layer, as keys of its configuration.

A key that is not in a layer's table belongs to another version of Keras and may change the result,
so the model is refused. Initializers, regularizers and constraints act only in training; every
layer may have them. The tables hold the keys of Keras 3.0 to 3.15; files of Keras 2 are converted
to this form first. Layers of other packages state their keys where they are defined
(``known(..., keys=...)``). A test requires a table for every layer.
"""

from __future__ import annotations

from collections.abc import Mapping

_EVERYWHERE = frozenset({"name", "trainable", "dtype", "seed"})
_TRAINING = ("_initializer", "_regularizer", "_constraint")
_VARIANTS = "quantization_config quantization_mode lora_rank lora_alpha"
_WINDOW = "strides padding data_format"
_CONVOLUTION = f"kernel_size {_WINDOW} dilation_rate activation use_bias {_VARIANTS}"
_CELL = "units activation use_bias dropout recurrent_dropout"
TIME_KEYS = (  # of a recurrent layer, but not of its cell
    "return_sequences", "return_state", "go_backwards", "stateful", "unroll",
    "zero_output_for_mask", "time_major", "use_cudnn",
)  # fmt: skip
_TIME = " ".join(TIME_KEYS)
_GATES = "recurrent_activation implementation"
_HEADS = "dropout use_bias use_gate sliding_window flash_attention"
_GROUPS = f"{_HEADS} head_dim num_query_heads num_key_value_heads"
_IMAGE = "data_format factor bounding_box_format"  # the last two concern other layers, or boxes
_ENCODING = "output_mode sparse"
_VOCABULARY = (
    f"{_ENCODING} vocabulary vocabulary_size max_tokens idf_weights pad_to_max_tokens encoding"
)
_LOOKUP = (
    f"{_VOCABULARY} vocabulary_dtype num_oov_indices oov_token oov_method mask_token invert salt"
)
_SCALE_LAYER = "init_values projection_dim"
_SCALES = "axis epsilon center scale"
AUGMENTATIONS = (  # act only in training, so that one table with the options of all of them is safe
    "AugMix", "CutMix", "MaxNumBoundingBoxes", "MixUp", "RandAugment", "RandomBrightness",
    "RandomColorDegeneration", "RandomColorJitter", "RandomContrast", "RandomCrop",
    "RandomElasticTransform", "RandomErasing", "RandomFlip", "RandomGaussianBlur",
    "RandomGrayscale", "RandomHue", "RandomInvert", "RandomPerspective", "RandomPosterization",
    "RandomRotation", "RandomSaturation", "RandomSharpness", "RandomShear", "RandomTranslation",
    "RandomZoom", "Solarization",
)  # fmt: skip
_AUGMENTATION = (
    f"{_IMAGE} value_range fill_mode fill_value interpolation all_ops alpha chain_depth num_chains "
    "max_number num_ops brightness_factor contrast_factor hue_factor saturation_factor height "
    "width scale mode kernel_size sigma x_factor y_factor height_factor width_factor "
    "addition_factor threshold_factor"
)
_CONVOLUTIONAL_CELL = (
    f"kernel_size {_WINDOW} dilation_rate filters activation recurrent_activation use_bias "
    "unit_forget_bias dropout recurrent_dropout"
)

_KEYS: dict[str, str] = {
    "InputLayer": "batch_shape batch_input_shape sparse ragged optional",
    "Activation": "activation",
    "ReLU": "max_value negative_slope threshold",
    "LeakyReLU": "negative_slope",
    "ELU": "alpha",
    "Softmax": "axis",
    "PReLU": "shared_axes",
    "Dropout": "rate noise_shape",
    "AlphaDropout": "rate noise_shape",
    "GaussianDropout": "rate",
    "GaussianNoise": "stddev",
    "SpatialDropout1D": "rate",
    "SpatialDropout2D": "rate data_format",
    "SpatialDropout3D": "rate data_format",
    "ActivityRegularization": "l1 l2",
    "Identity": "",
    "Masking": "mask_value",
    "Dense": f"units activation use_bias {_VARIANTS}",
    "EinsumDense": f"equation output_shape activation bias_axes {_VARIANTS}",
    "Embedding": f"input_dim output_dim mask_zero weights {_VARIANTS}",
    "BatchNormalization": (
        f"{_SCALES} momentum synchronized renorm renorm_clipping renorm_momentum"
    ),
    "LayerNormalization": f"{_SCALES} rms_scaling",
    "RMSNormalization": "axis epsilon",
    "GroupNormalization": f"{_SCALES} groups",
    "UnitNormalization": "axis",
    "Normalization": "axis mean variance invert",
    "Rescaling": "scale offset data_format",
    **dict.fromkeys(
        ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"), "of_keras_2"
    ),
    **dict.fromkeys(AUGMENTATIONS, _AUGMENTATION),
    "Concatenate": "axis",
    "Dot": "axes normalize",
    "Flatten": "data_format",
    "Reshape": "target_shape",
    "Permute": "dims",
    "RepeatVector": "n",
    "UpSampling1D": "size",
    "UpSampling2D": "size data_format interpolation",
    "UpSampling3D": "size data_format",
    "SimpleRNNCell": _CELL,
    "LSTMCell": f"{_CELL} {_GATES} unit_forget_bias",
    "GRUCell": f"{_CELL} {_GATES} reset_after",
    "StackedRNNCells": "cells",
    "RNN": f"cell {_TIME}",
    "SimpleRNN": f"{_CELL} {_TIME}",
    "LSTM": f"{_CELL} {_GATES} {_TIME} unit_forget_bias",
    "GRU": f"{_CELL} {_GATES} {_TIME} reset_after",
    "Bidirectional": "layer backward_layer merge_mode",
    "TimeDistributed": "layer",
    "custom:kspike_tf>TimeFolded": "layer",
    "MultiHeadAttention": f"{_HEADS} num_heads key_dim value_dim output_shape attention_axes",
    "GroupQueryAttention": _GROUPS,
    "GroupedQueryAttention": _GROUPS,
    "Attention": "use_scale score_mode dropout",
    "AdditiveAttention": "use_scale score_mode dropout",
    "AutoContrast": f"{_IMAGE} value_range",
    "CenterCrop": f"{_IMAGE} height width",
    "Resizing": (
        f"{_IMAGE} height width interpolation crop_to_aspect_ratio pad_to_aspect_ratio fill_mode "
        "fill_value antialias"
    ),
    "Lambda": "function arguments mask output_shape",
    "LayerScale": _SCALE_LAYER,
    "custom:LayerScale": _SCALE_LAYER,
    "Pipeline": "layers",
    "SpectralNormalization": "layer power_iterations",
    "CategoryEncoding": f"{_ENCODING} num_tokens",
    "Discretization": f"{_ENCODING} bin_boundaries num_bins epsilon",
    "IntegerLookup": _LOOKUP,
    "StringLookup": _LOOKUP,
    "TextVectorization": f"{_VOCABULARY} standardize split ngrams output_sequence_length ragged",
    "Hashing": f"{_ENCODING} num_bins mask_value salt",
}  # fmt: skip
for _rank in "123":
    _KEYS |= {
        f"Conv{_rank}D": f"{_CONVOLUTION} filters groups",
        f"Conv{_rank}DTranspose": f"{_CONVOLUTION} filters output_padding",
        f"DepthwiseConv{_rank}D": f"{_CONVOLUTION} depth_multiplier",
        f"SeparableConv{_rank}D": f"{_CONVOLUTION} filters depth_multiplier",
        f"AveragePooling{_rank}D": f"pool_size {_WINDOW}",
        f"MaxPooling{_rank}D": f"pool_size {_WINDOW}",
        f"GlobalAveragePooling{_rank}D": "data_format keepdims",
        f"GlobalMaxPooling{_rank}D": "data_format keepdims",
        f"ConvLSTM{_rank}D": f"{_CONVOLUTIONAL_CELL} {_TIME}",
        f"ConvLSTM{_rank}DCell": _CONVOLUTIONAL_CELL,
        f"Cropping{_rank}D": "cropping data_format",
        f"ZeroPadding{_rank}D": "padding data_format",
    }


def set_keys(layer: str, keys: str) -> None:
    """Set the table of a layer that does not belong to Keras: its keys, separated by spaces."""
    _KEYS[layer] = keys


def unknown_keys(layer: str, config: Mapping[str, object]) -> list[str]:
    """Return the keys of a configuration that are not in the layer's table, sorted.

    A layer without a table, such as one that a user registered, may have any.
    """
    if layer not in _KEYS:
        return []
    known = _EVERYWHERE.union(_KEYS[layer].split())
    return sorted(key for key in config if key not in known and not str(key).endswith(_TRAINING))
