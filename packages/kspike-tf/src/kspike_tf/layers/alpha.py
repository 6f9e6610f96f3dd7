"""Alpha filter: an alpha-function synapse."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from kspike_tf import scan
from kspike_tf.layers.arguments import batch_of, keras_size
from kspike_tf.layers.filters import FilterCell, FilterLayer
from kspike_tf.layers.lite_rt import for_each_example

Tensor = Any


@keras.saving.register_keras_serializable("kspike_tf")
class AlphaCell(FilterCell):
    """RNN cell of an alpha filter.

    The impulse response is t·exp(−t/τ)/τ², the transfer function 1/(τ·s + 1)²;
    discretised exactly for inputs that are constant within a step. Time constants and initial
    levels are trained, one a unit.
    States are float64, whatever the dtype policy. A state is ``(batch, 2, prod(size))``, for which
    ``keras.layers.RNN`` has no symbolic shape: in a functional model, take `Alpha` for
    ``return_state=True``.

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
        The trainable weights, ``(prod(size),)``.

    Raises
    ------
    TypeError
        If ``dt`` is neither number nor variable, or ``size`` not made of integers.
    ValueError
        If a number for ``tau_initializer``, or ``dt``, is not positive and finite.

    Examples
    --------
    >>> layer = keras.layers.RNN(AlphaCell(1, 0.01), return_sequences=True)
    >>> print(layer(tf.ones([1, 3, 1])).numpy().ravel().round(4))
    [0.0047 0.0175 0.0369]
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Output, and τ times its derivative.
        self.state_size = keras_size((2, self.units))

    def _weight_shape(self) -> tuple[int, ...]:
        return (self.units,)

    def get_initial_state(
        self, inputs: Any = None, batch_size: Any = None, dtype: Any = None
    ) -> list[Tensor]:
        """Return the initial level of every example, at rest.

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
            One, ``(batch, 2, prod(size))``: the output, and τ times its derivative.
        """
        level = tf.cast(self.initial_level.value, dtype or "float64")
        state = tf.stack([level, tf.zeros_like(level)])
        return [for_each_example(state, [batch_of(inputs, batch_size), 2, self.units])]

    def call_inference(self, inputs: Tensor, states: Any) -> Any:
        """Take one time step of the filter."""
        x = self._cast(inputs)
        before = tf.cast(states[0], "float64")  # float32 where Keras' RNN runs several cells
        state = scan.alpha_step(self._flat(x), before, self.tau.value, self._seconds())
        y = tf.cast(tf.reshape(state[:, 0], tf.shape(x)), x.dtype)
        return y, [tf.cast(state, states[0].dtype)]

    def _scan(self, *args: Tensor) -> Any:
        return scan.alpha(*args)

    def _rest(self, state: Tensor, tau: Tensor, seconds: Tensor) -> Tensor:
        return scan.alpha_step(0.0, state, tau, seconds)


@keras.saving.register_keras_serializable("kspike_tf")
class Alpha(FilterLayer):
    """Layer of alpha filters.

    The impulse response is t·exp(−t/τ)/τ², the transfer function 1/(τ·s + 1)²;
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
        The trainable weights, ``(prod(size),)``.

    Raises
    ------
    TypeError
        If ``dt`` is neither number nor variable.
    ValueError
        If a number for ``tau_initializer``, or ``dt``, is not positive and finite.

    Examples
    --------
    >>> layer = Alpha(0.01)
    >>> print(layer(tf.ones([1, 3, 1])).numpy().ravel().round(4))
    [0.0047 0.0175 0.0369]
    """

    _cell_class = AlphaCell
