"""Alpha filter: cell and layer."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from kspike_tf import scan
from kspike_tf.layers.base import KerasSpikingCell, KerasSpikingLayer, seconds

Tensor = Any


@keras.saving.register_keras_serializable("kspike_tf")
class AlphaCell(KerasSpikingCell):
    """RNN cell of a alpha filter."""

    def __init__(
        self,
        size: Any,
        tau_initializer: Any,
        *,
        dt: Any = None,
        apply_during_training: bool = True,
        level_initializer: Any = "zeros",
        initial_level_constraint: Any = None,
        tau_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(size=size, dt=dt, always_use_inference=apply_during_training, **kwargs)
        self.state_size = (2, math.prod(self.size))
        if isinstance(tau_initializer, float | int):
            tau_initializer = keras.initializers.Constant(tau_initializer)
        self.tau_initializer = keras.initializers.get(tau_initializer)
        self.apply_during_training = apply_during_training
        self.level_initializer = keras.initializers.get(level_initializer)
        self.initial_level_constraint = keras.constraints.get(initial_level_constraint)
        self.tau_constraint = keras.constraints.get(tau_constraint)

    @property
    def compute_dtype(self) -> str:
        """Float64: Keras' RNN casts the filter state to this."""
        return "float64"

    def build(self, input_shape: Any) -> None:
        """Create the weights."""
        shape = (math.prod(self.size),)
        self.initial_level = self.add_weight(
            shape=shape,
            initializer=self.level_initializer,
            constraint=self.initial_level_constraint,
            autocast=False,
            name="initial_level",
        )
        self.tau = self.add_weight(
            shape=shape,
            initializer=self.tau_initializer,
            constraint=self.tau_constraint,
            autocast=False,
            name="tau",
        )

    def call_training(self, inputs: Tensor, states: Any) -> Any:
        """Return the input; the state stays."""
        return inputs, states

    def call_inference(self, inputs: Tensor, states: Any) -> Any:
        """Return the filtered input."""
        shape = tf.shape(inputs)
        x = tf.reshape(inputs, [shape[0], math.prod(self.size)])
        state = scan.alpha_step(x, states[0], self.tau.value, seconds(self))
        return tf.reshape(tf.cast(state[:, 0], inputs.dtype), shape), [state]

    def get_initial_state(
        self, inputs: Any = None, batch_size: Any = None, dtype: Any = None
    ) -> Any:
        """Return the initial level at rest, for every example."""
        level = tf.cast(self.initial_level.value, tf.float64)
        state = tf.stack([level, tf.zeros_like(level)])
        return tf.broadcast_to(state, [batch_size, 2, math.prod(self.size)])

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(_config(self))
        return config


def _config(self: Any) -> dict[str, Any]:
    return {
        "tau_initializer": keras.initializers.serialize(self.tau_initializer),
        "apply_during_training": self.apply_during_training,
        "level_initializer": keras.initializers.serialize(self.level_initializer),
        "initial_level_constraint": keras.constraints.serialize(self.initial_level_constraint),
        "tau_constraint": keras.constraints.serialize(self.tau_constraint),
    }


@keras.saving.register_keras_serializable("kspike_tf")
class Alpha(KerasSpikingLayer):
    """Layer of alpha filters."""

    def __init__(
        self,
        tau_initializer: Any,
        *,
        dt: Any = None,
        apply_during_training: bool = True,
        level_initializer: Any = "zeros",
        initial_level_constraint: Any = None,
        tau_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(dt=dt, **kwargs)
        if isinstance(tau_initializer, float | int):
            tau_initializer = keras.initializers.Constant(tau_initializer)
        self.tau_initializer = keras.initializers.get(tau_initializer)
        self.apply_during_training = apply_during_training
        self.level_initializer = keras.initializers.get(level_initializer)
        self.initial_level_constraint = keras.constraints.get(initial_level_constraint)
        self.tau_constraint = keras.constraints.get(tau_constraint)

    def build_cell(self, input_shape: Any) -> AlphaCell:
        """Make the cell for inputs of a shape."""
        return AlphaCell(
            tuple(input_shape[1:]),
            self.tau_initializer,
            dt=self.dt,
            apply_during_training=self.apply_during_training,
            level_initializer=self.level_initializer,
            initial_level_constraint=self.initial_level_constraint,
            tau_constraint=self.tau_constraint,
            dtype=self.dtype_policy,
        )

    def _state_shape(self, units: tuple[int, ...]) -> tuple[int, ...]:
        return 2, math.prod(units)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(_config(self))
        return config
