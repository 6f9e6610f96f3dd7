"""What the two filters have in common: their weights and their configuration."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from kspike_tf.layers.base import KerasSpikingLayer
from kspike_tf.layers.precise import PreciseCell
from kspike_tf.layers.spiking_activation import check_units

Tensor = Any


class FilterArguments:
    """The arguments of a filter, kept and serialised alike by its cell and its layer."""

    def _keep_arguments(
        self,
        tau_initializer: Any,
        apply_during_training: bool,
        level_initializer: Any,
        initial_level_constraint: Any,
        tau_constraint: Any,
    ) -> None:
        self.tau_initializer = _tau_initializer(tau_initializer)
        self.apply_during_training = bool(apply_during_training)
        self.level_initializer = keras.initializers.get(level_initializer)
        self.initial_level_constraint = keras.constraints.get(initial_level_constraint)
        self.tau_constraint = keras.constraints.get(tau_constraint)

    def _arguments(self) -> dict[str, Any]:
        return {
            "tau_initializer": self.tau_initializer,
            "apply_during_training": self.apply_during_training,
            "level_initializer": self.level_initializer,
            "initial_level_constraint": self.initial_level_constraint,
            "tau_constraint": self.tau_constraint,
        }

    def _filter_config(self) -> dict[str, Any]:
        return {
            "tau_initializer": keras.initializers.serialize(self.tau_initializer),
            "apply_during_training": self.apply_during_training,
            "level_initializer": keras.initializers.serialize(self.level_initializer),
            "initial_level_constraint": keras.constraints.serialize(self.initial_level_constraint),
            "tau_constraint": keras.constraints.serialize(self.tau_constraint),
        }


class FilterCell(FilterArguments, PreciseCell):
    """A filter with a trainable time constant and initial level for each unit."""

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
        self._keep_arguments(
            tau_initializer,
            apply_during_training,
            level_initializer,
            initial_level_constraint,
            tau_constraint,
        )

    def _weight_shape(self) -> tuple[int, ...]:
        raise NotImplementedError

    def build(self, input_shape: Any) -> None:
        """Make the weights; Keras calls this at the first use."""
        check_units(self, input_shape)
        # Never cast: half precision would change time constants and levels.
        self.initial_level = self.add_weight(
            shape=self._weight_shape(),
            initializer=self.level_initializer,
            constraint=self.initial_level_constraint,
            autocast=False,
            name="initial_level",
        )
        self.tau = self.add_weight(
            shape=self._weight_shape(),
            initializer=self.tau_initializer,
            constraint=self.tau_constraint,
            autocast=False,
            name="tau",
        )

    def call_training(self, inputs: Tensor, states: Any) -> Any:
        """Return the input; the state stays."""
        return self._cast(inputs), states

    def _sequence(
        self, function: Callable[..., Any], inputs: Tensor, states: Any, training: Any
    ) -> Any:
        shape = tf.shape(inputs)

        def filtering(inputs: Tensor, state: Tensor) -> Any:
            flat = tf.reshape(inputs, tf.stack([shape[0], shape[1], self.units]))
            flat = tf.ensure_shape(flat, [*inputs.shape[:2], self.units])
            parts = math.prod(state.shape[1:]) // self.units
            start = tf.reshape(state, [-1, parts, self.units])
            tau = tf.reshape(self.tau.value, [-1])
            y, end = function(flat, start, tau, self._seconds())
            y = tf.ensure_shape(tf.reshape(y, shape), inputs.shape)
            return y, [tf.reshape(end, tf.shape(state))]

        def passing(inputs: Tensor, state: Tensor) -> Any:
            return inputs, [state]

        return self.choose(training, passing, filtering)(inputs, states[0])

    def _seconds(self) -> Any:
        # Rounded to float32: a number and a float32 variable give the same outputs.
        return tf.cast(self.step_length(self.sequence_dtype), tf.float64)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs to make the cell again."""
        config = super().get_config()
        for fixed in ("always_use_inference", "state_size"):
            config.pop(fixed, None)
        return {**config, **self._filter_config()}


class FilterLayer(FilterArguments, KerasSpikingLayer):
    """A layer of filters with a trainable time constant and initial level for each unit."""

    _cell_class: Any = None

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
        self._keep_arguments(
            tau_initializer,
            apply_during_training,
            level_initializer,
            initial_level_constraint,
            tau_constraint,
        )

    def build_cell(self, input_shape: Any) -> Any:
        """Make the cell for inputs ``(batch, time, *units)``."""
        return self._cell_class(
            tuple(input_shape[2:]),
            dt=self.dt,
            dtype=self.dtype_policy,
            name="cell",
            **self._arguments(),
        )

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs to make the layer again."""
        return {**super().get_config(), **self._filter_config()}


def _tau_initializer(tau: Any) -> Any:
    """Return the initializer that a ``tau_initializer`` argument stands for."""
    if isinstance(tau, bool) or not isinstance(tau, numbers.Real):
        return keras.initializers.get(tau)
    if not 0 < float(tau) < math.inf:
        raise ValueError(
            f"tau_initializer must be positive and finite. Received: tau_initializer={tau}"
        )
    return keras.initializers.Constant(float(tau))
