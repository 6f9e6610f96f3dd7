"""Spiking activation, which converts firing rates to spikes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import tensorflow as tf

from kspike_tf import scan
from kspike_tf.checks import warn_of_long_step
from kspike_tf.few_spikes import FewSpikesWatch
from kspike_tf.layers import masking
from kspike_tf.layers.arguments import (
    Activation,
    Dt,
    DType,
    Regularizer,
    Size,
    activation_function,
    batch_of,
    check_activation,
    check_units,
    checked_seed,
    suggests_options,
)
from kspike_tf.layers.cell import PreciseCell, with_static_shape
from kspike_tf.layers.lite_rt import activation_for_export, for_each_example
from kspike_tf.layers.sequence import KerasSpikingLayer
from kspike_tf.layers.settings import Setting, another_name, handed_to_cell, hands_settings_on

Tensor = Any


def _serialized(activation: Any) -> Any:
    if isinstance(activation, keras.layers.Layer):
        return keras.saving.serialize_keras_object(activation)
    return keras.activations.serialize(activation)


SETTINGS = {
    "activation": Setting(activation_function, is_read_at_calls=True, save=_serialized),
    "seed": Setting(checked_seed, is_read_at_calls=True),
    "spiking_aware_training": Setting(bool, is_read_at_calls=True),
}


@keras.saving.register_keras_serializable("kspike_tf")
class SpikingActivationCell(PreciseCell):
    """RNN cell that turns any activation function into a spiking one.

    The output of the activation function is a firing rate in Hz: an output of 10 becomes 10
    spikes per second, that is, 10 in 1/dt steps. A spike has the height 1/dt, so that spikes
    and activation have the same integral over time. A step may hold several spikes; negative rates
    give negative spikes. Voltages are float64 on a grid of 2⁻³², so spikes do not depend on the
    compiler, device or dtype policy, nor on how calls divide the time.

    Parameters
    ----------
    size : int or sequence of int
        Shape of a time step, without the batch axis.
    activation : str, callable or keras.layers.Layer
        Activation function; if it is a layer, its weights are trained.
    dt : float, tf.Variable, keras.Variable or None, optional
        Length of a time step in seconds; by default ``kspike_tf.default.dt``.
    seed : int, optional
        Seed of the initial voltages, one per unit, shared by all examples. Without a seed, every
        call draws new ones for every example. A negative seed counts down from 2**64.
    spiking_aware_training : bool, optional
        Whether training spikes too, with the gradient of the activation function; otherwise
        training uses the activation function alone.
    name : str, optional
        Name of the cell.
    dtype : str or keras.DTypePolicy, optional
        Type or policy of inputs and outputs.
    trainable : bool, optional
        Whether the weights of ``activation`` are trained.

    Raises
    ------
    TypeError
        If an argument does not have the type above.
    ValueError
        If ``seed`` needs more than 64 bits, or ``size`` or ``dt`` is not positive.

    Examples
    --------
    >>> cell = SpikingActivationCell(1, "relu", dt=0.25, seed=0)
    >>> layer = keras.layers.RNN(cell, return_sequences=True)
    >>> layer(tf.fill([1, 8, 1], 1.2)).numpy().ravel()
    array([0., 0., 4., 0., 0., 4., 0., 0.], dtype=float32)
    """

    _settings: ClassVar[dict[str, Setting]] = SETTINGS
    always_use_inference = another_name("spiking_aware_training")

    @suggests_options
    def __init__(
        self,
        size: Size,
        activation: Activation,
        *,
        dt: Dt = None,
        seed: int | None = None,
        spiking_aware_training: bool = True,
        name: str | None = None,
        dtype: DType = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(
            size=size,
            dt=dt,
            always_use_inference=spiking_aware_training,
            name=name,
            dtype=dtype,
            trainable=trainable,
        )
        self.activation = activation
        self.seed = seed
        #: Looks at the rates of whole presentations in inference.
        self.watch: FewSpikesWatch | None = None
        warn_of_long_step(dt)

    def build(self, input_shape: Any) -> None:
        """Build the activation if it is a layer; Keras calls this at the first use."""
        check_units(self, input_shape)
        check_activation(self.activation, self.size, self.sequence_dtype)
        if isinstance(self.activation, keras.layers.Layer) and not self.activation.built:
            self.activation.build((input_shape[0], *self.size))

    def get_initial_state(
        self, inputs: Any = None, batch_size: Any = None, dtype: Any = None
    ) -> list[Tensor]:
        """Draw the initial voltages, uniform in [0, 1).

        Parameters
        ----------
        inputs : tf.Tensor, optional
            Used for the batch size if ``batch_size`` is None.
        batch_size : int or tf.Tensor, optional
            Number of examples.
        dtype : str, optional
            Type of the voltages, by default float64; less precision loses the voltage grid.

        Returns
        -------
        list of tf.Tensor
            The voltages, ``(batch, *size)``, in a list.
        """
        shape = [batch_of(inputs, batch_size), *self.size]
        if self.seed is None:
            voltage = scan.uniform_voltage(shape, None)
        else:
            voltage = for_each_example(scan.uniform_voltage(list(self.size), self.seed), shape)
        return [tf.cast(voltage, dtype or "float64")]

    def call_training(self, inputs: Tensor, states: Any) -> Any:
        """Return the output of the activation function, and the voltages unchanged."""
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
        # The scan computes a ReLU itself, which saves the memory for the rates.
        rectifies = self.activation is keras.activations.relu
        x = self._merged(self._cast(inputs)) if rectifies else self._rates_of_steps(inputs)
        if mask is not None:
            # Unmasked steps come first; zeros follow, which leave a voltage unchanged.
            x = masking.packed(x, mask)

        def spiking(x: Tensor, voltage: Tensor) -> Any:
            observer = 0
            if fresh and self.watch is not None:
                observer = self.watch(x, self._seconds, rectifies, training)
            start = self._flat(voltage if fresh else scan.on_grid(voltage))
            run = scan.rectified_spikes if rectifies else scan.spikes
            spikes, end = run(x, start, self._seconds(), observer)
            if mask is not None:  # with all steps masked, the voltage keeps whole spikes
                end = tf.where(masking.total(mask) > 0, end, start)
            return restored(spikes), [tf.reshape(end, tf.shape(voltage))]

        def resting(x: Tensor, voltage: Tensor) -> Any:
            return restored(self._rates(x) if rectifies else x), [voltage]

        def restored(x: Tensor) -> Tensor:
            x = x if mask is None else masking.unpacked(x, mask)
            return self._split(x, inputs)

        return self.choose(training, resting, spiking)(x, states[0])

    def _rates_of_steps(self, inputs: Tensor) -> Tensor:
        # Fold time into the batch, because the activation may not accept a time axis.
        merged = tf.reshape(inputs, tf.concat([[-1], tf.shape(inputs)[2:]], 0))
        rates = self._rates(with_static_shape(merged, [None, *self.size]))
        rates = tf.reshape(rates, tf.concat([tf.shape(inputs)[:2], [self.units]], 0))
        return with_static_shape(rates, [*inputs.shape[:2], self.units])

    def _rates(self, inputs: Tensor) -> Tensor:
        return self._cast(activation_for_export(self.activation)(inputs))

    def get_config(self) -> dict[str, Any]:
        """Return the configuration from which `from_config` rebuilds the cell."""
        config = super().get_config()
        config.pop("always_use_inference", None)
        return config


@keras.saving.register_keras_serializable("kspike_tf")
class SpikingActivation(KerasSpikingLayer):
    """Layer that turns any activation function into a spiking one.

    The output of the activation function is a firing rate in Hz: an output of 10 becomes 10
    spikes per second, that is, 10 in 1/dt steps. A spike has the height 1/dt, so that spikes
    and activation have the same integral over time. A step may hold several spikes; negative rates
    give negative spikes.

    The input needs a time axis. Its length may differ between training and inference. Training on
    one step and inference on many is often efficient, with ``spiking_aware_training=False`` here
    and ``apply_during_training=False`` on filters.

    Parameters
    ----------
    activation : str, callable or keras.layers.Layer
        Activation function; if it is a layer, its weights are trained.
    dt : float, tf.Variable, keras.Variable or None, optional
        Length of a time step in seconds; by default ``kspike_tf.default.dt``.
    seed : int, optional
        Seed of the initial voltages, one per unit, shared by all examples. Without a seed, every
        call draws new ones for every example. A negative seed counts down from 2**64.
    spiking_aware_training : bool, optional
        Whether training spikes too, with the gradient of the activation function; otherwise
        training uses the activation function alone.
    return_sequences : bool, optional
        Whether to return the outputs of all steps, or only the last one.
    return_state : bool, optional
        Whether to return the final voltages too.
    stateful : bool, optional
        Whether a call starts from the final voltages of the previous call; see `reset_states`.
    unroll : bool, optional
        Has no effect on the outputs, because the layer computes all steps at once; requires a
        known number of steps.
    time_major : bool, optional
        Whether inputs, masks and outputs are ``(time, batch, *units)``.
    activity_regularizer : str or keras.regularizers.Regularizer, optional
        Penalty on the outputs.
    name : str, optional
        Name of the layer.
    dtype : str or keras.DTypePolicy, optional
        Type or policy of inputs and outputs.
    trainable : bool, optional
        Whether the weights of ``activation`` are trained.
    input_shape : tuple of int, optional
        Shape of the inputs without the batch axis, for the first layer of a ``Sequential`` model;
        Keras 3 prefers ``keras.Input``.

    Raises
    ------
    TypeError
        If an argument does not have the type above.
    ValueError
        If ``seed`` needs more than 64 bits, or ``dt`` is not positive and finite.

    Examples
    --------
    >>> layer = SpikingActivation("relu", dt=0.25, seed=0)
    >>> layer(tf.fill([1, 8, 1], 1.2)).numpy().ravel()
    array([0., 0., 4., 0., 0., 4., 0., 0.], dtype=float32)
    """

    _settings: ClassVar[dict[str, Setting]] = SETTINGS
    activation = handed_to_cell("activation")
    seed = handed_to_cell("seed")
    spiking_aware_training = handed_to_cell("spiking_aware_training")

    @suggests_options
    def __init__(
        self,
        activation: Activation,
        *,
        dt: Dt = None,
        seed: int | None = None,
        spiking_aware_training: bool = True,
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
        self.activation = activation
        self.seed = seed
        self.spiking_aware_training = spiking_aware_training
        warn_of_long_step(dt)

    @hands_settings_on
    def build_cell(self, input_shape: Any) -> SpikingActivationCell:
        """Make the cell for inputs ``(batch, time, *units)``."""
        cell = SpikingActivationCell(
            tuple(input_shape[2:]),
            self.activation,
            seed=self.seed,
            spiking_aware_training=self.spiking_aware_training,
            dtype=self.dtype_policy,
            name="cell",
        )
        cell.watch = FewSpikesWatch(self)
        cell.dt = self.dt  # not as an argument: the layer has warned of a long step already
        return cell
