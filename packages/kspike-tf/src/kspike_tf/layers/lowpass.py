"""Lowpass filter, an exponential synapse."""

from __future__ import annotations

from typing import Any

import keras

from kspike_tf import scan
from kspike_tf.layers.filters import FilterCell, FilterLayer

Tensor = Any


@keras.saving.register_keras_serializable("kspike_tf")
class LowpassCell(FilterCell):
    """RNN cell of a lowpass filter.

    The impulse response is exp(−t/τ)/τ, the transfer function 1/(τ·s + 1). The discretisation is
    exact for inputs that are constant within a step. Each unit has a trainable time constant and
    initial level. States are float64, whatever the dtype policy.

    Parameters
    ----------
    size : int or sequence of int
        Shape of a time step, without the batch axis.
    tau_initializer : float, array_like, str or keras.initializers.Initializer
        Time constants in seconds: a number, an array with one number per unit, or an initializer.
        The filter clips them to at least 1e-8. If training takes one below that, its gradient
        still raises it where that lowers the loss.
    dt : float, tf.Variable, keras.Variable or None, optional
        Length of a time step in seconds; by default ``kspike_tf.default.dt``.
    apply_during_training : bool, optional
        Whether to filter in training too; otherwise training passes inputs through unchanged, and
        the weights are not trained.
    level_initializer : str or keras.initializers.Initializer, optional
        Initializer of the outputs before the first step.
    initial_level_constraint : str or keras.constraints.Constraint, optional
        Constraint on the initial level.
    tau_constraint : str or keras.constraints.Constraint, optional
        Constraint on the time constants; ``kspike_tf.constraints.Mean()`` gives all units the
        same one.
    name : str, optional
        Name of the cell.
    dtype : str or keras.DTypePolicy, optional
        Type or policy of inputs and outputs.
    trainable : bool, optional
        Whether time constants and initial levels are trained.

    Attributes
    ----------
    tau, initial_level : keras.Variable
        The trainable weights, ``(1, *size)``.

    Raises
    ------
    TypeError
        If ``dt`` is neither a number nor a variable, or ``size`` does not consist of integers.
    ValueError
        If ``dt``, or a number for ``tau_initializer``, is not positive and finite.

    Examples
    --------
    >>> import tensorflow as tf
    >>> layer = keras.layers.RNN(LowpassCell(1, 0.01), return_sequences=True)
    >>> print(layer(tf.ones([1, 3, 1])).numpy().ravel().round(4))
    [0.0952 0.1813 0.2592]
    """

    def _step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y = scan.lowpass_step(x, state, self.tau.value, self._seconds())
        return y, y

    _scan = staticmethod(scan.lowpass)

    def _rest(self, state: Tensor, tau: Tensor, seconds: Tensor) -> Tensor:
        return scan.lowpass_step(0.0, state, tau, seconds[:, None])


@keras.saving.register_keras_serializable("kspike_tf")
class Lowpass(FilterLayer):
    """Layer of lowpass filters.

    The impulse response is exp(−t/τ)/τ, the transfer function 1/(τ·s + 1). The discretisation is
    exact for inputs that are constant within a step. Each unit has a trainable time constant and
    initial level.

    The input needs a time axis.

    Parameters
    ----------
    tau_initializer : float, array_like, str or keras.initializers.Initializer
        Time constants in seconds: a number, an array with one number per unit, or an initializer.
        The filter clips them to at least 1e-8. If training takes one below that, its gradient
        still raises it where that lowers the loss.
    dt : float, tf.Variable, keras.Variable or None, optional
        Length of a time step in seconds; by default ``kspike_tf.default.dt``.
    apply_during_training : bool, optional
        Whether to filter in training too; otherwise training passes inputs through unchanged, and
        the weights are not trained.
    level_initializer : str or keras.initializers.Initializer, optional
        Initializer of the outputs before the first step.
    initial_level_constraint : str or keras.constraints.Constraint, optional
        Constraint on the initial level.
    tau_constraint : str or keras.constraints.Constraint, optional
        Constraint on the time constants; ``kspike_tf.constraints.Mean()`` gives all units the
        same one.
    return_sequences : bool, optional
        Whether to return the outputs of all steps, or only the last one.
    return_state : bool, optional
        Whether to return the final states too.
    stateful : bool, optional
        Whether a call starts from the final states of the previous call; see `reset_states`.
    unroll : bool, optional
        Has no effect on the outputs, because the layer computes all steps at once; requires a
        known number of steps.
    time_major : bool, optional
        Whether inputs, masks and outputs are ``(time, batch, *units)``.
    activity_regularizer : str or keras.regularizers.Regularizer, optional
        Penalty on the outputs.
    name : str, optional
        Name of the layer.
    dtype : str or keras.DTypePolicy, optional
        Type or policy of inputs and outputs.
    trainable : bool, optional
        Whether time constants and initial levels are trained.
    input_shape : tuple of int, optional
        Shape of the inputs without the batch axis, for the first layer of a ``Sequential`` model;
        Keras 3 prefers ``keras.Input``.

    Attributes
    ----------
    tau, initial_level : keras.Variable
        The trainable weights, ``(1, *size)``.

    Raises
    ------
    TypeError
        If ``dt`` is neither a number nor a variable.
    ValueError
        If ``dt``, or a number for ``tau_initializer``, is not positive and finite.

    Examples
    --------
    >>> import tensorflow as tf
    >>> layer = Lowpass(0.01)
    >>> print(layer(tf.ones([1, 3, 1])).numpy().ravel().round(4))
    [0.0952 0.1813 0.2592]
    """

    _cell_class = LowpassCell
