"""What layers over time have in common: options, states, masks, layouts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

Tensor = Any
Shape = tuple[int | None, ...]


class SequenceOptions(keras.layers.Layer):
    """A layer that runs a cell over time; `KerasSpikingLayer` documents its options."""

    def __init__(
        self,
        return_sequences: bool,
        return_state: bool,
        stateful: bool,
        unroll: bool,
        time_major: bool,
        **kwargs: Any,
    ) -> None:
        # States and rates keep their precision: the layer casts its arguments itself.
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.stateful = stateful
        self.unroll = unroll
        self.time_major = time_major
        self.supports_masking = True
        self.layer: Any = None
        self._state_variables: Any = None
        self._has_state: Any = None

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

    def build(self, input_shape: Shape) -> None:
        """Make the cell and its weights; Keras calls this at the first use.

        Parameters
        ----------
        input_shape : tuple of int or None
            Shape of the layer's input.

        Raises
        ------
        ValueError
            If the input has no unit axis or unknown units, or a stateful layer an unknown batch.
        """
        input_shape = tuple(input_shape)
        self._check_input_shape(input_shape)
        batch, time = self._batch_and_time(input_shape)
        self.layer = keras.layers.RNN(
            self.build_cell(input_shape),
            return_sequences=True,
            unroll=self.unroll,
            dtype=self.dtype_policy,
            name="rnn",
        )
        self.layer.build((batch, time, *input_shape[2:]))
        if self.stateful:
            self._make_state_variables(batch)

    def _check_input_shape(self, shape: Shape) -> None:
        layout = "(time, batch, *units)" if self.time_major else "(batch, time, *units)"
        if len(shape) < 3:
            raise ValueError(
                f"inputs of layer {self.name!r} must have at least three axes, {layout}. "
                f"Received: shape={shape}"
            )
        if None in shape[2:]:
            raise ValueError(
                f"inputs of layer {self.name!r} must have known units in {layout}. "
                f"Received: shape={shape}"
            )

    def _batch_and_time(self, shape: Any) -> tuple[Any, Any]:
        return (shape[1], shape[0]) if self.time_major else (shape[0], shape[1])

    # States

    @property
    def states(self) -> list[Any] | None:
        """The states that a stateful layer goes on from; None for others, and before building."""
        return self._state_variables

    def _make_state_variables(self, batch: int | None) -> None:
        if batch is None:
            raise ValueError(
                f"stateful=True needs a static batch size: give layer {self.name!r} inputs from "
                "keras.Input(batch_shape=...). Received: batch size None"
            )
        with tf.init_scope():
            # Not Keras variables: those are float32 weights, saved with the model.
            states = _listed(self.layer.cell.get_initial_state(batch_size=batch))
            self._state_variables = [
                tf.Variable(state, trainable=False, name="state") for state in states
            ]
            self._has_state = tf.Variable(False, trainable=False, name="has_state")

    def get_initial_state(self, batch_size: Any) -> list[Tensor]:
        """Return the states before the first step.

        Parameters
        ----------
        batch_size : int or tf.Tensor
            Number of examples.

        Returns
        -------
        list of tf.Tensor
            One for each state of the cell.
        """
        return _listed(self.layer.cell.get_initial_state(batch_size=batch_size))

    def reset_states(self, states: Any = None) -> None:
        """Let the next call of a stateful layer start anew.

        Parameters
        ----------
        states : array_like or list of array_like, optional
            The states to start from; those of `get_initial_state` if not given.

        Raises
        ------
        AttributeError
            If the layer is not stateful.
        ValueError
            If the layer is not built, or number or shape of the states do not fit.
        """
        if not self.stateful:
            raise AttributeError(
                f"reset_states needs a layer with stateful=True. Received: {self.name!r}"
            )
        if self._state_variables is None:
            raise ValueError(
                f"reset_states needs a built layer: call {self.name!r} on an input first"
            )
        if states is None:
            self._has_state.assign(False)
            return
        values = [tf.cast(tf.convert_to_tensor(s), tf.float64) for s in _listed(states)]
        self._check_states(values, [tuple(v.shape) for v in self._state_variables], "states")
        for variable, value in zip(self._state_variables, values, strict=True):
            variable.assign(tf.cast(value, variable.dtype))
        self._has_state.assign(True)

    def reset_state(self) -> None:
        """Do as `reset_states`, under the name of Keras 3."""
        self.reset_states()

    def _check_states(self, states: list[Any], shapes: list[Shape], name: str) -> None:
        if len(states) != len(shapes):
            raise ValueError(
                f"{name} must hold {len(shapes)} state(s) for layer {self.name!r}. "
                f"Received: {len(states)}"
            )
        for state, shape in zip(states, shapes, strict=True):
            if not tf.TensorShape(state.shape).is_compatible_with(shape):
                hint = "; with time_major=True inputs are (time, batch, *units)"
                raise ValueError(
                    f"{name} must have the shape {shape} for layer {self.name!r}"
                    f"{hint if self.time_major else ''}. Received: {tuple(state.shape)}"
                )

    def _state_shapes(self, batch: int | None) -> list[Shape]:
        return [(batch, *shape) for shape in self.layer.cell.state_shapes]

    def _start(self, x: Tensor, initial_state: Any) -> list[Tensor]:
        """Return the states to start from, for inputs (batch, time, *units)."""
        cell = self.layer.cell
        if initial_state is not None:
            states = _listed(initial_state)
            self._check_states(states, self._state_shapes(x.shape[0]), "initial_state")
            return [tf.cast(state, cell.compute_dtype) for state in states]
        if not self.stateful:
            return self.get_initial_state(tf.shape(x)[0] if x.shape[0] is None else x.shape[0])
        batch = self._state_variables[0].shape[0]
        if x.shape[0] not in (None, batch):
            raise ValueError(
                f"stateful layer {self.name!r} was built for a batch of {batch}. "
                f"Received: a batch of {x.shape[0]}"
            )
        return tf.cond(
            self._has_state,
            lambda: [tf.convert_to_tensor(v) for v in self._state_variables],
            lambda: self.get_initial_state(batch),
        )

    def _keep(self, states: list[Tensor]) -> None:
        for variable, state in zip(self._state_variables, states, strict=True):
            variable.assign(state)
        self._has_state.assign(True)

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
            The outputs; with ``return_state=True``, the final states after them.

        Raises
        ------
        ValueError
            If ``constants`` are given, shapes do not fit, or ``unroll=True`` meets an unknown
            number of steps.
        """
        if constants is not None:
            raise ValueError(
                f"constants are not supported by layer {self.name!r}. Received: {constants!r}"
            )
        inputs = tf.convert_to_tensor(inputs)
        mask = getattr(inputs, "_keras_mask", None) if mask is None else mask
        self._check_mask(inputs, mask)
        x = tf.cast(inputs, self.layer.cell.sequence_dtype)
        x, mask = (_swapped(x), _swapped(mask)) if self.time_major else (x, mask)
        self._check_unroll(x)
        y, states = self._run(x, self._start(x, initial_state), training, mask)
        if self.stateful:
            self._keep(states)
        y = self._arranged(y)
        self._regularize(y, tf.shape(x)[0])
        y = tf.cast(y, self.compute_dtype)
        return (y, *states) if self.return_state else y

    def _run(self, x: Tensor, states: list[Tensor], training: Any, mask: Any) -> Any:
        cell = self.layer.cell
        if mask is None and cell.has_sequence:
            return cell.call_sequence(x, states, training=training)
        _, y, states = self.layer.inner_loop(x, states, mask, training=training)
        return y, states

    def _arranged(self, y: Tensor) -> Tensor:
        if not self.return_sequences:
            return y[:, -1]
        return _swapped(y) if self.time_major else y

    def _check_mask(self, inputs: Any, mask: Any) -> None:
        if mask is None:
            return
        expected, shape = tuple(inputs.shape[:2]), tuple(mask.shape)
        if not tf.TensorShape(expected).is_compatible_with(shape):
            raise ValueError(
                f"mask must have the first two axes of the inputs of layer {self.name!r}, "
                f"{expected} with time_major={self.time_major}. Received: {shape}"
            )

    def _check_unroll(self, x: Tensor) -> None:
        if self.unroll and x.shape[1] is None:
            raise ValueError(
                f"unroll=True needs a known number of time steps in layer {self.name!r}. "
                f"Received: shape={tuple(x.shape)}"
            )

    # Regularisation: Keras would penalise the final states as well, and in half precision.

    @property
    def activity_regularizer(self) -> Any:
        """The regularizer of the outputs."""
        return None if self._is_called else self._activity_regularizer

    @activity_regularizer.setter
    def activity_regularizer(self, regularizer: Any) -> None:
        self._activity_regularizer = regularizer

    _is_called = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Apply the layer, as any Keras layer."""
        with self._call():
            return super().__call__(*args, **kwargs)

    @contextmanager
    def _call(self) -> Iterator[None]:
        self._is_called += 1
        try:
            yield
        finally:
            self._is_called -= 1

    def _regularize(self, y: Tensor, batch: Tensor) -> None:
        if self._activity_regularizer is None:
            return
        y = tf.cast(y, "float64" if self.compute_dtype == "float64" else "float32")
        loss = self._activity_regularizer(y)
        self.add_loss(tf.math.divide_no_nan(loss, tf.cast(batch, loss.dtype)))

    # What Keras asks for

    def compute_output_shape(self, input_shape: Shape) -> Any:
        """Return the shape of the outputs, and of the states with ``return_state=True``."""
        input_shape = tuple(input_shape)
        batch, _ = self._batch_and_time(input_shape)
        y = input_shape if self.return_sequences else (batch, *input_shape[2:])
        return (y, *self._state_shapes(batch)) if self.return_state else y

    def compute_output_spec(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Return symbolic outputs."""
        self._check_mask(inputs, getattr(inputs, "_keras_mask", None))
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
        """Return the mask of the outputs: that of the inputs, if there is a time axis left."""
        mask = mask if self.return_sequences else None
        if not self.return_state:
            return mask
        return [mask, *[None] * len(self.layer.cell.state_shapes)]

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs to make the layer again."""
        config = super().get_config()
        config.update(
            return_sequences=self.return_sequences,
            return_state=self.return_state,
            stateful=self.stateful,
            unroll=self.unroll,
            time_major=self.time_major,
        )
        return config


def _listed(states: Any) -> list[Any]:
    return list(states) if isinstance(states, list | tuple) else [states]


def _swapped(x: Any) -> Any:
    return None if x is None else tf.transpose(x, [1, 0, *range(2, x.shape.rank)])
