"""Checks and conversions of the arguments of layers and cells."""

from __future__ import annotations

import difflib
import inspect
import math
import numbers
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

import keras
import numpy as np
import tensorflow as tf

Constructor = TypeVar("Constructor", bound=Callable[..., None])

# Types in the signatures of layers and cells.
Size = int | Sequence[int]
Dt = float | tf.Variable | keras.Variable | None
Activation = str | Callable[[Any], Any] | keras.layers.Layer | None
Initializer = str | keras.initializers.Initializer
Tau = float | Sequence[Any] | np.ndarray[Any, Any] | Initializer
Constraint = str | keras.constraints.Constraint | None
Regularizer = str | keras.regularizers.Regularizer | None
DType = str | keras.dtype_policies.DTypePolicy | None

# Arguments of keras.layers.Layer, with two that its signature does not name.
_OF_KERAS = {
    *inspect.signature(keras.layers.Layer.__init__).parameters,
    "input_dim",
    "input_shape",
} - {"self", "kwargs"}
_OTHER_NAMES = {
    "neurons": "size",
    "tau": "tau_initializer",
    "units": "size",
}


def suggests_options(init: Constructor) -> Constructor:
    """Decorate a constructor so that its error for an unknown option suggests a similar one."""
    known = _names(init)

    @wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        for name, value in kwargs.items():
            if name not in known:
                if name == "go_backwards":
                    refuse_backwards(type(self))
                raise _unknown_option(type(self), name, value)
        init(self, *args, **kwargs)

    checked.__signature__ = inspect.signature(init)  # type: ignore[attr-defined]  # Keras reads it
    return cast(Constructor, checked)


def real(inputs: Any, dtype: str) -> tf.Tensor:
    """Cast inputs, which must be real numbers, to a dtype.

    Raises
    ------
    ValueError
        If they are complex; `tf.cast` would drop their imaginary parts. Keras would hide a
        TypeError.
    """
    x = tf.convert_to_tensor(inputs)
    if x.dtype.is_complex:
        raise ValueError(f"inputs must be real numbers. Received: dtype={x.dtype.name}")
    return tf.cast(x, dtype)


def refuse_ragged(name: str, *arguments: Any) -> None:
    """Raise if the arguments of a layer's call hold a ragged tensor."""
    for each in keras.tree.flatten(arguments):
        if isinstance(each, tf.RaggedTensor) or getattr(each, "ragged", False):
            raise ValueError(
                f"layer {name!r} does not support ragged tensors: pad the sequences with "
                "x.to_tensor() and pass mask=tf.sequence_mask(x.row_lengths()). "
                f"Received: shape={each.shape}"
            )


def refuse_backwards(cls: type) -> None:
    """Raise because a layer cannot run backwards, as in ``keras.layers.Bidirectional``."""
    # Not a TypeError, which Keras hides.
    raise ValueError(
        f"{cls.__name__} runs forwards only and does not work in keras.layers.Bidirectional. "
        "For the other direction, apply a second layer to keras.ops.flip(x, axis=1)"
    )


def _unknown_option(cls: type, name: str, value: Any) -> TypeError:
    """Return the error for an option that a class does not have."""
    known: set[str] = set()
    for base in cls.__mro__:
        if "__init__" in vars(base):
            known |= _names(base.__init__)  # type: ignore[misc]
            if not _passes_others_on(base.__init__):  # type: ignore[misc]
                break
    other = _OTHER_NAMES.get(name)
    similar = [other] if other in known else difflib.get_close_matches(name, sorted(known), 1)
    hint = f"Did you mean {similar[0]}?" if similar else f"It has {', '.join(sorted(known))}."
    return TypeError(f"{cls.__name__} has no option {name}. {hint} Received: {name}={value!r}")


def _names(init: Any) -> set[str]:
    """Return the names of a constructor's arguments, and Keras' own if it takes ``**kwargs``."""
    several = inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL
    parameters = inspect.signature(init).parameters.values()
    names = {each.name for each in parameters if each.kind not in several} - {"self"}
    return names | _OF_KERAS if _passes_others_on(init) else names


def _passes_others_on(init: Any) -> bool:
    parameters = inspect.signature(init).parameters.values()
    return any(each.kind is each.VAR_KEYWORD for each in parameters)


