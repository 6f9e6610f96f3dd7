"""Spiking activation: from firing rates to spikes."""

from __future__ import annotations

from typing import Any, ClassVar

import keras
import tensorflow as tf

from kspike_tf import scan
from kspike_tf.layers import masking
from kspike_tf.layers.arguments import (
    activation_function,
    batch_of,
    check_units,
    checked_seed,
    serialized,
)
from kspike_tf.layers.base import KerasSpikingLayer
from kspike_tf.layers.lite_rt import activation_for_export, for_each_example
from kspike_tf.layers.precise import PreciseCell, shaped
from kspike_tf.layers.settings import handed_to_cell, hands_settings_on

Tensor = Any

SETTINGS: dict[str, Any] = {
    "activation": activation_function,
    "seed": checked_seed,
    "spiking_aware_training": bool,
}


@keras.saving.register_keras_serializable("kspike_tf")
class SpikingActivationCell(PreciseCell):
    """RNN cell that turns any activation function into a spiking one.

    The output of the activation function is a firing rate in Hz: an output of 10 becomes 10
    spikes a second, that is in 1/dt steps. A spike has the height 1/dt, so that the integral over
    time stays that of the activation. There may be several spikes in a step, and negative ones
    where the rate is negative. Voltages are float64, on a grid of 2⁻³²: spikes do not depend on
    compiler, device, dtype policy or how time is cut into calls.

    Parameters
    ----------
    size : int or sequence of int
        Shape of a time step, without the batch axis.
    activation : str, callable or keras.layers.Layer
        Activation function; a layer's own weights are trained.
    dt : float, tf.Variable, keras.Variable or None, optional
        Length of a time step in seconds; None takes ``kspike_tf.default.dt``.
    seed : int, optional
        Draws the initial voltages, one for a unit, the same for all examples. Without it each
        example and each call has its own. A negative one counts from 2**64 down.
    spiking_aware_training : bool, optional
        Whether training spikes too, with the gradient of the activation function; otherwise
        training uses the activation function alone.
    **kwargs
        For ``keras.layers.Layer``.

    Raises
    ------
    TypeError
        If an argument is not of the type above.
    ValueError
        If ``seed`` is longer than 64 bits, or ``size`` or ``dt`` not positive.

    Examples
    --------
    >>> cell = SpikingActivationCell(1, "relu", dt=0.25, seed=0)
    >>> layer = keras.layers.RNN(cell, return_sequences=True)
    >>> layer(tf.fill([1, 8, 1], 1.2)).numpy().ravel()
    array([0., 0., 4., 0., 0., 4., 0., 0.], dtype=float32)
    """

    _settings: ClassVar[dict[str, Any]] = SETTINGS
    _read_at_calls: ClassVar[tuple[str, ...]] = tuple(SETTINGS)

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
        self.activation = activation
        self.seed = seed

    @property
    def always_use_inference(self) -> bool:
        """Another name for ``spiking_aware_training``."""
        return self.spiking_aware_training

    @always_use_inference.setter
    def always_use_inference(self, value: bool) -> None:
        self.spiking_aware_training = value

    def build(self, input_shape: Any) -> None:
        """Build an activation with weights of its own; Keras calls this at the first use."""
        check_units(self, input_shape)
        self._check_activation()
        if isinstance(self.activation, keras.layers.Layer) and not self.activation.built:
            self.activation.build((input_shape[0], *self.size))

    def _check_activation(self) -> None:
        """Raise where the activation changes the shape of a time step."""
        if isinstance(self.activation, keras.layers.Layer):
            try:
                shape = self.activation.compute_output_shape((2, *self.size))
            except NotImplementedError:
                return
        else:
            with tf.init_scope():  # eagerly
                shape = self.activation(tf.zeros((2, *self.size), self.sequence_dtype)).shape
        if tuple(shape) != (2, *self.size):
            raise ValueError(
                f"activation must give as many values as it takes: it made {tuple(shape)[1:]} of "
                f"{self.size}. Received: activation={self.activation!r}"
            )

    def get_initial_state(
        self, inputs: Any = None, batch_size: Any = None, dtype: Any = None
    ) -> list[Tensor]:
        """Draw the initial voltages, uniform in [0, 1).

        Parameters
        ----------
        inputs : tf.Tensor, optional
            Gives the batch size, if ``batch_size`` is not given.
        batch_size : int or tf.Tensor, optional
            Number of examples.
        dtype : str, optional
            Float64 if not given; less precision loses the voltage grid.

        Returns
        -------
        list of tf.Tensor
            One, ``(batch, *size)``.
        """
        shape = [batch_of(inputs, batch_size), *self.size]
        if self.seed is None:
            voltage = scan.uniform_voltage(shape, None)
        else:
            voltage = for_each_example(scan.uniform_voltage(list(self.size), self.seed), shape)
        return [tf.cast(voltage, dtype or "float64")]

    def call_training(self, inputs: Tensor, states: Any) -> Any:
        """Return the activation function's output; the voltages stay."""
        return self._rates(self._cast(inputs)), states

    def call_inference(self, inputs: Tensor, states: Any) -> Any:
        """Return spikes, with the gradient of the activation function."""
        rates = self._rates(self._cast(inputs))
        state = states[0]  # float32 where Keras' RNN runs several cells
        spikes, voltage = scan.spike_step(rates, tf.cast(state, "float64"), self._seconds())
        return spikes, [tf.cast(voltage, state.dtype)]

    def call_sequence(
        self,
        inputs: Tensor,
        states: Any,
        training: Any = None,
        mask: Any = None,
        fresh: bool = False,
    ) -> Any:
        """Take all time steps at once, as `KerasSpikingCell.call_sequence`."""
        # The scan knows this activation function itself, and needs no memory for the rates.
        rectifies = self.activation is keras.activations.relu
        x = self._merged(self._cast(inputs)) if rectifies else self._rates_of_steps(inputs)
        if mask is not None:
            # At the start, so that zeros follow: they leave a voltage where it is.
            x = masking.packed(x, mask)

        def spiking(x: Tensor, voltage: Tensor) -> Any:
            start = self._flat(voltage if fresh else scan.on_grid(voltage))
            run = scan.rectified_spikes if rectifies else scan.spikes
            spikes, end = run(x, start, self._seconds())
            if mask is not None:  # without a step that counts, what is owed stays so
                end = tf.where(masking.total(mask) > 0, end, start)
            return restored(spikes), [tf.reshape(end, tf.shape(voltage))]

        def resting(x: Tensor, voltage: Tensor) -> Any:
            return restored(self._rates(x) if rectifies else x), [voltage]

        def restored(x: Tensor) -> Tensor:
            x = x if mask is None else masking.unpacked(x, mask)
            return self._split(x, inputs)

        return self.choose(training, resting, spiking)(x, states[0])

    def _rates_of_steps(self, inputs: Tensor) -> Tensor:
        # The activation takes time as more of the batch: it may know nothing of time.
        merged = tf.reshape(inputs, tf.concat([[-1], tf.shape(inputs)[2:]], 0))
        rates = self._rates(shaped(merged, [None, *self.size]))
        rates = tf.reshape(rates, tf.concat([tf.shape(inputs)[:2], [self.units]], 0))
        return shaped(rates, [*inputs.shape[:2], self.units])

    def _rates(self, inputs: Tensor) -> Tensor:
        return self._cast(activation_for_export(self.activation)(inputs))

    def _seconds(self) -> Any:
        # Rounded to float32: a number and a float32 variable give the same spikes.
        return tf.cast(self.step_length(self.sequence_dtype), tf.float64)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs to make the cell again."""
        config = super().get_config()
        config.pop("always_use_inference", None)
        return {**config, **spiking_config(self)}


@keras.saving.register_keras_serializable("kspike_tf")
class SpikingActivation(KerasSpikingLayer):
    """Layer that turns any activation function into a spiking one.

    The output of the activation function is a firing rate in Hz: an output of 10 becomes 10
    spikes a second, that is in 1/dt steps. A spike has the height 1/dt, so that the integral over
    time stays that of the activation. There may be several spikes in a step, and negative ones
    where the rate is negative.

    The input needs a time axis. Its length may differ between training and inference: one step in
    training and many in inference is often efficient, with ``spiking_aware_training=False``, and
    ``apply_during_training=False`` on filters.

    Parameters
    ----------
    activation : str, callable or keras.layers.Layer
        Activation function; a layer's own weights are trained.
    dt : float, tf.Variable, keras.Variable or None, optional
        Length of a time step in seconds; None takes ``kspike_tf.default.dt``.
    seed : int, optional
        Draws the initial voltages, one for a unit, the same for all examples. Without it each
        example and each call has its own. A negative one counts from 2**64 down.
    spiking_aware_training : bool, optional
        Whether training spikes too, with the gradient of the activation function; otherwise
        training uses the activation function alone.
    **kwargs
        The options of `KerasSpikingLayer` and of ``keras.layers.Layer``.

    Raises
    ------
    TypeError
        If an argument is not of the type above.
    ValueError
        If ``seed`` is longer than 64 bits, or ``dt`` not positive and finite.

    Examples
    --------
    >>> layer = SpikingActivation("relu", dt=0.25, seed=0)
    >>> layer(tf.fill([1, 8, 1], 1.2)).numpy().ravel()
    array([0., 0., 4., 0., 0., 4., 0., 0.], dtype=float32)
    """

    _settings: ClassVar[dict[str, Any]] = SETTINGS
    _read_at_calls: ClassVar[tuple[str, ...]] = tuple(SETTINGS)
    activation = handed_to_cell("activation")
    seed = handed_to_cell("seed")
    spiking_aware_training = handed_to_cell("spiking_aware_training")

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
        self.activation = activation
        self.seed = seed
        self.spiking_aware_training = spiking_aware_training

    @hands_settings_on
    def build_cell(self, input_shape: Any) -> SpikingActivationCell:
        """Make the cell for inputs ``(batch, time, *units)``."""
        return SpikingActivationCell(
            tuple(input_shape[2:]),
            self.activation,
            dt=self.dt,
            seed=self.seed,
            spiking_aware_training=self.spiking_aware_training,
            dtype=self.dtype_policy,
            name="cell",
        )

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs to make the layer again."""
        return {**super().get_config(), **spiking_config(self)}


def spiking_config(owner: Any) -> dict[str, Any]:
    """Return the part of the configuration that cell and layer share."""
    is_layer = isinstance(owner.activation, keras.layers.Layer)
    serialize = keras.saving.serialize_keras_object if is_layer else keras.activations.serialize
    return {
        "activation": serialized(owner, "activation", serialize),
        "seed": owner.seed,
        "spiking_aware_training": owner.spiking_aware_training,
    }
