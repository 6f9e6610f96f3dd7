"""Base classes of cells, which compute one time step."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from kspike_tf.config import VariableDt, dt_config, positive_dt, read_dt, resolve_dt
from kspike_tf.layers.arguments import (
    Dt,
    axes_of,
    batch_of,
    keras_size,
    plain_size,
    real,
    shape_of,
    state_size_of,
    suggests_options,
)
from kspike_tf.layers.lite_rt import check_cell
from kspike_tf.layers.settings import HasSettings, Setting

Tensor = Any
Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable("kspike_tf")
class KerasSpikingCell(HasSettings):
    """Base class of cells, with separate behaviour for training and inference.

    Subclass it to define your own neuron: implement `call_inference`, and `call_training` if
    training differs. TensorFlow differentiates both. A `KerasSpikingLayer` or Keras' own
    ``keras.layers.RNN`` runs the cell over time.

    Parameters
    ----------
    size : int or sequence of int
        Shape of the input and output of a time step, without the batch axis.
    state_size : int, sequence of int or list of these, optional
        Shape of the state; a list of shapes for several states. By default, the input's shape.
    dt : float, tf.Variable, keras.Variable or None, optional
        Length of a time step in seconds; by default ``kspike_tf.default.dt``.
    always_use_inference : bool, optional
        Whether training uses `call_inference` too.
    **kwargs
        For ``keras.layers.Layer``.

    Raises
    ------
    TypeError
        If a size does not consist of integers, or ``dt`` is neither a number nor a variable.
    ValueError
        If a size is not positive, or ``dt`` is not positive and finite.

    Examples
    --------
    A leaky integrate-and-fire neuron, with a smooth surrogate for the gradient of its spikes:

    >>> class LIFCell(KerasSpikingCell):
    ...     def __init__(self, size, tau=0.02, **kwargs):
    ...         super().__init__(size=size, **kwargs)
    ...         self.tau = tau
    ...
    ...     def call_inference(self, inputs, states):
    ...         voltage = states[0] + (inputs - states[0]) * (
    ...             self.step_length() / self.tau
    ...         )
    ...         soft = tf.sigmoid(10 * (voltage - 1))
    ...         spikes = soft + tf.stop_gradient(
    ...             tf.cast(voltage >= 1, soft.dtype) - soft
    ...         )
    ...         return spikes / self.step_length(), [
    ...             voltage * (1 - tf.stop_gradient(spikes))
    ...         ]
    >>> layer = keras.layers.RNN(LIFCell(3), return_sequences=True)
    >>> layer(tf.fill([1, 40, 3], 2.0)).numpy()[0, :, 0].nonzero()[0]
    array([13, 27])
    """

    _settings: ClassVar[dict[str, Setting]] = {
        "size": Setting(partial(shape_of, "size"), save=plain_size),
        "state_size": Setting(lambda size: size, save=None),
        "dt": Setting(resolve_dt, is_read_at_calls=True, save=dt_config),
        "always_use_inference": Setting(bool, is_read_at_calls=True, save=None),
    }

    @suggests_options
    def __init__(
        self,
        size: Any,
        state_size: Any = None,
        dt: Dt = None,
        always_use_inference: bool = True,
        **kwargs: Any,
    ) -> None:
        # No casts by Keras, so that rates, states and dt keep their precision.
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)
        self.size = size
        #: For Keras' RNN.
        self.output_size = keras_size(self.size)
        self.state_size: Any = state_size_of(self.size if state_size is None else state_size)
        self.dt: Any = dt
        self.always_use_inference = always_use_inference

    def _put(self, name: str, value: Any) -> None:
        super()._put(name, value)
        if name == "dt":
            # An attribute, so that a SavedModel contains it. It is not a Keras weight.
            self._dt_variable = self.dt.storage if isinstance(self.dt, VariableDt) else None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Take one time step; called like any Keras layer."""
        self._note_trace()
        return super().__call__(*args, **kwargs)

    @property
    def state_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the states, without the batch axis."""
        several = self.state_size if isinstance(self.state_size, list) else [self.state_size]
        return [axes_of(size) for size in several]

    @property
    def sequence_dtype(self) -> str:
        """Type of the inputs that a layer passes to the cell."""
        return self.compute_dtype

    def step_length(self, dtype: str = "float32") -> Any:
        """Return the current dt in seconds: a NumPy number, or a tensor for a variable dt."""
        if isinstance(self.dt, VariableDt):
            value = positive_dt(tf.convert_to_tensor(self.dt.storage))
            return tf.cast(value, dtype)
        return np.dtype(dtype).type(self.dt if dtype == "float64" else read_dt(self.dt))

    def call(self, inputs: Tensor, states: Any, training: Any = None) -> Any:
        """Take one time step.

        Parameters
        ----------
        inputs : (batch, *size) tf.Tensor
            Input at this step.
        states : list of tf.Tensor
            States after the previous step.
        training : bool or tf.Tensor, optional
            Whether the model is being trained.

        Returns
        -------
        outputs : (batch, *size) tf.Tensor
            Output at this step.
        states : list of tf.Tensor
            States after this step.
        """
        return self.choose(training, self.call_training, self.call_inference)(inputs, states)

    def choose(self, training: Any, in_training: Any, in_inference: Any) -> Any:
        """Return one of two functions, or a function that chooses when the graph runs."""
        if self.always_use_inference or training is None:
            return in_inference
        if not tf.is_tensor(training):
            return in_training if training else in_inference

        def either(*args: Any) -> Any:
            flag = tf.cast(training, tf.bool)
            return tf.cond(flag, lambda: in_training(*args), lambda: in_inference(*args))

        return either

    def call_training(self, inputs: Tensor, states: Any) -> Any:
        """Take one time step in training, unless ``always_use_inference``."""
        raise NotImplementedError(
            f"{type(self).__name__} has always_use_inference=False, so it must implement "
            "call_training(inputs, states)"
        )

    def call_inference(self, inputs: Tensor, states: Any) -> Any:
        """Take one time step in inference, and in training with ``always_use_inference``."""
        raise NotImplementedError(
            f"{type(self).__name__} must implement call_inference(inputs, states)"
        )

    def call_sequence(
        self,
        inputs: Tensor,
        states: Any,
        training: Any = None,
        mask: Any = None,
        fresh: bool = False,
    ) -> Any:
        """Compute all time steps at once; for cells that can do so faster than step by step.

        A `KerasSpikingLayer` uses it, unless a subclass overrides a method for single steps.

        Parameters
        ----------
        inputs : (batch, time, *size) tf.Tensor
            Input at all steps.
        states : list of tf.Tensor
            States before the first step.
        training : bool or tf.Tensor, optional
            Whether the model is being trained.
        mask : (batch, time) tf.Tensor of bool, optional
            False at steps that hold the states and repeat the output.
        fresh : bool
            Whether the states are those of `get_initial_state`.

        Returns
        -------
        outputs : (batch, time, *size) tf.Tensor
            Output at all steps.
        states : list of tf.Tensor
            States after the last step.
        """
        raise NotImplementedError

    @property
    def has_sequence(self) -> bool:
        """Whether the class has a `call_sequence` that does the same as its single steps."""
        cls = type(self)
        owner = next(each for each in cls.__mro__ if "call_sequence" in vars(each))
        steps = ("call", "call_training", "call_inference", "choose")
        return owner is not KerasSpikingCell and all(
            getattr(cls, name) is getattr(owner, name) for name in steps
        )

    def get_initial_state(
        self, inputs: Any = None, batch_size: Any = None, dtype: Any = None
    ) -> Any:
        """Return the states before the first step; zeros, unless a subclass overrides this.

        Parameters
        ----------
        inputs : tf.Tensor, optional
            Used for the batch size if ``batch_size`` is None.
        batch_size : int or tf.Tensor, optional
            Number of examples.
        dtype : str, optional
            Type of the states; by default the cell's compute dtype.

        Returns
        -------
        list of tf.Tensor
            The states.
        """
        batch = batch_of(inputs, batch_size)
        dtype = dtype or self.compute_dtype
        return [tf.zeros([batch, *shape], dtype) for shape in self.state_shapes]

    def get_config(self) -> dict[str, Any]:
        """Return the configuration from which `from_config` rebuilds the cell."""
        config = super().get_config()
        # Subclasses that fix these do not take them as arguments.
        if self.state_shapes != [self.size]:
            sizes = [plain_size(each) for each in self.state_shapes]
            config["state_size"] = sizes if isinstance(self.state_size, list) else sizes[0]
        if not self.always_use_inference:
            config["always_use_inference"] = False
        return config


class PreciseCell(KerasSpikingCell):
    """A cell whose states are float64, and whose inputs and outputs are at least float32."""

    @property
    def compute_dtype(self) -> str:
        """Float64, to which Keras' RNN casts the states."""
        return "float64"

    @property
    def sequence_dtype(self) -> str:
        """Type of the inputs that a layer passes to the cell."""
        return "float64" if self.dtype_policy.compute_dtype == "float64" else "float32"

    @property
    def units(self) -> int:
        """Number of units."""
        return math.prod(self.size)

    def call(self, inputs: Tensor, states: Any, training: Any = None) -> Any:
        """Take one time step, as `KerasSpikingCell.call`."""
        check_cell(self)
        return super().call(inputs, states, training=training)

    def _cast(self, inputs: Tensor) -> Tensor:
        return real(inputs, self.sequence_dtype)

    def _seconds(self) -> Any:
        # In float32, dt is rounded, so that numbers and float32 variables give the same outputs.
        return tf.cast(self.step_length(self.sequence_dtype), tf.float64)

    def _flat(self, x: Tensor) -> Tensor:
        """Merge the unit axes of a time step."""
        return tf.reshape(x, [-1, self.units])

    def _merged(self, x: Tensor) -> Tensor:
        """Merge the unit axes of a sequence, as ``(batch, time, units)``."""
        if len(self.size) == 1:
            return x  # LiteRT cannot reshape a tensor with two unknown axes
        merged = tf.reshape(x, tf.concat([tf.shape(x)[:2], [self.units]], 0))
        return with_static_shape(merged, [*x.shape[:2], self.units])

    def _split(self, x: Tensor, like: Tensor) -> Tensor:
        """Undo `_merged`, to the shape of a sequence."""
        if len(self.size) == 1:
            return x
        return with_static_shape(tf.reshape(x, tf.shape(like)), like.shape)


def with_static_shape(x: Tensor, shape: Any) -> Tensor:
    """Set the static shape of a tensor; `tf.ensure_shape` has no forward mode in graphs."""
    x.set_shape(shape)
    return x
