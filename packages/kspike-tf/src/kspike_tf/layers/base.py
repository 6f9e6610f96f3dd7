"""Base classes of the cells and of the layers that run a cell over time."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from kspike_tf import scan
from kspike_tf.config import dt_config, read_dt, resolve_dt

Tensor = Any


@keras.saving.register_keras_serializable("kspike_tf")
class KerasSpikingCell(keras.layers.Layer):
    """Base class of RNN cells."""

    def __init__(
        self,
        size: Any,
        state_size: Any = None,
        dt: Any = None,
        always_use_inference: bool = True,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)
        self.size = _as_shape(size)
        self.state_size = self.size if state_size is None else _as_shape(state_size)
        if len(self.state_size) == 1:
            self.state_size = self.state_size[0]
        self.output_size = math.prod(self.size)
        self.dt = resolve_dt(dt)
        self.always_use_inference = always_use_inference

    def call(self, inputs: Tensor, states: Any, training: Any = None) -> Any:
        """Apply the cell for one time step."""
        if self.always_use_inference or not training:
            return self.call_inference(inputs, states)
        return self.call_training(inputs, states)

    def call_training(self, inputs: Tensor, states: Any) -> Any:
        raise NotImplementedError

    def call_inference(self, inputs: Tensor, states: Any) -> Any:
        raise NotImplementedError

    def get_initial_state(
        self, inputs: Any = None, batch_size: Any = None, dtype: Any = None
    ) -> Any:
        size = [self.state_size] if isinstance(self.state_size, int) else self.state_size
        return tf.zeros([batch_size, *size], dtype or self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        size = self.size[0] if len(self.size) == 1 else self.size
        config.update(size=size, dt=dt_config(self.dt))
        return config


@keras.saving.register_keras_serializable("kspike_tf")
class KerasSpikingLayer(keras.layers.Layer):
    """Base class of layers that run a cell over time."""

    def __init__(
        self,
        dt: Any = None,
        return_sequences: bool = True,
        return_state: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        time_major: bool = False,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)
        self.dt = resolve_dt(dt)
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.stateful = stateful
        self.unroll = unroll
        self.time_major = time_major
        self.supports_masking = True
        self.layer: Any = None

    def build_cell(self, input_shape: Any) -> Any:
        raise NotImplementedError

    def build(self, input_shape: Any) -> None:
        batch, time = input_shape[:2]
        if self.time_major:
            batch, time = time, batch
        cell = self.build_cell((batch, *input_shape[2:]))
        self.layer = keras.layers.RNN(cell, dtype=self.dtype_policy, return_sequences=True)
        self.layer.build((batch, time, *input_shape[2:]))

    def call(
        self, inputs: Tensor, training: Any = None, initial_state: Any = None, constants: Any = None
    ) -> Any:
        cell = self.layer.cell
        dtype = "float64" if self.compute_dtype == "float64" else "float32"
        x = tf.cast(inputs, dtype)
        if self.time_major:
            x = tf.transpose(x, [1, 0, *range(2, x.shape.rank)])
        states = initial_state
        if states is None:
            states = cell.get_initial_state(batch_size=tf.shape(x)[0])
        if not isinstance(states, list | tuple):
            states = [states]
        y, states = scan.loop(lambda x_t, s: cell(x_t, s, training=training), x, list(states))
        y = tf.cast(y, self.compute_dtype)
        if not self.return_sequences:
            y = y[:, -1]
        elif self.time_major:
            y = tf.transpose(y, [1, 0, *range(2, y.shape.rank)])
        return (y, *states) if self.return_state else y

    def compute_output_shape(self, input_shape: Any) -> Any:
        batch, time = input_shape[:2]
        if self.time_major:
            batch, time = time, batch
        units = tuple(input_shape[2:])
        y = tuple(input_shape) if self.return_sequences else (batch, *units)
        return (y, (batch, *self._state_shape(units))) if self.return_state else y

    def _state_shape(self, units: tuple[int, ...]) -> tuple[int, ...]:
        return units

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(
            dt=dt_config(self.dt),
            return_sequences=self.return_sequences,
            return_state=self.return_state,
            stateful=self.stateful,
            unroll=self.unroll,
            time_major=self.time_major,
        )
        return config


def seconds(cell: Any) -> Any:
    return tf.cast(read_dt(cell.dt), tf.float64)


def _as_shape(size: Any) -> tuple[int, ...]:
    if isinstance(size, int):
        return (size,)
    return tuple(int(n) for n in size)
