"""What arguments of cells and layers stand for, and what is refused."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def batch_of(inputs: Any, batch_size: Any) -> Any:
    """Return the batch size, given directly or by a tensor."""
    if batch_size is not None:
        return batch_size
    if inputs is None:
        raise ValueError("batch_size or inputs must be given. Received: batch_size=None")
    return tf.shape(inputs)[0]


def shape_of(name: str, size: Any) -> tuple[int, ...]:
    """Return the shape that an integer or a sequence of integers stands for."""
    if isinstance(size, tf.TensorShape):
        size = tuple(size)
    values = tuple(size) if isinstance(size, Sequence | np.ndarray) else (size,)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise TypeError(f"{name} must be an integer or a tuple of integers. Received: {size!r}")
        if value < 1:
            raise ValueError(f"{name} must be positive. Received: {name}={size!r}")
    return tuple(int(value) for value in values)


class UnitAxes(int):
    """Several unit axes where Keras' RNN takes an integer: their product, which knows the axes.

    A tuple would be read as the sizes of several states, and give symbolic tensors of wrong shapes.
    This works wherever no symbolic shape is made of it, and says what to do where one is.
    """

    shape: tuple[int, ...]

    def __new__(cls, shape: tuple[int, ...]) -> UnitAxes:
        """Make the integer."""
        self = super().__new__(cls, math.prod(shape))
        self.shape = shape
        return self

    def __int__(self) -> int:
        """Refuse to be an axis of a Keras tensor: Keras takes the integer of each."""
        raise TypeError(format(self))

    def __repr__(self) -> str:
        return repr(self.shape)

    def __format__(self, _: str) -> str:
        # What Keras' message shows of it.
        return (
            f"{self.shape}: keras.layers.RNN has no symbolic outputs or states of several unit "
            "axes. Use the layer in place of the cell, or call the RNN on arrays"
        )

    def __reduce__(self) -> Any:
        return UnitAxes, (self.shape,)


def axes_of(size: int) -> tuple[int, ...]:
    """Return the axes that a size stands for."""
    return size.shape if isinstance(size, UnitAxes) else (size,)


def state_size_of(size: Any) -> Any:
    """Return the size of a state, or a list of the sizes of several, as Keras' RNN reads it."""
    if isinstance(size, list) and any(isinstance(each, Sequence) for each in size):
        return [keras_size(shape_of("state_size", each)) for each in size]
    return keras_size(shape_of("state_size", size))


def keras_size(shape: tuple[int, ...]) -> int:
    """Return the size of a time step or of a state as Keras' RNN reads it."""
    return shape[0] if len(shape) == 1 else UnitAxes(shape)


def plain_size(shape: tuple[int, ...]) -> Any:
    """Return an integer for a single axis: a configuration is read by people."""
    return shape[0] if len(shape) == 1 else shape


def activation_function(activation: Any) -> Any:
    """Return the function or layer that an ``activation`` argument stands for."""
    if isinstance(activation, dict):  # a saved one: Keras before 3.10 knows functions only
        activation = keras.saving.deserialize_keras_object(activation)
    function = keras.activations.get(activation)
    if function is keras.activations.glu:
        raise ValueError(
            "activation must give as many values as it takes. Received: 'glu', which gives half "
            "as many; take keras.activations.glu before the spiking layer, and 'linear' in it"
        )
    if not callable(function):
        raise TypeError(
            f"activation must be a name, a function or a layer. Received: {activation!r}"
        )
    return function


def checked_seed(seed: Any) -> int | None:
    """Return the seed as an int from 0 to 2**64 - 1, or None; -1 stands for the last, and so on."""
    if seed is None:
        return None
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
        raise TypeError(f"seed must be an integer or None. Received: seed={seed!r}")
    if not -(2**63) <= int(seed) < 2**64:
        raise ValueError(f"seed must be from -2**63 to 2**64 - 1. Received: seed={seed}")
    return int(seed) % 2**64


def check_units(cell: Any, input_shape: Any) -> None:
    """Raise where a cell meets inputs of another size."""
    units = tuple(input_shape[1:])
    if len(units) == 1:  # behind another cell in a list
        units = axes_of(units[0])
    if units != cell.size:
        raise ValueError(
            f"inputs of {type(cell).__name__} must have the size {cell.size} that it was made for. "
            f"Received: {units}"
        )


def tau_initializer_of(tau: Any) -> Any:
    """Return the initializer that a ``tau_initializer`` argument stands for."""
    is_array = isinstance(tau, list | tuple | np.ndarray)
    if not is_array and (isinstance(tau, bool) or not isinstance(tau, numbers.Real)):
        return keras.initializers.get(tau)
    values = np.asarray(tau, np.float64)
    if not (np.isfinite(values) & (values > 0)).all() or not values.size:
        raise ValueError(
            f"tau_initializer must be positive and finite. Received: tau_initializer={tau}"
        )
    return keras.initializers.Constant(values.tolist())


def fitted(initializer: Any, size: tuple[int, ...], name: str) -> Any:
    """Return an initializer for weights of any shape with one number a unit.

    A constant that holds an array, one number for each unit, is given that shape; Keras knows
    scalars only.
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


def serialized(owner: Any, name: str, serialize: Callable[[Any], Any]) -> Any:
    """Return what a configuration holds for an argument of a cell or a layer."""
    value = getattr(owner, name)
    try:
        # Keras saves a lambda with a warning, and then refuses to load it.
        if getattr(value, "__name__", None) != "<lambda>":
            return serialize(value)
    except TypeError:  # partial functions, objects without get_config
        pass
    raise ValueError(
        f"{name} cannot be serialized: give a name, a named function, or an object that has "
        f"get_config(). Received: {value!r} in {type(owner).__name__} {owner.name!r}"
    )
