"""Families of Keras layers."""

from __future__ import annotations

from typing import Any

import keras


def in_dimensions(*names: str) -> tuple[Any, ...]:
    """Return the layers of Keras with names such as ``"Conv{}D"``, for 1, 2 and 3 dimensions."""
    numbered = [name.format(n) for name in names for n in (1, 2, 3)]
    return tuple(getattr(keras.layers, each) for each in numbered if hasattr(keras.layers, each))


MERGES = (
    keras.layers.Add,
    keras.layers.Average,
    keras.layers.Maximum,
    keras.layers.Minimum,
    keras.layers.Multiply,
    keras.layers.Subtract,
)
ON_LAST_AXIS = (  # act on values or on the last axis, with or without a time axis
    keras.layers.Activation,
    keras.layers.Dense,
    keras.layers.ELU,
    keras.layers.LeakyReLU,
    keras.layers.ReLU,
    keras.layers.Rescaling,
)
