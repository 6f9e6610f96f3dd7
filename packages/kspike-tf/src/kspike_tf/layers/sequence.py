"""Base class of layers, which run a cell over time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import keras
import tensorflow as tf

from kspike_tf.config import dt_config, resolve_dt
from kspike_tf.layers.arguments import (
    Dt,
    real,
    refuse_backwards,
    refuse_ragged,
    suggests_options,
)
from kspike_tf.layers.lite_rt import check_layer
from kspike_tf.layers.masking import swapped
from kspike_tf.layers.settings import Setting, handed_to_cell
from kspike_tf.layers.states import KeepsState, Shape, Tensor


@keras.saving.register_keras_serializable("kspike_tf")
class KerasSpikingLayer(KeepsState):
    """Base class of layers that run a `KerasSpikingCell` over time.

    Subclass it to define a layer of your own neurons, and implement `build_cell`. The wrapped cell
    is ``layer.layer.cell``.

    Parameters
    ----------
    dt : float, tf.Variable, keras.Variable or None, optional
        Length of a time step in seconds; by default ``kspike_tf.default.dt``.
    return_sequences : bool, optional
        Whether to return the outputs of all steps, or only the last one.
    return_state : bool, optional
        Whether to return the final states too.
    stateful : bool, optional
        Whether a call starts from the final states of the previous call; see `reset_states`.
    unroll : bool, optional
        Whether to unroll the steps rather than loop, if the cell only implements single steps.
    time_major : bool, optional
        Whether inputs, masks and outputs are ``(time, batch, *units)``.
    **kwargs
        For ``keras.layers.Layer``.

    Attributes
    ----------
    check_steps : callable or None
        Called with the number of steps when a graph is traced for inference, if the number is
        known. It is not saved.

    Raises
    ------
    TypeError
        If ``dt`` is neither a number nor a variable.
    ValueError
        If ``dt`` is not positive and finite.

    Examples
    --------
    >>> import tensorflow as tf
    >>> from kspike_tf.layers import KerasSpikingCell
    >>> class Leak(KerasSpikingCell):
    ...     def call_inference(self, inputs, states):
    ...         level = 0.9 * states[0] + 0.1 * inputs
    ...         return level, [level]
    >>> class LeakLayer(KerasSpikingLayer):
    ...     def build_cell(self, input_shape):
    ...         return Leak(input_shape[2:], dt=self.dt)
    >>> LeakLayer()(tf.ones([1, 3, 1])).numpy().ravel().round(3)
    array([0.1  , 0.19 , 0.271], dtype=float32)
    """

    _settings: ClassVar[dict[str, Setting]] = {
        "return_sequences": Setting(bool),
        "return_state": Setting(bool),
        "stateful": Setting(bool),
        "unroll": Setting(bool),
        "time_major": Setting(bool),
        "dt": Setting(resolve_dt, is_read_at_calls=True, save=dt_config),
    }
    dt = handed_to_cell("dt")

    @suggests_options
    def __init__(
        self,
        dt: Dt = None,
        return_sequences: bool = True,
        return_state: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        time_major: bool = False,
        **kwargs: Any,
    ) -> None:
        # No casts by Keras, so that states and rates keep their precision.
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.stateful = stateful
        self.unroll = unroll
        self.time_major = time_major
        self.dt = dt
        self.check_steps: Callable[[int], None] | None = None
        self.supports_masking = True
        self.layer: Any = None

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Make a layer from the result of `get_config`."""
        if "go_backwards" in config:  # from keras.layers.Bidirectional; not in get_config
            refuse_backwards(cls)
        return super().from_config(config)

    # Building

    def build_cell(self, input_shape: Shape) -> Any:
        """Make the cell.

        Parameters
        ----------
        input_shape : tuple of int or None
            Shape of the layer's input: batch and time, then the units.

        Returns
        -------
        KerasSpikingCell
            The cell, for units ``input_shape[2:]``.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement build_cell(input_shape)")

    def _cell_with_settings(self) -> Any:
        """Return the cell if it exists and has the settings of the layer, otherwise None."""
        shares = getattr(type(self).build_cell, "hands_settings_on", False)
        rnn = vars(self).get("layer")
        return rnn.cell if shares and rnn is not None else None

    def build(self, input_shape: Shape) -> None:
        """Make the cell and its weights; Keras calls this at the first use.

        Parameters
        ----------
        input_shape : tuple of int or None
            Shape of the layer's input.

        Raises
        ------
        ValueError
            If the input has no unit axis or unknown units, or if the layer is stateful and the
            batch size is unknown.
        """
        input_shape = tuple(input_shape)
        self._check_input_shape(input_shape)
        batch, time = self._batch_and_time(input_shape)
        self._units = input_shape[2:]
        self.layer = keras.layers.RNN(
            self.build_cell(input_shape),
            return_sequences=True,
            unroll=self.unroll,
            dtype=self.dtype_policy,
            name="rnn",
        )
        self.layer.build((batch, time, *input_shape[2:]))
        if self._cell_with_settings() is None:
            # The build_cell is the user's; how it uses the settings is unknown.
            self.__dict__["_is_fixed"] = self.layer.cell.__dict__["_is_fixed"] = True
        self.layer.trainable = self.trainable  # Keras only tells existing sublayers
        if self.stateful:
            self._make_state_variables(batch)

    # Running

    def call(
        self,
        inputs: Tensor,
        training: Any = None,
        initial_state: Any = None,
        constants: Any = None,
        mask: Any = None,
    ) -> Any:
        """Run the cell over time.

        Parameters
        ----------
        inputs : (batch, time, *units) tf.Tensor
            Or ``(time, batch, *units)`` with ``time_major=True``.
        training : bool or tf.Tensor, optional
            Whether the model is being trained.
        initial_state : tf.Tensor or list of tf.Tensor, optional
            States to start from, ``(batch, *state)``.
        constants : None
            Not supported.
        mask : (batch, time) tf.Tensor, optional
            False at steps that hold the state and repeat the output; in the layout of the inputs.

        Returns
        -------
        tf.Tensor or tuple of tf.Tensor
            The outputs; with ``return_state=True``, followed by the final states.

        Raises
        ------
        ValueError
            If ``constants`` are passed, shapes do not match, or the number of steps is unknown
            with ``unroll=True``.
        """
        inputs = tf.convert_to_tensor(inputs)
        mask = getattr(inputs, "_keras_mask", None) if mask is None else mask
        self._check_arguments(inputs, initial_state, constants, mask)
        x = real(inputs, self.layer.cell.sequence_dtype)
        mask = None if mask is None else tf.ensure_shape(tf.cast(mask, tf.bool), [None, None])
        x, mask = (swapped(x), swapped(mask)) if self.time_major else (x, mask)
        check_layer(self, mask is not None)
        fresh = initial_state is None and not self.stateful
        y, states = self._run(x, self._start(x, initial_state), training, mask, fresh)
        if self.stateful:
            self._keep(states)
        y = self._arranged(y)
        self._regularize(y, tf.shape(x)[0])
        y = tf.cast(y, self.compute_dtype)
        return (y, *states) if self.return_state else y

    def _run(self, x: Tensor, states: list[Tensor], training: Any, mask: Any, fresh: bool) -> Any:
        cell = self.layer.cell
        cell._note_trace()
        is_inference = (training is None or training is False) and not tf.executing_eagerly()
        if self.check_steps is not None and is_inference and x.shape[1] is not None:
            self.check_steps(x.shape[1])
        if cell.has_sequence:
            return cell.call_sequence(x, states, training=training, mask=mask, fresh=fresh)
        _, y, states = self.layer.inner_loop(x, states, mask, training=training)
        return y, states

    def _arranged(self, y: Tensor) -> Tensor:
        if not self.return_sequences:
            return y[:, -1]
        return swapped(y) if self.time_major else y

    # Regularisation: Keras would penalise the final states too, and in half precision.

    @property
    def activity_regularizer(self) -> Any:
        """The regularizer of the outputs."""
        return None if self._is_called else self._activity_regularizer

    @activity_regularizer.setter
    def activity_regularizer(self, regularizer: Any) -> None:
        self._activity_regularizer = regularizer

    _is_called = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Apply the layer; called like any Keras layer."""
        refuse_ragged(self.name, args, kwargs)
        self._note_trace()
        self._is_called += 1
        try:
            return super().__call__(*args, **kwargs)
        finally:
            self._is_called -= 1

    def _regularize(self, y: Tensor, batch: Tensor) -> None:
        if self._activity_regularizer is None:
            return
        y = tf.cast(y, "float64" if self.compute_dtype == "float64" else "float32")
        loss = self._activity_regularizer(y)
        self.add_loss(tf.math.divide_no_nan(loss, tf.cast(batch, loss.dtype)))

    # Shapes, masks and configuration, for Keras

    def compute_output_shape(self, input_shape: Shape) -> Any:
        """Return the shape of the outputs, and of the states with ``return_state=True``."""
        input_shape = tuple(input_shape)
        self._check_input_shape(input_shape)
        batch, _ = self._batch_and_time(input_shape)
        y = input_shape if self.return_sequences else (batch, *input_shape[2:])
        if not self.return_state:
            return y
        # A layer that is not built makes a cell just for this.
        cell = self.build_cell(input_shape) if self.layer is None else self.layer.cell
        return (y, *[(batch, *shape) for shape in cell.state_shapes])

    def compute_output_spec(
        self,
        inputs: Any,
        training: Any = None,
        initial_state: Any = None,
        constants: Any = None,
        mask: Any = None,
    ) -> Any:
        """Return symbolic outputs, for the arguments of `call`."""
        if not self.built:
            self.build(tuple(inputs.shape))
        mask = getattr(inputs, "_keras_mask", None) if mask is None else mask
        self._check_arguments(inputs, initial_state, constants, mask)
        if not self.return_state:
            shape = self.compute_output_shape(inputs.shape)
            return keras.KerasTensor(shape, dtype=self.compute_dtype)
        shape, *states = self.compute_output_shape(inputs.shape)
        dtype = self.layer.cell.compute_dtype
        return (
            keras.KerasTensor(shape, dtype=self.compute_dtype),
            *[keras.KerasTensor(state, dtype=dtype) for state in states],
        )

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Return the mask of the outputs: that of the inputs, if the outputs have a time axis."""
        mask = mask if self.return_sequences else None
        if not self.return_state:
            return mask
        return [mask, *[None] * len(self.layer.cell.state_shapes)]
