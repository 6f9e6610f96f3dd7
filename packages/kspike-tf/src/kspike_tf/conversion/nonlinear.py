"""Layers and operations that are not linear in their inputs, at inference."""

from __future__ import annotations

from typing import Any

import keras

from kspike_tf.conversion import activations
from kspike_tf.conversion.graph import Graph, Node, Ref
from kspike_tf.conversion.linear import is_linear

# Up to a constant: with fixed weights, they add, average, scale or move values. Augmentation
# layers, dropout and noise do nothing at inference. Keras 3.8 has not all of them.
_LINEAR = frozenset(
    cls
    for name, cls in vars(keras.layers).items()
    if name.startswith(
        ("AdaptiveAverage", "Average", "GlobalAverage", "Cropping", "UpSampling", "ZeroPadding",
         "SpatialDropout", "Random")
    )
    or name in (
        "ActivityRegularization", "Add", "AlphaDropout", "AugMix", "BatchNormalization",
        "CenterCrop", "Concatenate", "CutMix", "Dropout", "Flatten", "GaussianDropout",
        "GaussianNoise", "Identity", "MixUp", "Normalization", "Permute", "RandAugment",
        "RepeatVector", "Rescaling", "Reshape", "Resizing", "Subtract",
    )
)  # fmt: skip
_WRAPPERS = (keras.layers.SpectralNormalization, keras.layers.TimeDistributed)
_LINEAR_OPERATIONS = frozenset(
    (
        "add", "adaptive_average_pool", "append", "array_split", "average_pool", "broadcast_to",
        "cast", "concatenate", "convert_to_tensor", "copy", "crop_images", "cumsum",
        "depth_to_space", "diag", "diagflat", "diagonal", "diff", "dsplit", "dstack",
        "expand_dims", "extract_patches", "flip", "fliplr", "flipud", "get_item", "hsplit",
        "hstack", "linear", "mean", "moveaxis", "negative", "pad", "pad_images", "ravel", "repeat",
        "reshape", "resize", "roll", "rot90", "slice", "space_to_depth", "split", "squeeze",
        "stack", "stop_gradient", "subtract", "sum", "swapaxes", "tile", "trace", "transpose",
        "tril", "triu", "unstack", "vsplit", "vstack",
    )
)  # fmt: skip
_PRODUCTS = frozenset(  # linear in one tensor, but not in two
    (
        "conv", "conv_transpose", "cross", "depthwise_conv", "dot", "einsum", "inner", "kron",
        "matmul", "multiply", "outer", "separable_conv", "tensordot", "vdot",
    )
)  # fmt: skip
_QUOTIENTS = ("divide", "true_divide")


def is_nonlinear(node: Node) -> bool:
    """Return whether a node's outputs are no linear function of its inputs, plus a constant.

    That is so for activations, products of tensors, and for all that is not known to be linear,
    such as user-defined layers.
    """
    layer = node.layer
    if isinstance(layer, keras.layers.Layer):
        return not _is_linear_layer(layer)
    name = activations.function_name(layer)
    if name in _QUOTIENTS:  # by a number
        return len(node.inputs) > 1 or not isinstance(node.args[0], Ref)
    dtype = getattr(layer, "dtype", None)  # of a cast or a sum
    if dtype and not keras.backend.is_float_dtype(dtype):
        return True  # a step function
    return name not in _LINEAR_OPERATIONS and not (name in _PRODUCTS and len(node.inputs) == 1)


def _is_linear_layer(layer: Any) -> bool:
    if is_linear(layer):
        return activations.is_identity(activations.activation_of(layer))
    if type(layer) in _WRAPPERS:
        return _is_linear_layer(layer.layer)
    return type(layer) in _LINEAR or activations.is_identity(layer)


def unaveraged(graph: Graph, spiking: set[Node], over_time: set[Node]) -> list[Node]:
    """Return the nodes that are not linear and see spikes, step by step.

    The mean of their outputs is not their output for the mean: a ReLU of values that spikes make
    now positive, now negative is too large on average.
    """
    behind = graph.downstream(spiking)
    read = {number for node in behind for number in node.outputs}
    return [
        node
        for node in graph.nodes
        if node in over_time and read.intersection(node.inputs) and is_nonlinear(node)
    ]
