"""Base classes of filters with trainable time constants and initial levels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import tensorflow as tf

from kspike_tf.checks import warn_of_mixed_units
from kspike_tf.constraints import over_units
from kspike_tf.layers import masking
from kspike_tf.layers.arguments import (
    Constraint,
    Dt,
    DType,
    Initializer,
    Regularizer,
    Size,
    Tau,
    batch_of,
    check_units,
    keras_size,
    suggests_options,
)
from kspike_tf.layers.cell import PreciseCell
from kspike_tf.layers.filter_weights import (
    KeepsFlatWeights,
    in_shape_of,
    per_unit,
    tau_initializer_of,
    with_zero_gradients,
)
from kspike_tf.layers.lite_rt import for_each_example
from kspike_tf.layers.sequence import KerasSpikingLayer
from kspike_tf.layers.settings import Setting, another_name, handed_to_cell, hands_settings_on
from kspike_tf.tracing import exporter

Tensor = Any

_CONSTRAINT = Setting(keras.constraints.get, save=keras.constraints.serialize)

# Only apply_during_training is read at calls; the others are read when the weights are made.
SETTINGS = {
    "tau_initializer": Setting(tau_initializer_of, save=keras.initializers.serialize),
    "apply_during_training": Setting(bool, is_read_at_calls=True),
    "level_initializer": Setting(keras.initializers.get, save=keras.initializers.serialize),
    "initial_level_constraint": _CONSTRAINT,
    "tau_constraint": _CONSTRAINT,
}


class FilterCell(KeepsFlatWeights, PreciseCell):
    """A filter with a trainable time constant and initial level for each unit."""

    _settings: ClassVar[dict[str, Setting]] = SETTINGS
    always_use_inference = another_name("apply_during_training")
    #: Filters ``(batch, time, units)`` from a state ``(batch, parts, units)``.
    _scan: Any = None

    @suggests_options
    def __init__(
        self,
        size: Size,
        tau_initializer: Tau,
        *,
        dt: Dt = None,
        apply_during_training: bool = True,
        level_initializer: Initializer = "zeros",
        initial_level_constraint: Constraint = None,
        tau_constraint: Constraint = None,
        name: str | None = None,
        dtype: DType = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(
            size=size,
            dt=dt,
            always_use_inference=apply_during_training,
            name=name,
            dtype=dtype,
            trainable=trainable,
        )
        self.state_size = keras_size(self._state_shape())
        self.tau_initializer: Any = tau_initializer
        self.level_initializer: Any = level_initializer
        self.initial_level_constraint: Any = initial_level_constraint
        self.tau_constraint: Any = tau_constraint
        warn_of_mixed_units(self.dt, tau_initializer)

    def _state_shape(self) -> tuple[int, ...]:
        return self.size

    def _at_rest(self, level: Tensor) -> Tensor:
        """Return the state that holds a level, ``(1, *size)``, which may be flat."""
        return level

    def get_initial_state(
        self, inputs: Any = None, batch_size: Any = None, dtype: Any = None
    ) -> list[Tensor]:
        """Return the initial state of every example: the initial level, at rest.

        Parameters
        ----------
        inputs : tf.Tensor, optional
            Used for the batch size if ``batch_size`` is None.
        batch_size : int or tf.Tensor, optional
            Number of examples.
        dtype : str, optional
            Type of the states, by default float64.

        Returns
        -------
        list of tf.Tensor
            The state in a list: of a lowpass filter ``(batch, *size)``, its output; of an alpha
            filter ``(batch, 2, prod(size))``, output and τ times its derivative.
        """
        state = self._at_rest(tf.cast(self.initial_level.value, dtype or "float64"))
        return [for_each_example(state, [batch_of(inputs, batch_size), *self._state_shape()])]

    def build(self, input_shape: Any) -> None:
        """Make the weights; Keras calls this at the first use."""
        check_units(self, input_shape)
        shape = (self.units,) if self.has_flat_weights else (1, *self.size)
        # No autocast: half precision would change time constants and levels.
        self.initial_level = self.add_weight(
            shape=shape,
            initializer=self.level_initializer,
            constraint=over_units(self.initial_level_constraint),
            autocast=False,
            name="initial_level",
        )
        self.tau = self.add_weight(
            shape=shape,
            initializer=per_unit(self.tau_initializer, self.size, "tau_initializer"),
            constraint=over_units(self.tau_constraint),
            autocast=False,
            name="tau",
        )

    def load_own_variables(self, store: Any) -> None:
        """Load the weights from a file, which may hold them in either shape."""
        names = [str(number) for number in range(len(store.keys()))]
        values = in_shape_of(self.weights, [store[name] for name in names])
        super().load_own_variables(dict(zip(names, values, strict=True)))

    def set_weights(self, weights: Any) -> None:
        """Set the weights, from arrays of either shape."""
        super().set_weights(in_shape_of(self.weights, weights))

    def call_training(self, inputs: Tensor, states: Any) -> Any:
        """Return the input, and the state unchanged."""
        return with_zero_gradients(self._cast(inputs), [self.initial_level, self.tau]), states

    def call_inference(self, inputs: Tensor, states: Any) -> Any:
        """Take one time step of the filter."""
        x = self._cast(inputs)
        state = states[0]  # float32 where Keras' RNN runs several cells
        y, after = self._step(x, tf.cast(state, "float64"))
        return tf.cast(y, x.dtype), [tf.cast(after, state.dtype)]

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
        # The filter is linear, so add two responses: to the inputs, from rest, and to the initial
        # state, for which there is a formula. Leading zeros leave a filter at rest unchanged.
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

    def _step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return output and state in float64 after one time step."""
        raise NotImplementedError

    def _rest(self, state: Tensor, tau: Tensor, seconds: Tensor) -> Tensor:
        """Let states ``(batch, parts, 1, units)`` decay for times ``(batch, n, 1)``, in seconds."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Return the configuration from which `from_config` rebuilds the cell."""
        config = super().get_config()
        for fixed in ("always_use_inference", "state_size"):
            config.pop(fixed, None)
        return config


