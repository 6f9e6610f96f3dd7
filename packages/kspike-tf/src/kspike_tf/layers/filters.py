"""What the two filters have in common: their weights and their configuration."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import keras
import tensorflow as tf

from kspike_tf.constraints import over_units
from kspike_tf.layers import masking
from kspike_tf.layers.arguments import check_units, fitted, serialized, tau_initializer_of
from kspike_tf.layers.base import KerasSpikingLayer
from kspike_tf.layers.precise import PreciseCell
from kspike_tf.layers.settings import handed_to_cell, hands_settings_on
from kspike_tf.layers.untrained import with_zero_gradients
from kspike_tf.tracing import exporter

Tensor = Any


class FilterArguments:
    """The arguments of a filter, kept and serialised alike by its cell and its layer."""

    # The others are read when the weights are made.
    _settings: ClassVar[Any] = {
        "tau_initializer": tau_initializer_of,
        "apply_during_training": bool,
        "level_initializer": keras.initializers.get,
        "initial_level_constraint": keras.constraints.get,
        "tau_constraint": keras.constraints.get,
    }
    _read_at_calls: ClassVar[tuple[str, ...]] = ("apply_during_training",)

    def _keep_arguments(
        self,
        tau_initializer: Any,
        apply_during_training: bool,
        level_initializer: Any,
        initial_level_constraint: Any,
        tau_constraint: Any,
    ) -> None:
        self.tau_initializer = tau_initializer
        self.apply_during_training = apply_during_training
        self.level_initializer = level_initializer
        self.initial_level_constraint = initial_level_constraint
        self.tau_constraint = tau_constraint

    def _arguments(self) -> dict[str, Any]:
        return {
            "tau_initializer": self.tau_initializer,
            "apply_during_training": self.apply_during_training,
            "level_initializer": self.level_initializer,
            "initial_level_constraint": self.initial_level_constraint,
            "tau_constraint": self.tau_constraint,
        }

    def _filter_config(self) -> dict[str, Any]:
        initializer, constraint = keras.initializers.serialize, keras.constraints.serialize
        return {
            "tau_initializer": serialized(self, "tau_initializer", initializer),
            "apply_during_training": self.apply_during_training,
            "level_initializer": serialized(self, "level_initializer", initializer),
            "initial_level_constraint": serialized(self, "initial_level_constraint", constraint),
            "tau_constraint": serialized(self, "tau_constraint", constraint),
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

    @property
    def always_use_inference(self) -> bool:
        """Another name for ``apply_during_training``."""
        return self.apply_during_training

    @always_use_inference.setter
    def always_use_inference(self, value: bool) -> None:
        self.apply_during_training = value

    def _weight_shape(self) -> tuple[int, ...]:
        raise NotImplementedError

    def build(self, input_shape: Any) -> None:
        """Make the weights; Keras calls this at the first use."""
        check_units(self, input_shape)
        # Never cast: half precision would change time constants and levels.
        self.initial_level = self.add_weight(
            shape=self._weight_shape(),
            initializer=self.level_initializer,
            constraint=over_units(self.initial_level_constraint),
            autocast=False,
            name="initial_level",
        )
        self.tau = self.add_weight(
            shape=self._weight_shape(),
            initializer=fitted(self.tau_initializer, self.size, "tau_initializer"),
            constraint=over_units(self.tau_constraint),
            autocast=False,
            name="tau",
        )

    def call_training(self, inputs: Tensor, states: Any) -> Any:
        """Return the input; the state stays."""
        return with_zero_gradients(self._cast(inputs), [self.initial_level, self.tau]), states

    def call_sequence(
        self,
        inputs: Tensor,
        states: Any,
        training: Any = None,
        mask: Any = None,
        fresh: bool = False,
    ) -> Any:
        """Take all time steps at once, as `KerasSpikingCell.call_sequence`."""
        tau = tf.reshape(self.tau.value, [-1])

        def filtering(inputs: Tensor, state: Tensor) -> Any:
            x = self._merged(inputs)
            start = tf.reshape(state, [-1, math.prod(state.shape[1:]) // self.units, self.units])
            if mask is None:
                y, end = self._scan(x, start, tau, self._seconds())
            else:
                y, end = self._masked(x, start, tau, mask)
            return self._split(y, inputs), [tf.reshape(end, tf.shape(state))]

        def passing(inputs: Tensor, state: Tensor) -> Any:
            inputs = with_zero_gradients(inputs, [self.initial_level, self.tau])
            if mask is None:
                return inputs, [state]
            return masking.unpacked(masking.packed(inputs, mask), mask), [state]

        return self.choose(training, passing, filtering)(inputs, states[0])

    def _masked(self, x: Tensor, start: Tensor, tau: Tensor, mask: Tensor) -> Any:
        """Filter ``(batch, time, units)`` where the mask is true."""
        if exporter() == "LiteRT":  # no states after a mask, see `lite_rt.check_layer`
            y, end = self._scan(masking.packed(x, mask), start, tau, self._seconds())
            return masking.unpacked(y, mask), end
        # Zeros in front leave a filter at rest where it is. So the response to the inputs and that
        # to the initial state, for which there is a formula, are added; the filter is linear.
        x64 = masking.packed(tf.cast(x, tf.float64), mask, at_end=True)
        driven, end = self._scan(x64, tf.zeros_like(start), tau, self._seconds())
        driven = masking.unpacked(driven, mask, at_end=True)

        def free(steps: Tensor) -> Tensor:
            seconds = tf.cast(steps[:, :, None], tf.float64) * self._seconds()
            return self._rest(start[:, :, None], tau, seconds)

        y = tf.where(
            masking.counted(mask)[:, :, None] > 0,
            driven + free(masking.counted(mask))[:, 0],
            0.0,
        )
        return tf.cast(y, x.dtype), end + free(masking.total(mask))[:, :, 0]

    def _scan(self, x: Tensor, state: Tensor, tau: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
        """Filter ``(batch, time, units)`` from a state ``(batch, parts, units)``."""
        raise NotImplementedError

    def _rest(self, state: Tensor, tau: Tensor, seconds: Tensor) -> Tensor:
        """Return states ``(batch, parts, 1, units)`` after a time ``(batch, n, 1)`` at rest."""
        raise NotImplementedError

    def _seconds(self) -> Any:
        # Rounded to float32: a number and a float32 variable give the same outputs.
        return tf.cast(self.step_length(self.sequence_dtype), tf.float64)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs to make the cell again."""
        config = super().get_config()
        for fixed in ("always_use_inference", "state_size"):
            config.pop(fixed, None)
        return {**config, **self._filter_config()}


class CellWeight:
    """A weight of a layer's cell, read as an attribute of the layer.

    A subclass may have an attribute of its own under the name.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, layer: Any, owner: Any = None) -> Any:
        """Return the weight."""
        if layer is None:
            return self
        if layer.layer is None:
            raise AttributeError(
                f"{self.name} is a weight, and layer {layer.name!r} has none until it is built: "
                "call it on an input first"
            )
        return getattr(layer.layer.cell, self.name)


class FilterLayer(FilterArguments, KerasSpikingLayer):
    """A layer of filters with a trainable time constant and initial level for each unit."""

    tau = CellWeight("tau")
    initial_level = CellWeight("initial_level")
    _cell_class: Any = None
    apply_during_training = handed_to_cell("apply_during_training")

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

    @hands_settings_on
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
