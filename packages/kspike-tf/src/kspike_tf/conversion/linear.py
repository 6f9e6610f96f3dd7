"""Layers that are linear in their inputs, and scaling of their weights."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kspike_tf.conversion.families import in_dimensions

_TRANSPOSED = in_dimensions("Conv{}DTranspose")
_DEPTHWISE = in_dimensions("DepthwiseConv{}D")
_SEPARABLE = in_dimensions("SeparableConv{}D")
_LINEAR = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    *in_dimensions("Conv{}D"),
    *_TRANSPOSED,
    *_DEPTHWISE,
    *_SEPARABLE,
)


def is_linear(layer: Any) -> bool:
    """Return whether a layer is linear and does not override Keras' computation."""
    own: Any = type(layer)
    kind = next((cls for cls in own.__mro__ if cls in _LINEAR), None)
    return kind is not None and all(
        getattr(own, name, None) is getattr(kind, name, None)
        for name in ("call", "kernel", "convolution_op")
    )


def channel_axis(layer: Any) -> int:
    """Return the channel axis of a layer's output, counted from the last axis."""
    if getattr(layer, "data_format", "channels_last") == "channels_first":
        return -1 - layer.rank
    return -1


def has_channels(layer: Any) -> bool:
    """Return whether a layer's weights can be scaled channel by channel."""
    return is_linear(layer) and not isinstance(layer, keras.layers.EinsumDense)


def scale_channels(layer: Any, scale: np.ndarray, shift: np.ndarray) -> None:
    """Change a linear layer's weights to multiply its channels by ``scale`` and add ``shift``.

    Parameters
    ----------
    layer : keras.layers.Layer
        A layer with a bias, for which `has_channels` is true.
    scale, shift : (channels,) array
        Factors and offsets.
    """
    kernel = _output_kernel(layer)
    values = np.asarray(keras.ops.convert_to_numpy(kernel), np.float64)
    if isinstance(layer, _TRANSPOSED):
        values = values * scale[:, None]  # (..., outputs, inputs)
    elif isinstance(layer, _DEPTHWISE):
        values = values * scale.reshape(values.shape[-2:])  # (..., inputs, multiplier)
    else:
        values = values * scale
    kernel.assign(values.astype(kernel.dtype))
    bias = np.asarray(keras.ops.convert_to_numpy(layer.bias), np.float64)
    layer.bias.assign((bias * scale + shift).astype(layer.bias.dtype))


def rescale(layer: Any, factor_in: float, factor_out: float) -> None:
    """Make ``factor_in`` times a linear layer's input give ``factor_out`` times its output."""
    kernel = _output_kernel(layer)
    kernel.assign(kernel * (factor_out / factor_in))
    if getattr(layer, "bias", None) is not None:
        layer.bias.assign(layer.bias * factor_out)


def _output_kernel(layer: Any) -> Any:
    return layer.pointwise_kernel if isinstance(layer, _SEPARABLE) else layer.kernel
