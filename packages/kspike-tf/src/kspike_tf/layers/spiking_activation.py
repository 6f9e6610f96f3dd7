"""Spiking activation: firing rates to spikes."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from kspike_tf import scan
from kspike_tf.layers.base import KerasSpikingCell, KerasSpikingLayer, seconds

Tensor = Any


@keras.saving.register_keras_serializable("kspike_tf")
class SpikingActivationCell(KerasSpikingCell):
    """RNN cell that turns any activation function into a spiking one."""

    def __init__(
        self,
        size: Any,
        activation: Any,
        *,
        dt: Any = None,
        seed: int | None = None,
        spiking_aware_training: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(size=size, dt=dt, always_use_inference=spiking_aware_training, **kwargs)
        self.activation = keras.activations.get(activation)
        self.seed = seed
        self.spiking_aware_training = spiking_aware_training

    @property
    def compute_dtype(self) -> str:
        """Float64: Keras' RNN casts the voltage to this."""
        return "float64"

    def get_initial_state(
        self, inputs: Any = None, batch_size: Any = None, dtype: Any = None
    ) -> Any:
        """Draw the initial voltage, uniform on the grid in [0, 1)."""
        if self.seed is None:
            word = tf.random.uniform([1], tf.int64.min, tf.int64.max, tf.int64)
            return _voltage([batch_size, *self.size], tf.bitcast(word, tf.uint64))
        voltage = _voltage(list(self.size), tf.constant([self.seed], tf.uint64))
        return tf.broadcast_to(voltage, [batch_size, *self.size])

    def call_training(self, inputs: Tensor, states: Any) -> Any:
        """Return the base activation; the voltage stays."""
        return self.activation(inputs), states

    def call_inference(self, inputs: Tensor, states: Any) -> Any:
        """Return spikes, and the gradient of the base activation."""
        spikes, voltage = scan.spike_step(self.activation(inputs), states[0], seconds(self))
        return spikes, [voltage]

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(
            activation=_activation_config(self.activation),
            seed=self.seed,
            spiking_aware_training=self.spiking_aware_training,
        )
        return config


def _voltage(shape: Any, key: Tensor) -> Tensor:
    words = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=shape, key=key, counter=tf.zeros([2], tf.uint64), alg=1, dtype=tf.uint32
    )
    return tf.cast(words, tf.float64) * (1 / scan.TICKS)


def _activation_config(activation: Any) -> Any:
    if isinstance(activation, keras.layers.Layer):
        return keras.saving.serialize_keras_object(activation)
    return keras.activations.serialize(activation)


@keras.saving.register_keras_serializable("kspike_tf")
class SpikingActivation(KerasSpikingLayer):
    """Layer that turns any activation function into a spiking one."""

    def __init__(
        self,
        activation: Any,
        *,
        dt: Any = None,
        seed: int | None = None,
        spiking_aware_training: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(dt=dt, **kwargs)
        self.activation = keras.activations.get(activation)
        self.seed = seed
        self.spiking_aware_training = spiking_aware_training

    def build_cell(self, input_shape: Any) -> SpikingActivationCell:
        """Make the cell for inputs of a shape."""
        return SpikingActivationCell(
            tuple(input_shape[1:]),
            self.activation,
            dt=self.dt,
            seed=self.seed,
            spiking_aware_training=self.spiking_aware_training,
            dtype=self.dtype_policy,
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(
            activation=_activation_config(self.activation),
            seed=self.seed,
            spiking_aware_training=self.spiking_aware_training,
        )
        return config
