"""Layers that rearrange, merge, pool or resize values."""

import math

import numpy as np

from kspike_energy.counting.fan_out import Factor, FanOut
from kspike_energy.counting.nodes import Counts, Node, Term
from kspike_energy.counting.resampling import resampled, resampled_to_aspect_ratio
from kspike_energy.counting.rules.linear import as_tuple, convolution
from kspike_energy.counting.rules.table import names, rule
from kspike_energy.counting.rules.units import elementwise, products

__all__ = ["pooling"]

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
    contracted = node.inputs[0][axes[0]] or 1
    return products(node, math.prod(node.units_out()) * contracted)


def pooling(node: Node) -> FanOut:
    """Return the fan-out of pooling windows, of a layer or of an operation."""
    size = node.config["pool_size"]
    strides = node.config.get("strides") or size
    return convolution(node, {**node.config, "kernel_size": size, "strides": strides}, 1)


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
    shape = node.units_in()
    bins = node.outputs[0][-len(shape) :]
    factors = tuple(_bins_of(n, m or 1) for n, m in zip(shape, bins, strict=True))
    return Counts((Term(FanOut(shape, factors)),), spiking=spiking)


def _bins_of(length: int, bins: int) -> Factor:
    """Return the number of bins that every element of an axis belongs to."""
    if bins == length:
        return 1
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
