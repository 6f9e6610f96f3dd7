"""Time steps of layers: the default, numbers, and variables.

`default` and `DefaultManager` are those of `kspike_energy`, so that layers and energy estimates
have the same default time step.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kspike_energy.config import DefaultManager, check_dt, default
from kspike_tf.tracing import is_plain

__all__ = [
    "DefaultManager",
    "VariableDt",
    "default",
    "dt_config",
    "read_dt",
    "resolve_dt",
    "set_dt",
]


class VariableDt(float):
    """A time step that layers read from a variable at every call.

    It is also a number: the value of the variable when the object was made. So a saved
    configuration holds a number, while a clone made from that configuration in the same process
    shares the variable. The variable is hidden from Keras, which would turn it into a trainable
    weight and cast it to half precision.

    The number is the shortest decimal that identifies the value in the variable's type: 0.001 for
    a float32 variable of 0.001. Float64 layers need a float64 variable; otherwise, a saved model
    has another dt.

    Parameters
    ----------
    variable : tf.Variable or keras.Variable
        Scalar variable that holds a time step, in seconds.

    Attributes
    ----------
    variable : tf.Variable or keras.Variable
        The variable.

    Raises
    ------
    TypeError
        If the variable does not hold floating point numbers.
    ValueError
        If the variable is not a scalar.

    Examples
    --------
    >>> import tensorflow as tf
    >>> variable = tf.Variable(0.5)
    >>> dt = VariableDt(variable)
    >>> dt, dt.variable is variable
    (0.5, True)
    """

    __slots__ = ("variable",)

    variable: Any

    def __new__(cls, variable: Any) -> VariableDt:  # noqa: D102 (the class documents it)
        if tuple(variable.shape) != ():
            raise ValueError(
                f"dt must be a scalar variable. Received a variable of shape {variable.shape}"
            )
        dtype = keras.backend.standardize_dtype(variable.dtype)
        if "float" not in dtype:
            raise TypeError(
                f"dt must be a variable of a floating point type. Received a variable of {dtype}"
            )
        # May be zero: a schedule can set it before it is used.
        self = super().__new__(cls, _value(variable))
        self.variable = variable
        return self

    @property
    def storage(self) -> tf.Variable:
        """The TensorFlow variable. Layers keep it as an attribute, so that exports find it."""
        # Not `.value`: within a half-precision layer, that is cast.
        return self.variable._value if isinstance(self.variable, keras.Variable) else self.variable

    def __copy__(self) -> VariableDt:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> VariableDt:
        return self

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        # Another process cannot share the variable.
        return float, (float(self),)


def _value(variable: Any) -> float:
    """Return the value of a variable as the shortest decimal number of its precision."""
    if isinstance(variable, keras.Variable):
        variable = variable._value
    # A float32 variable set to 0.001 is saved as 0.001, not as 0.0010000000474974513. Both are
    # the same float32, which is what layers use.
    return float(str(np.asarray(variable.numpy())))


def resolve_dt(dt: Any = None) -> float | VariableDt:
    """Return the ``dt`` argument of a layer in the form that the layer stores.

    Parameters
    ----------
    dt : float, tf.Tensor, tf.Variable, keras.Variable, VariableDt or None, optional
        Length of one time step, in seconds; by default ``kspike_tf.default.dt``. The value of a
        variable may change, and must be positive when it is used.

    Returns
    -------
    float or VariableDt
        The number, or an object that holds the variable.

    Raises
    ------
    TypeError
        If ``dt`` is neither a real number nor a floating point variable, or is a tensor without
        a value.
    ValueError
        If ``dt`` is not a scalar, or is a number that is not positive and finite.

    Examples
    --------
    >>> resolve_dt(None), resolve_dt(0.01)
    (0.001, 0.01)
    """
    if dt is None:
        return default.dt
    if isinstance(dt, VariableDt):
        return dt
    if isinstance(dt, (tf.Variable, keras.Variable)):
        return VariableDt(dt)
    if tf.is_tensor(dt) or isinstance(dt, keras.KerasTensor):
        if not hasattr(dt, "numpy") or tuple(dt.shape) != ():
            raise TypeError(
                "dt must be a number, an eager scalar tensor, or a tf.Variable. "
                f"Received: dt={dt!r}"
            )
        dt = _value(dt)
    return check_dt(dt)


def positive_dt(dt: Any) -> Any:
    """Check that the value of a variable ``dt`` is positive and finite, and return it.

    A graph raises ``tf.errors.InvalidArgumentError`` when it runs; under XLA, which cannot raise,
    the result is NaN.
    """
    if is_plain():
        return dt
    good = (dt > 0) & tf.math.is_finite(dt)
    text = "dt must be positive and finite when a layer uses it. Set it first. Received: dt="
    if tf.executing_eagerly():
        if not good:
            raise ValueError(f"{text}{float(dt)!r}")
        return dt
    with tf.control_dependencies([tf.debugging.Assert(good, [text, dt])]):
        return tf.where(good, dt, tf.constant(float("nan"), dt.dtype))


def set_dt(model: keras.layers.Layer, dt: Any) -> None:
    """Set the ``dt`` of all layers and cells of a model.

    A model that was loaded, copied or pickled has a number in place of a variable ``dt``. Attach
    a variable, so that `kspike_tf.callbacks.DtScheduler` reaches the layers.

    Parameters
    ----------
    model : keras.layers.Layer
        A model or layer that contains layers or cells of this package.
    dt : float, tf.Tensor, tf.Variable, keras.Variable or None
        As for the layers.

    Raises
    ------
    TypeError
        If ``model`` is not a Keras layer, or ``dt`` is neither a number nor a variable.
    ValueError
        If the model has no layer of this package, or ``dt`` is not valid for a layer.
    AttributeError
        If a subclass of `KerasSpikingLayer` with its own ``build_cell`` is already built.

    Examples
    --------
    >>> import keras, tensorflow as tf, kspike_tf
    >>> model = keras.Sequential([keras.Input((None, 3)), kspike_tf.Lowpass(0.1)])
    >>> dt = tf.Variable(0.01)
    >>> set_dt(model, dt)
    >>> model.layers[0].dt.variable is dt
    True
    """
    if not isinstance(model, keras.layers.Layer):
        raise TypeError(f"model must be a Keras model or layer. Received: model={model!r}")
    layers = [each for each in model._flatten_layers() if "dt" in getattr(each, "settings", ())]
    if not layers:
        raise ValueError(f"model must hold layers of kspike_tf. Received: {model.name!r}")
    dt = resolve_dt(dt)
    for layer in layers:
        layer.dt = dt


def read_dt(dt: float | VariableDt) -> Any:
    """Return the current length of a time step as a float32 scalar.

    Parameters
    ----------
    dt : float or VariableDt
        The result of `resolve_dt`.

    Returns
    -------
    np.float32 or tf.Tensor
        A constant for a number; for a variable, a tensor that follows the variable within a
        ``tf.function`` without retracing.

    Examples
    --------
    >>> read_dt(0.5)
    np.float32(0.5)
    """
    if isinstance(dt, VariableDt):
        return tf.cast(dt.storage, tf.float32)
    return np.float32(dt)


def dt_config(dt: float | VariableDt) -> float:
    """Return the ``dt`` for a layer's configuration: a number, or a variable's current value.

    Parameters
    ----------
    dt : float or VariableDt
        The result of `resolve_dt`.

    Returns
    -------
    float
        The number; for a variable, a `VariableDt`, which is saved as a number and lets a clone
        share the variable.

    Examples
    --------
    >>> import tensorflow as tf
    >>> variable = tf.Variable(0.5)
    >>> dt = resolve_dt(variable)
    >>> _ = variable.assign(0.25)
    >>> dt_config(dt)
    0.25
    """
    return VariableDt(dt.variable) if isinstance(dt, VariableDt) else dt


def with_unset_dt(config: dict[str, Any]) -> dict[str, Any]:
    """Return a saved configuration with a variable in place of a ``dt`` that was not set yet.

    A model may be saved while its variable ``dt`` is 0, before a schedule sets it. Its layers still
    load, but raise an error when they are used, until they get another ``dt``.
    """
    dt = config.get("dt")
    is_number = type(dt) in (float, int)  # not a VariableDt
    if not is_number or 0 < float(dt) < math.inf:  # type: ignore[arg-type]
        return config
    return {**config, "dt": tf.Variable(dt, trainable=False, dtype=tf.float32)}
