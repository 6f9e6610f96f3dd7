# ruff: noqa: D102 (methods are documented in base.Layer)
"""Layers that normalise by means and variances."""

from __future__ import annotations

from typing import Any

import numpy as np

from kspike_ref import dtypes
from kspike_ref.layers.base import Layer
from kspike_ref.layers.errors import Array, Shape, UnsupportedUseError, check_mask, mixing
from kspike_ref.layers.ops.base import positive_axes
from kspike_ref.layers.registry import known
from kspike_ref.running.binder import Binder
from kspike_ref.saved.archive import ArchiveError, Weights


def axes_of(config: dict[str, Any], rank: int) -> tuple[int, ...]:
    """Return a configuration's ``axis`` as sorted, non-negative axes."""
    return tuple(sorted(positive_axes(config.get("axis", -1), rank)))


def unit(x: Array, axes: int | tuple[int, ...]) -> Array:
    """Return floats divided by their length along some axes."""
    square = np.square(x).sum(axis=axes, keepdims=True)
    y: Array = x / np.sqrt(np.maximum(square, x.dtype.type(1e-12)))
    return y


def standardized(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    """Return floats with mean 0 and variance 1 over some axes."""
    mean = x.mean(axis=axes, keepdims=True, dtype=np.float64)
    y: Array = x - mean.astype(x.dtype)
    variance = np.square(y).mean(axis=axes, keepdims=True, dtype=np.float64)
    y *= (1 / np.sqrt(variance + epsilon)).astype(x.dtype)
    return y


def _trained(layer: Layer) -> list[str]:
    """Return the names of a layer's trained factor and offset, if it has them."""
    options = (("gamma", "scale"), ("beta", "center"))
    return [name for name, option in options if layer.boolean(option, True)]


class NormalizingLayer(Layer):
    """A layer that normalises by the statistics of its input."""

    returns_own_type = True  # for integers: the layer's type instead of theirs

    def pointwise(self, shape: Shape) -> bool:
        return len(shape) > 2 and min(axes_of(self.config, len(shape))) > 1

    def call(self, x: Array) -> Array:
        if x.dtype.kind == "f":
            return self.normalized(x)
        y = dtypes.cut(self.normalized(x.astype(self.dtype)), x.dtype)  # as in Keras
        return y.astype(self.dtype) if self.returns_own_type else y

    def normalized(self, x: Array) -> Array:
        """Return the output for floats."""
        raise NotImplementedError

    def scaled(self, y: Array, axes: tuple[int, ...]) -> Array:
        """Apply the trained factors and offsets along some axes, if there are any."""
        shape = [n if i in axes else 1 for i, n in enumerate(y.shape)]
        if "gamma" in self.weights:
            y *= self.weights["gamma"].reshape(shape)
        if "beta" in self.weights:
            y += self.weights["beta"].reshape(shape)
        return y


@known("BatchNormalization")
class BatchNormalization(Layer):
    """Normalisation by the means and variances of training."""

    casts = "biuf"
    passes_mask = True
    keras_arguments = ("training", "mask")
    uses_mask = True  # in training; here it is accepted and ignored

    def setup(self) -> None:
        if self.config.get("renorm"):
            raise UnsupportedUseError(f"{self.name}: BatchNormalization with renorm=True")
        self.epsilon = self.number("epsilon", 1e-3)

    def output_shape(self, shape: Shape) -> Shape:
        if self.weights and len(shape) != self.rank:
            raise ArchiveError(f"layer {self.name!r} was built for {self.rank} axes, not {shape}")
        return super().output_shape(shape)

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        (axis,) = axes_of(self.config, len(shape))
        size: Any = (shape[axis],)
        return dict.fromkeys([*_trained(self), "moving_mean", "moving_variance"], size)

    def pointwise(self, shape: Shape) -> bool:
        return len(shape) > 2 and axes_of(self.config, len(shape)) != (1,)

    def mask_axes(self, given: Any, *shapes: Any) -> int | None:
        check_mask(given[0], len(shapes[0]) - 1)
        return super().mask_axes(given, *shapes)

    def load(self, store: Weights, path: str, *shapes: Any) -> None:
        self.rank = len(shapes[0])
        super().load(store, path, *shapes)

    def prepare(self) -> None:
        weights = {name: w.astype(np.float64) for name, w in self.weights.items()}
        variance = weights["moving_variance"] + self.epsilon
        if not (variance > 0).all():
            raise ArchiveError(f"layer {self.name!r} has a negative variance")
        scale = weights.get("gamma", 1.0) / np.sqrt(variance)
        shift = weights.get("beta", 0.0) - weights["moving_mean"] * scale
        shape = [1] * self.rank
        (axis,) = axes_of(self.config, self.rank)
        shape[axis] = -1
        self.scale = scale.astype(self.dtype).reshape(shape)
        self.shift = shift.astype(self.dtype).reshape(shape)

    def bind(self, binder: Binder, x: Array) -> Array | None:
        if x.ndim != self.rank:
            return None
        out = binder.over(x)
        binder.call(np.multiply, x, self.scale, out)
        binder.call(np.add, out, self.shift, out)
        return out

    def call(self, x: Array, mask: Any = None) -> Array:
        y: Array = x * self.scale
        y += self.shift
        return y


@known("LayerNormalization")
class LayerNormalization(NormalizingLayer):
    """Normalisation to mean 0 and variance 1 over some axes of each example."""

    passes_mask = True

    def setup(self) -> None:
        self.epsilon = self.number("epsilon", 1e-3)
        self.rms = self.boolean("rms_scaling", False)

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        size: Any = tuple(shape[axis] for axis in axes_of(self.config, len(shape)))
        names = ["gamma"] if self.boolean("scale", True) or self.rms else []
        names += ["beta"] if self.boolean("center", True) and not self.rms else []
        return dict.fromkeys(names, size)

    def normalized(self, x: Array) -> Array:
        axes = axes_of(self.config, x.ndim)
        if self.rms:
            # Keras' layer_normalization scales by the deviation from the mean here, not by the RMS
            deviation = np.sqrt(x.var(axis=axes, keepdims=True) + self.epsilon)
            return self.scaled(x / deviation.astype(x.dtype), axes)
        return self.scaled(standardized(x, axes, self.epsilon), axes)


@known("RMSNormalization")
class RMSNormalization(NormalizingLayer):
    """Division by the root mean square over some axes."""

    returns_own_type = False

    def setup(self) -> None:
        self.epsilon = self.number("epsilon", 1e-6)

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        size: Any = tuple(shape[axis] for axis in axes_of(self.config, len(shape)))
        return {"scale": size}

    def output_shape(self, shape: Shape) -> Shape:
        # Keras (3.15) multiplies by the scale along the last axes, whatever ``axis`` is
        axes = axes_of(self.config, len(shape))
        last = shape[len(shape) - len(axes) :]
        if any(shape[a] not in (1, n) for a, n in zip(axes, last, strict=True)):
            raise UnsupportedUseError(
                f"RMSNormalization with axis={self.config.get('axis')} for an input of shape "
                f"{shape}, which fails in Keras"
            )
        return shape

    def normalized(self, x: Array) -> Array:
        axes = axes_of(self.config, x.ndim)
        square = np.square(x).mean(axis=axes, keepdims=True, dtype=np.float64)
        y: Array = x * (1 / np.sqrt(square + self.epsilon)).astype(x.dtype)
        return y * self.weights["scale"]


@known("GroupNormalization")
class GroupNormalization(NormalizingLayer):
    """Normalisation to mean 0 and variance 1 over groups of channels."""

    passes_mask = True

    def setup(self) -> None:
        self.epsilon = self.number("epsilon", 1e-3)
        self.groups = self.config.get("groups", 32)

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        (axis,) = axes_of(self.config, len(shape))
        channels: Any = shape[axis]
        groups = channels if self.groups == -1 else self.groups
        if channels % groups:
            raise ArchiveError(f"groups must divide {channels} channels. Received: {groups}")
        return dict.fromkeys(_trained(self), (channels,))

    def pointwise(self, shape: Shape) -> bool:
        return False  # statistics of a group are over all positions

    def normalized(self, x: Array) -> Array:
        (axis,) = axes_of(self.config, x.ndim)
        if x.size == 0:  # there is no mean
            return x
        channels = x.shape[axis]
        groups = channels if self.groups == -1 else self.groups
        grouped = x.reshape(*x.shape[:axis], groups, channels // groups, *x.shape[axis + 1 :])
        axes = tuple(a for a in range(1, grouped.ndim) if a != axis)
        y = standardized(grouped, axes, self.epsilon)
        return self.scaled(y.reshape(x.shape), (axis,))


@known("UnitNormalization")
class UnitNormalization(NormalizingLayer):
    """Normalisation to length 1 along some axes."""

    kinds = "f"
    passes_mask = True

    def output_shape(self, shape: Shape) -> Shape:
        if 0 in axes_of(self.config, len(shape)):
            raise mixing(f"UnitNormalization with axis={self.config.get('axis')}")
        return super().output_shape(shape)

    def normalized(self, x: Array) -> Array:
        return unit(x, axes_of(self.config, x.ndim))
