"""Layers that rearrange, merge, pool or resize values."""

import math

import numpy as np
from numpy.typing import NDArray

from kspike_energy.counting.fan_out import Factor, FanOut
from kspike_energy.counting.nodes import Counts, Node, Term
from kspike_energy.counting.resampling import resampled, resampled_to_aspect_ratio
from kspike_energy.counting.rules.linear import ConvolutionPlan, as_tuple, convolution
from kspike_energy.counting.rules.table import names, rule
from kspike_energy.counting.rules.units import elementwise

__all__ = ["free", "pooling"]

# An explicit list: these pass values through or do nothing at inference.
_NOTHING = names(
    """
    InputLayer Identity Flatten Reshape Permute RepeatVector Concatenate Masking
    Cropping1D Cropping2D Cropping3D ZeroPadding1D ZeroPadding2D ZeroPadding3D CenterCrop
    Dropout AlphaDropout GaussianDropout GaussianNoise SpatialDropout1D SpatialDropout2D
    SpatialDropout3D ActivityRegularization StochasticDepth
    AugMix AutoContrast CutMix MixUp RandAugment RandomBrightness RandomColorDegeneration
    RandomColorJitter RandomContrast RandomCrop RandomElasticTransform RandomErasing RandomFlip
    RandomGaussianBlur RandomGrayscale RandomHue RandomInvert RandomPerspective
    RandomPosterization RandomRotation RandomSaturation RandomSharpness RandomShear
    RandomTranslation RandomZoom MaxNumBoundingBoxes
    CategoryEncoding Discretization HashedCrossing Hashing IntegerLookup StringLookup
    TextVectorization
    """
)


@rule(*_NOTHING, free=True)
def free(node: Node) -> Counts:
    """Count nothing.

    Rearranging is wiring; dropout, noise and augmentation do nothing at inference; the host does
    lookups before the network runs.
    """
    return Counts()


@rule("Add", "Subtract", "Average")
def linear_merge(node: Node) -> Counts:
    """Count one connection per element of every input."""
    return elementwise(node)


@rule("Multiply", "Maximum", "Minimum")
def nonlinear_merge(node: Node) -> Counts:
    """Count one operation per element of every input; no spiking device runs these unchanged."""
    return elementwise(node, spiking=False)


@rule("Dot")
def dot(node: Node) -> Counts:
    """Count one multiply-add per pair of multiplied elements."""
    axes = as_tuple(node.config["axes"], 2)
    first = node.inputs[0]
    contracted = first[axes[0]] or 1
    products = math.prod(node.units_out()) * contracted
    half = products // 2
    return Counts(
        (
            Term(FanOut.spread(node.units_in(0), products - half), source=0),
            Term(FanOut.spread(node.units_in(1), half), source=1),
        ),
        spiking=False,
    )


def pooling(node: Node) -> FanOut:
    """Return the fan-out of pooling windows, of a layer or of an operation."""
    config = node.config
    rank = len(node.inputs[0]) - 2
    pool = as_tuple(config["pool_size"], rank)
    strides = config.get("strides")
    plan = ConvolutionPlan(
        kernel=pool,
        strides=pool if strides is None else as_tuple(strides, rank),
        dilation=(1,) * rank,
        padding=config["padding"].lower(),
        each=1,
        channels_first=config.get("data_format") == "channels_first",
    )
    return convolution(node, plan)


@rule("AveragePooling1D", "AveragePooling2D", "AveragePooling3D")
def average_pooling(node: Node) -> Counts:
    """Count a depthwise convolution with fixed weights: one connection per window element."""
    return Counts((Term(pooling(node)),))


@rule("MaxPooling1D", "MaxPooling2D", "MaxPooling3D")
def max_pooling(node: Node) -> Counts:
    """Count one comparison per window element; a maximum of spikes is not a spiking operation."""
    return Counts((Term(pooling(node)),), spiking=False)


@rule("GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D")
def global_average(node: Node) -> Counts:
    """Count one connection per input element."""
    return elementwise(node)


@rule("GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D")
def global_max(node: Node) -> Counts:
    """Count one comparison per input element."""
    return elementwise(node, spiking=False)


def _adaptive(node: Node, *, spiking: bool) -> Counts:
    """Count the elements of every bin; bin i of o covers floor(i·n/o) to ceil((i+1)·n/o)."""
    first = 2 if node.config.get("data_format") == "channels_first" else 1
    full_in, full_out = node.inputs[0], node.outputs[0]
    shape = node.units_in()  # raises if it is undefined
    factors: list[Factor] = []
    for axis in range(len(full_in) - len(shape), len(full_in)):
        length, bins = full_in[axis] or 1, full_out[axis] or 1
        spatial = first <= axis < first + len(full_in) - 2
        factors.append(_bins_of(length, bins) if spatial else 1)
    return Counts((Term(FanOut(shape, tuple(factors))),), spiking=spiking)


def _bins_of(length: int, bins: int) -> NDArray[np.int64]:
    """Return the number of bins that every element of an axis belongs to."""
    found = np.zeros(length, dtype=np.int64)
    for index in range(bins):
        found[index * length // bins : -(-(index + 1) * length // bins)] += 1
    return found


@rule("AdaptiveAveragePooling1D", "AdaptiveAveragePooling2D", "AdaptiveAveragePooling3D")
def adaptive_average(node: Node) -> Counts:
    """Count one connection per element of every bin."""
    return _adaptive(node, spiking=True)


@rule("AdaptiveMaxPooling1D", "AdaptiveMaxPooling2D", "AdaptiveMaxPooling3D")
def adaptive_max(node: Node) -> Counts:
    """Count one comparison per element of every bin."""
    return _adaptive(node, spiking=False)


@rule("UpSampling1D", "UpSampling2D", "UpSampling3D")
def upsampling(node: Node) -> Counts:
    """Count one connection per input element that contributes to an output element."""
    steps = as_tuple(node.config["size"], len(node.inputs[0]) - 2)[0]
    fan_out = resampled(node, node.config.get("interpolation", "nearest"), steps=steps)
    return Counts((Term(fan_out),))


@rule("Resizing")
def resizing(node: Node) -> Counts:
    """Count one connection per input element that contributes to an output element."""
    config = node.config
    interpolation = config.get("interpolation", "bilinear")
    antialias = bool(config.get("antialias"))
    if config.get("crop_to_aspect_ratio") or config.get("pad_to_aspect_ratio"):
        return Counts((Term(resampled_to_aspect_ratio(node, interpolation, antialias)),))
    return Counts((Term(resampled(node, interpolation, antialias)),))