def weight_of_cell(name: str, option: str) -> Any:
    """Return a property of a layer for a weight of its cell, which an option initializes.

    A subclass from elsewhere may have an attribute of the same name.
    """

    def get(layer: Any) -> Any:
        if name in vars(layer):
            return vars(layer)[name]
        if layer.layer is None:
            raise AttributeError(
                f"{name} is a weight, and layer {layer.name!r} has none until it is built: "
                "call it on an input first"
            )
        return getattr(layer.layer.cell, name)

    def put(layer: Any, value: Any) -> None:
        if type(layer).__module__.split(".")[0] == "kspike_tf":
            raise AttributeError(
                f"{name} is a weight: pass {option} to a new layer, or call "
                f"layer.{name}.assign(...) once layer {layer.name!r} is built. "
                f"Received: {name}={value!r}"
            )
        vars(layer)[name] = value

    return property(get, put, doc=f"The weight {name} of the cell.")


class FilterLayer(KeepsFlatWeights, KerasSpikingLayer):
    """A layer of filters with a trainable time constant and initial level for each unit."""

    _settings: ClassVar[dict[str, Setting]] = SETTINGS
    tau = weight_of_cell("tau", "tau_initializer")
    initial_level = weight_of_cell("initial_level", "level_initializer")
    apply_during_training = handed_to_cell("apply_during_training")
    _cell_class: Any = None

    @suggests_options
    def __init__(
        self,
        tau_initializer: Tau,
        *,
        dt: Dt = None,
        apply_during_training: bool = True,
        level_initializer: Initializer = "zeros",
        initial_level_constraint: Constraint = None,
        tau_constraint: Constraint = None,
        return_sequences: bool = True,
        return_state: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        time_major: bool = False,
        activity_regularizer: Regularizer = None,
        name: str | None = None,
        dtype: DType = None,
        trainable: bool = True,
        input_shape: Sequence[int | None] | None = None,
    ) -> None:
        super().__init__(
            dt=dt,
            return_sequences=return_sequences,
            return_state=return_state,
            stateful=stateful,
            unroll=unroll,
            time_major=time_major,
            activity_regularizer=activity_regularizer,
            name=name,
            dtype=dtype,
            trainable=trainable,
            input_shape=input_shape,
        )
        self.tau_initializer = tau_initializer
        self.apply_during_training = apply_during_training
        self.level_initializer = level_initializer
        self.initial_level_constraint = initial_level_constraint
        self.tau_constraint = tau_constraint
        warn_of_mixed_units(self.dt, tau_initializer)

    @hands_settings_on
    def build_cell(self, input_shape: Any) -> Any:
        """Make the cell for inputs ``(batch, time, *units)``."""
        cell = self._cell_class(
            tuple(input_shape[2:]),
            dt=self.dt,
            dtype=self.dtype_policy,
            name="cell",
            **{name: getattr(self, name) for name in SETTINGS},
        )
        cell.has_flat_weights = self.has_flat_weights
        return cell

    def set_weights(self, weights: Any) -> None:
        """Set the weights, from arrays ``(1, *size)`` or ``(prod(size),)``."""
        super().set_weights(in_shape_of(self.weights, weights))
