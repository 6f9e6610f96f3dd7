"""Weights of filters: initial values, shapes in files, and zero gradients."""

from __future__ import annotations

import math
import numbers
from typing import Any

import keras
import numpy as np
import tensorflow as tf

Tensor = Any


def tau_initializer_of(tau: Any) -> Any:
    """Return a ``tau_initializer`` argument as an initializer."""
    is_array = isinstance(tau, list | tuple | np.ndarray)
    if not is_array and (isinstance(tau, bool) or not isinstance(tau, numbers.Real)):
        return keras.initializers.get(tau)
    values = np.asarray(tau, np.float64)
    if not (np.isfinite(values) & (values > 0)).all() or not values.size:
        raise ValueError(
            f"tau_initializer must be positive and finite. Received: tau_initializer={tau}"
        )
    return keras.initializers.Constant(values.tolist())


def per_unit(initializer: Any, size: tuple[int, ...], name: str) -> Any:
    """Return an initializer that also accepts a constant array with one number per unit.

    Keras' `Constant` broadcasts scalars only. The weights may have any shape with as many elements
    as there are units.
    """
    if not isinstance(initializer, keras.initializers.Constant) or not np.ndim(initializer.value):
        return initializer
    values = np.asarray(initializer.value)
    try:
        values = np.broadcast_to(values, size)
    except ValueError as error:
        raise ValueError(
            f"{name} must be a number, or an array of the units' shape {size}. "
            f"Received: an array of shape {values.shape}"
        ) from error

    def call(shape: Any, dtype: Any = None, **kwargs: Any) -> Any:
        return tf.cast(tf.reshape(tf.constant(values), shape), dtype or "float32")

    return call


def in_shape_of(weights: list[Any], values: Any) -> list[Any]:
    """Return arrays for weights, each in its weight's shape if either of the two is flat."""
    if len(weights) != len(values):
        return list(values)  # Keras raises

    def reshaped(weight: Any, value: Any) -> Any:
        value, shape = np.asarray(value), tuple(weight.shape)
        is_flat = value.ndim == 1 or len(shape) == 1
        return value.reshape(shape) if is_flat and value.size == math.prod(shape) else value

    return [reshaped(*pair) for pair in zip(weights, values, strict=True)]


class KeepsFlatWeights(keras.layers.Layer):
    """A filter whose weights may be flat in files of earlier versions, as for alpha filters.

    In such a file, the weights and an optimizer's states for them are ``(prod(size),)``. A layer
    loaded from it keeps that shape. New files have an entry in the build configuration that tells
    the two kinds apart.
    """

    was_flat = False  # in earlier versions
    #: Whether the weights are ``(prod(size),)``, as in old files, rather than ``(1, *size)``.
    has_flat_weights = False

    def get_build_config(self) -> Any:
        """Return the shape of the input, and whether the weights are flat."""
        config = super().get_build_config()
        if not config or not self.was_flat:
            return config
        return {**config, "weights": "flat" if self.has_flat_weights else "units"}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Build the layer from the build configuration in a file."""
        self.has_flat_weights = self.was_flat and config.get("weights", "flat") == "flat"
        super().build_from_config({k: v for k, v in config.items() if k != "weights"})


def with_zero_gradients(x: Tensor, weights: list[Any]) -> Tensor:
    """Return ``x``, with zero gradients for weights that it does not depend on.

    Keras warns of weights without a gradient ("did you forget to provide a loss?"), and refuses to
    train a model in which no weight has one.
    """

    @tf.custom_gradient
    def forward(x: Tensor, *weights: Tensor) -> Any:
        def backward(d_x: Tensor) -> Any:
            return d_x, *[tf.zeros_like(each) for each in weights]

        return tf.identity(x), backward

    return forward(x, *[tf.convert_to_tensor(each.value) for each in weights])
