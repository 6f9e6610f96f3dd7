"""Alpha filter, a second-order synapse."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from kspike_tf import scan
from kspike_tf.layers.filters import FilterCell, FilterLayer

Tensor = Any


@keras.saving.register_keras_serializable("kspike_tf")
class AlphaCell(FilterCell):
    """RNN cell of an alpha filter.

    The impulse response is t·exp(−t/τ)/τ², the transfer function 1/(τ·s + 1)². The discretisation
    is exact for inputs that are constant within a step. Each unit has a trainable time constant and
    initial level. States are float64, whatever the dtype policy. A state is
    ``(batch, 2, prod(size))``, for which ``keras.layers.RNN`` has no symbolic shape. So use `Alpha`
    for ``return_state=True`` in a functional model.

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
    >>> layer = keras.layers.RNN(AlphaCell(1, 0.01), return_sequences=True)
    >>> print(layer(tf.ones([1, 3, 1])).numpy().ravel().round(4))
    [0.0047 0.0175 0.0369]
    """

    was_flat = True

    def _state_shape(self) -> tuple[int, ...]:
        return 2, self.units  # the output, and τ times its derivative

    def _at_rest(self, level: Tensor) -> Tensor:
        level = tf.reshape(level, [-1])
        return tf.stack([level, tf.zeros_like(level)])

    def _step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        tau = tf.reshape(self.tau.value, [-1])
        state = scan.alpha_step(self._flat(x), state, tau, self._seconds())
        return tf.reshape(state[:, 0], tf.shape(x)), state

    _scan = staticmethod(scan.alpha)

    def _rest(self, state: Tensor, tau: Tensor, seconds: Tensor) -> Tensor:
        return scan.alpha_step(0.0, state, tau, seconds)


@keras.saving.register_keras_serializable("kspike_tf")
class Alpha(FilterLayer):
    """Layer of alpha filters.

    The impulse response is t·exp(−t/τ)/τ², the transfer function 1/(τ·s + 1)². The discretisation
    is exact for inputs that are constant within a step. Each unit has a trainable time constant and
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
    >>> layer = Alpha(0.01)
    >>> print(layer(tf.ones([1, 3, 1])).numpy().ravel().round(4))
    [0.0047 0.0175 0.0369]
    """

    was_flat = True
    _cell_class = AlphaCell
