"""Lowpass filter: an exponential synapse."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from kspike_tf import scan
from kspike_tf.layers.arguments import batch_of
from kspike_tf.layers.filters import FilterCell, FilterLayer
from kspike_tf.layers.lite_rt import for_each_example

Tensor = Any


@keras.saving.register_keras_serializable("kspike_tf")
class LowpassCell(FilterCell):
    """RNN cell of a lowpass filter.

    The impulse response is exp(−t/τ)/τ, the transfer function 1/(τ·s + 1);
    discretised exactly for inputs that are constant within a step. Time constants and initial
    levels are trained, one a unit.
    States are float64, whatever the dtype policy.

    Parameters
    ----------
    size : int or sequence of int
        Shape of a time step, without the batch axis.
    tau_initializer : float, array_like, str or keras.initializers.Initializer
        Time constants in seconds: a number for all units, one for each, or an initializer. They
        are clipped to at least 1e-8 when they are used; one that training made negative still has
        a gradient, which takes it back where that lowers the loss.
    dt : float, tf.Variable, keras.Variable or None, optional
        Length of a time step in seconds; None takes ``kspike_tf.default.dt``.
    apply_during_training : bool, optional
        Whether training filters too; otherwise inputs pass unchanged in training, and the weights
        are not trained.
    level_initializer : str or keras.initializers.Initializer, optional
        Outputs before the first step.
    initial_level_constraint : str or keras.constraints.Constraint, optional
        Constraint of the initial level.
    tau_constraint : str or keras.constraints.Constraint, optional
        Constraint of the time constants; ``kspike_tf.constraints.Mean()`` gives all units the same.
    **kwargs
        For ``keras.layers.Layer``.

    Attributes
    ----------
    tau, initial_level : keras.Variable
        The trainable weights, ``(1, *size)``.

    Raises
    ------
    TypeError
        If ``dt`` is neither number nor variable, or ``size`` not made of integers.
    ValueError
        If a number for ``tau_initializer``, or ``dt``, is not positive and finite.

    Examples
    --------
    >>> layer = keras.layers.RNN(LowpassCell(1, 0.01), return_sequences=True)
    >>> print(layer(tf.ones([1, 3, 1])).numpy().ravel().round(4))
    [0.0952 0.1813 0.2592]
    """

    def _weight_shape(self) -> tuple[int, ...]:
        return 1, *self.size

    def get_initial_state(
        self, inputs: Any = None, batch_size: Any = None, dtype: Any = None
    ) -> list[Tensor]:
        """Return the initial level of every example.

        Parameters
        ----------
        inputs : tf.Tensor, optional
            Gives the batch size, if ``batch_size`` is not given.
        batch_size : int or tf.Tensor, optional
            Number of examples.
        dtype : str, optional
            Float64 if not given.

        Returns
        -------
        list of tf.Tensor
            One, ``(batch, *size)``.
        """
        level = tf.cast(self.initial_level.value, dtype or "float64")
        return [for_each_example(level, [batch_of(inputs, batch_size), *self.size])]

    def call_inference(self, inputs: Tensor, states: Any) -> Any:
        """Take one time step of the filter."""
        x = self._cast(inputs)
        level = states[0]  # float32 where Keras' RNN runs several cells
        y = scan.lowpass_step(x, tf.cast(level, "float64"), self.tau.value, self._seconds())
        return tf.cast(y, x.dtype), [tf.cast(y, level.dtype)]

    def _scan(self, *args: Tensor) -> Any:
        return scan.lowpass(*args)

    def _rest(self, state: Tensor, tau: Tensor, seconds: Tensor) -> Tensor:
        return scan.lowpass_step(0.0, state, tau, seconds[:, None])


@keras.saving.register_keras_serializable("kspike_tf")
class Lowpass(FilterLayer):
    """Layer of lowpass filters.

    The impulse response is exp(−t/τ)/τ, the transfer function 1/(τ·s + 1);
    discretised exactly for inputs that are constant within a step. Time constants and initial
    levels are trained, one a unit.

    The input needs a time axis.

    Parameters
    ----------
    tau_initializer : float, array_like, str or keras.initializers.Initializer
        Time constants in seconds: a number for all units, one for each, or an initializer. They
        are clipped to at least 1e-8 when they are used; one that training made negative still has
        a gradient, which takes it back where that lowers the loss.
    dt : float, tf.Variable, keras.Variable or None, optional
        Length of a time step in seconds; None takes ``kspike_tf.default.dt``.
    apply_during_training : bool, optional
        Whether training filters too; otherwise inputs pass unchanged in training, and the weights
        are not trained.
    level_initializer : str or keras.initializers.Initializer, optional
        Outputs before the first step.
    initial_level_constraint : str or keras.constraints.Constraint, optional
        Constraint of the initial level.
    tau_constraint : str or keras.constraints.Constraint, optional
        Constraint of the time constants; ``kspike_tf.constraints.Mean()`` gives all units the same.
    **kwargs
        The options of `KerasSpikingLayer` and of ``keras.layers.Layer``.

    Attributes
    ----------
    tau, initial_level : keras.Variable
        The trainable weights, ``(1, *size)``.

    Raises
    ------
    TypeError
        If ``dt`` is neither number nor variable.
    ValueError
        If a number for ``tau_initializer``, or ``dt``, is not positive and finite.

    Examples
    --------
    >>> layer = Lowpass(0.01)
    >>> print(layer(tf.ones([1, 3, 1])).numpy().ravel().round(4))
    [0.0952 0.1813 0.2592]
    """

    _cell_class = LowpassCell
