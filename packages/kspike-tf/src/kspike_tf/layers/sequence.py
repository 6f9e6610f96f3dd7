"""What layers over time have in common: options, masks, layouts, regularization."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import keras
import tensorflow as tf

from kspike_tf.layers.lite_rt import check_layer
from kspike_tf.layers.options import check_options
from kspike_tf.layers.states import KeepsState, Shape, Tensor, listed


class SequenceOptions(KeepsState):
    """A layer that runs a cell over time; `KerasSpikingLayer` documents its options."""

    _settings: ClassVar[Any] = {
        "return_sequences": bool,
        "return_state": bool,
        "stateful": bool,
        "unroll": bool,
        "time_major": bool,
    }

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

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Make a layer from what `get_config` returned."""
        if "go_backwards" in config:  # keras.layers.Bidirectional
            check_options(cls, {"go_backwards": config["go_backwards"]})
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
        """Return the cell, if there is one and it has the settings of the layer."""
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
            If the input has no unit axis or unknown units, or a stateful layer an unknown batch.
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
            # A layer of the user's own, which may do with settings what it likes, saves its own.
            self.__dict__["_is_fixed"] = self.layer.cell.__dict__["_is_fixed"] = True
        self.layer.trainable = self.trainable  # Keras tells only layers that are there already
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
        inputs = tf.convert_to_tensor(inputs)
        mask = getattr(inputs, "_keras_mask", None) if mask is None else mask
        self._check_arguments(inputs, initial_state, constants, mask)
        x = tf.cast(inputs, self.layer.cell.sequence_dtype)
        mask = None if mask is None else tf.cast(mask, tf.bool)
        x, mask = (_swapped(x), _swapped(mask)) if self.time_major else (x, mask)
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
        if cell.has_sequence:
            return cell.call_sequence(x, states, training=training, mask=mask, fresh=fresh)
        _, y, states = self.layer.inner_loop(x, states, mask, training=training)
        return y, states

    def _arranged(self, y: Tensor) -> Tensor:
        if not self.return_sequences:
            return y[:, -1]
        return _swapped(y) if self.time_major else y

    def _check_arguments(self, inputs: Any, initial_state: Any, constants: Any, mask: Any) -> None:
        """Raise where arguments do not fit the layer or each other."""
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
            self._check_states(listed(initial_state), self._state_shapes(batch), "initial_state")
        if mask is not None and not tf.TensorShape(shape[:2]).is_compatible_with(mask.shape):
            raise ValueError(
                f"mask must have the first two axes of the inputs of layer {self.name!r}, "
                f"{shape[:2]} with time_major={self.time_major}. Received: {tuple(mask.shape)}"
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
        _refuse_ragged(self.name, args, kwargs)
        self._note_trace()
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
        self._check_input_shape(input_shape)
        batch, _ = self._batch_and_time(input_shape)
        y = input_shape if self.return_sequences else (batch, *input_shape[2:])
        if not self.return_state:
            return y
        # Before it is built, by a cell that is made for the purpose.
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


def _refuse_ragged(name: str, *arguments: Any) -> None:
    for each in keras.tree.flatten(arguments):
        if isinstance(each, tf.RaggedTensor) or getattr(each, "ragged", False):
            raise ValueError(
                f"layer {name!r} takes no ragged tensors: pad the sequences with x.to_tensor() and "
                f"pass mask=tf.sequence_mask(x.row_lengths()). Received: shape={each.shape}"
            )


def _swapped(x: Any) -> Any:
    return None if x is None else tf.transpose(x, [1, 0, *range(2, x.shape.rank)])