def batch_of(inputs: Any, batch_size: Any) -> Any:
    """Return ``batch_size``, or the batch size of the inputs if it is None."""
    if batch_size is not None:
        return batch_size
    if inputs is None:
        raise ValueError("batch_size or inputs must be given. Received: batch_size=None")
    return tf.shape(inputs)[0]


def shape_of(name: str, size: Any) -> tuple[int, ...]:
    """Return an integer or a sequence of integers as a shape."""
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
    """An integer that represents several unit axes: their product.

    Keras' RNN mistakes a tuple for the sizes of several states, and gives symbolic tensors wrong
    shapes. It accepts this integer except for symbolic shapes, where an error says what to use
    instead.
    """

    shape: tuple[int, ...]

    def __new__(cls, shape: tuple[int, ...]) -> UnitAxes:
        """Make the integer."""
        self = super().__new__(cls, math.prod(shape))
        self.shape = shape
        return self

    def __int__(self) -> int:
        """Raise, because Keras converts every axis of a symbolic tensor to int."""
        raise TypeError(format(self))

    def __repr__(self) -> str:
        return repr(self.shape)

    def __format__(self, _: str) -> str:
        # Keras' error message contains this.
        return (
            f"{self.shape}: keras.layers.RNN does not support symbolic outputs or states with "
            "several unit axes. Use the layer in place of the cell, or call the RNN on arrays"
        )

    def __reduce__(self) -> Any:
        return UnitAxes, (self.shape,)


def axes_of(size: int) -> tuple[int, ...]:
    """Return a size as unit axes."""
    return size.shape if isinstance(size, UnitAxes) else (size,)


def state_size_of(size: Any) -> Any:
    """Return the size of a state, or a list of sizes, in the form that Keras' RNN reads."""
    if isinstance(size, list) and any(isinstance(each, Sequence) for each in size):
        return [keras_size(shape_of("state_size", each)) for each in size]
    return keras_size(shape_of("state_size", size))


def keras_size(shape: tuple[int, ...]) -> int:
    """Return the size of a time step or of a state in the form that Keras' RNN reads."""
    return shape[0] if len(shape) == 1 else UnitAxes(shape)


def plain_size(shape: tuple[int, ...]) -> Any:
    """Return the size in a readable form for configurations: an integer for a single axis."""
    return shape[0] if len(shape) == 1 else shape


def check_units(cell: Any, input_shape: Any) -> None:
    """Raise if inputs do not have the size of a cell."""
    units = tuple(input_shape[1:])
    if len(units) == 1:  # after another cell in a list
        units = axes_of(units[0])
    if units != cell.size:
        raise ValueError(
            f"inputs of {type(cell).__name__} must have the size {cell.size} that it was made for. "
            f"Received: {units}"
        )


def activation_function(activation: Any) -> Any:
    """Return an ``activation`` argument as a function or a layer."""
    if isinstance(activation, dict):  # a saved one: Keras before 3.10 knows functions only
        activation = keras.saving.deserialize_keras_object(activation)
    function = keras.activations.get(activation)
    if function is keras.activations.glu:
        raise ValueError(
            "activation must return as many values as it takes. Received: 'glu', which returns "
            "half as many; apply keras.activations.glu before the spiking layer, and use 'linear' "
            "in it"
        )
    if not callable(function):
        raise TypeError(
            f"activation must be a name, a function or a layer. Received: {activation!r}"
        )
    return function


def check_activation(activation: Any, size: tuple[int, ...], dtype: str) -> None:
    """Raise if an activation changes the shape of a time step."""
    if isinstance(activation, keras.layers.Layer):
        try:
            shape = activation.compute_output_shape((2, *size))
        except NotImplementedError:
            return
    else:
        with tf.init_scope():  # eagerly
            shape = activation(tf.zeros((2, *size), dtype)).shape
    if tuple(shape) != (2, *size):
        raise ValueError(
            f"activation must return as many values as it takes: it maps {size} to "
            f"{tuple(shape)[1:]}. Received: activation={activation!r}"
        )


def checked_seed(seed: Any) -> int | None:
    """Return the seed from 0 to 2**64 - 1, or None; a negative one counts down from 2**64."""
    if seed is None:
        return None
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
        raise TypeError(f"seed must be an integer or None. Received: seed={seed!r}")
    if not -(2**63) <= int(seed) < 2**64:
        raise ValueError(f"seed must be from -2**63 to 2**64 - 1. Received: seed={seed}")
    return int(seed) % 2**64
