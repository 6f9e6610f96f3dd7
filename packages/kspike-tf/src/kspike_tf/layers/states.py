"""States of layers: initial states, states kept between calls, and shape checks."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from kspike_tf.layers.settings import HasSettings

Tensor = Any
Shape = tuple[int | None, ...]


class KeepsState(HasSettings):
    """A layer that wraps a cell with states, and may keep them between calls."""

    name: str
    layer: Any
    stateful: bool
    time_major: bool
    unroll: bool
    _units: Shape
    _state_variables: Any = None
    _has_state: Any = None

    @property
    def states(self) -> list[Any] | None:
        """Current states of a stateful layer; None for other layers, and before building."""
        return self._state_variables

    def _make_state_variables(self, batch: int | None) -> None:
        if batch is None:
            raise ValueError(
                f"stateful=True needs a static batch size: give layer {self.name!r} inputs from "
                f"keras.Input(batch_shape=...){self._layout_hint()}. Received: batch size None"
            )
        with tf.init_scope():
            # Trace, do not run: the weights of a layer that is built in a graph have no values yet.
            initial = tf.function(lambda: self.get_initial_state(batch), autograph=False)
            states = initial.get_concrete_function().structured_outputs
            # Not Keras variables: those are float32 weights, saved with the model.
            self._state_variables = [
                tf.Variable(tf.zeros(state.shape, state.dtype), trainable=False, name="state")
                for state in states
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
            The states of the cell.
        """
        return listed(self.layer.cell.get_initial_state(batch_size=batch_size))

    def reset_states(self, states: Any = None) -> None:
        """Set the states from which the next call of a stateful layer starts.

        Parameters
        ----------
        states : array_like or list of array_like, optional
            The states; by default those of `get_initial_state`.

        Raises
        ------
        AttributeError
            If the layer is not stateful.
        ValueError
            If the layer is not built, or the number or shape of the states does not match.
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
        values = [tf.cast(tf.convert_to_tensor(s), tf.float64) for s in listed(states)]
        self._check_states(values, [tuple(v.shape) for v in self._state_variables], "states")
        for variable, value in zip(self._state_variables, values, strict=True):
            variable.assign(tf.cast(value, variable.dtype))
        self._has_state.assign(True)

    def reset_state(self) -> None:
        """Reset to the initial states; this is Keras 3's name for `reset_states`."""
        self.reset_states()

    def _start(self, x: Tensor, initial_state: Any) -> list[Tensor]:
        """Return the states to start from, for inputs ``(batch, time, *units)``."""
        if initial_state is not None:
            dtype = self.layer.cell.compute_dtype
            return [tf.cast(state, dtype) for state in listed(initial_state)]
        if not self.stateful:
            return self.get_initial_state(tf.shape(x)[0] if x.shape[0] is None else x.shape[0])
        batch = self._state_variables[0].shape[0]
        if x.shape[0] not in (None, batch):
            raise ValueError(
                f"stateful layer {self.name!r} was built for a batch of {batch}"
                f"{self._layout_hint()}. Received: a batch of {x.shape[0]}"
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

    # Checks

    def _batch_and_time(self, shape: Any) -> tuple[Any, Any]:
        return (shape[1], shape[0]) if self.time_major else (shape[0], shape[1])

    def _layout_hint(self) -> str:
        # A likely cause of wrong shapes: batch and time exchanged.
        return "; with time_major=True inputs are (time, batch, *units)" if self.time_major else ""

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

    def _check_states(self, states: list[Any], shapes: list[Shape], name: str) -> None:
        if len(states) != len(shapes):
            raise ValueError(
                f"{name} must hold {len(shapes)} state(s) for layer {self.name!r}. "
                f"Received: {len(states)}"
            )
        for state, shape in zip(states, shapes, strict=True):
            if not tf.TensorShape(state.shape).is_compatible_with(shape):
                raise ValueError(
                    f"{name} must have the shape {shape} for layer {self.name!r}"
                    f"{self._layout_hint()}. Received: {tuple(state.shape)}"
                )

    def _check_arguments(self, inputs: Any, initial_state: Any, constants: Any, mask: Any) -> None:
        """Raise if arguments of a call do not match the layer or each other."""
        if constants is not None:
            raise ValueError(
                f"constants are not supported by layer {self.name!r}. Received: {constants!r}"
            )
        shape = tuple(inputs.shape)
        batch, time = self._batch_and_time(shape)
        if shape[2:] != self._units:
            raise ValueError(
                f"inputs must have the units {self._units} that layer {self.name!r} was built for"
                f"{self._layout_hint()}. Received: shape={shape}"
            )
        if self.unroll and time is None:
            raise ValueError(
                f"unroll=True needs a known number of time steps in layer {self.name!r}"
                f"{self._layout_hint()}. Received: shape={shape}"
            )
        if initial_state is not None:
            shapes = [(batch, *state) for state in self.layer.cell.state_shapes]
            self._check_states(listed(initial_state), shapes, "initial_state")
        if mask is not None and not tf.TensorShape(shape[:2]).is_compatible_with(mask.shape):
            raise ValueError(
                f"mask must have the first two axes of the inputs of layer {self.name!r}, "
                f"{shape[:2]} with time_major={self.time_major}. Received: {tuple(mask.shape)}"
            )


def listed(states: Any) -> list[Any]:
    """Return states as a list, a single state too."""
    return list(states) if isinstance(states, list | tuple) else [states]
