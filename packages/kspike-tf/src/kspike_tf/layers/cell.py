"""Base class of cells, which take one time step."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from kspike_tf.config import VariableDt, dt_config, positive_dt, read_dt, resolve_dt
from kspike_tf.layers.arguments import (
    axes_of,
    batch_of,
    keras_size,
    plain_size,
    shape_of,
    state_size_of,
)
from kspike_tf.layers.settings import HasSettings

Tensor = Any
Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable("kspike_tf")
class KerasSpikingCell(HasSettings):
    """Base class of cells, with a behaviour for training and another for inference.

    Subclass it for a neuron of your own: implement `call_inference`, and `call_training` where
    training is to differ. Both are differentiated by TensorFlow. A `KerasSpikingLayer` or Keras'
    own ``keras.layers.RNN`` runs the cell over time.

    Parameters
    ----------
    size : int or sequence of int
        Shape of input and output of a time step, without the batch axis.
    state_size : int, sequence of int or list of these, optional
        Shape of the state; a list of shapes for several states. As ``size`` if not given.
    dt : float, tf.Variable, keras.Variable or None, optional
        Length of a time step in seconds; None takes ``kspike_tf.default.dt``.
    always_use_inference : bool, optional
        Whether training uses `call_inference` too.
    **kwargs
        For ``keras.layers.Layer``.

    Raises
    ------
    TypeError
        If a size is not made of integers, or ``dt`` is neither number nor variable.
    ValueError
        If a size is not positive, or ``dt`` is not positive and finite.

    Examples
    --------
    A leaky integrate-and-fire neuron, whose spikes pass gradients through a smooth stand-in:

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

    _settings: ClassVar[Any] = {
        "size": partial(shape_of, "size"),
        "state_size": lambda size: size,
        "dt": resolve_dt,
        "always_use_inference": bool,
    }
    _read_at_calls: ClassVar[tuple[str, ...]] = ("dt", "always_use_inference")

    def __init__(
        self,
        size: Any,
        state_size: Any = None,
        dt: Any = None,
        always_use_inference: bool = True,
        **kwargs: Any,
    ) -> None:
        # Rates, states and dt keep their precision: cells cast what they use themselves.
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)
        self.size = size
        #: What Keras' RNN reads.
        self.output_size = keras_size(self.size)
        self.state_size: Any = state_size_of(self.size if state_size is None else state_size)
        self.dt = dt
        self.always_use_inference = always_use_inference

    def _put(self, name: str, value: Any) -> None:
        super()._put(name, value)
        if name == "dt":
            # A SavedModel must contain it: TensorFlow follows attributes, and Keras sees no weight.
            self._dt_variable = self.dt.storage if isinstance(self.dt, VariableDt) else None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Take one time step, as any Keras layer."""
        self._note_trace()
        return super().__call__(*args, **kwargs)

    @property
    def state_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the states, without the batch axis."""
        several = self.state_size if isinstance(self.state_size, list) else [self.state_size]
        return [axes_of(size) for size in several]

    @property
    def sequence_dtype(self) -> str:
        """Type in which a layer hands inputs to the cell."""
        return self.compute_dtype

    def step_length(self, dtype: str = "float32") -> Any:
        """Return dt in seconds, as it is now: a NumPy number, or a tensor for a variable dt."""
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
            States after the step before.
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
        """Return the function that applies: one of two, or a choice when the graph runs."""
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
        """Take all time steps at once, where a cell knows a faster way than step by step.

        A `KerasSpikingLayer` uses it, unless a subclass changes what a step does.

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
        """Whether `call_sequence` does what steps would do."""
        cls = type(self)
        sequence = {"call_sequence", "_scan"}  # the latter in filters, whose kinds share the rest
        owner = next(each for each in cls.__mro__ if sequence & vars(each).keys())
        steps = ("call", "call_training", "call_inference", "choose")
        return owner is not KerasSpikingCell and all(
            getattr(cls, name) is getattr(owner, name) for name in steps
        )

    def get_initial_state(
        self, inputs: Any = None, batch_size: Any = None, dtype: Any = None
    ) -> Any:
        """Return the states before the first step: zeros, unless a subclass says otherwise.

        Parameters
        ----------
        inputs : tf.Tensor, optional
            Gives the batch size, if ``batch_size`` is not given.
        batch_size : int or tf.Tensor, optional
            Number of examples.
        dtype : str, optional
            Of the states; the cell's compute dtype if not given.

        Returns
        -------
        list of tf.Tensor
            One for each state.
        """
        batch = batch_of(inputs, batch_size)
        dtype = dtype or self.compute_dtype
        return [tf.zeros([batch, *shape], dtype) for shape in self.state_shapes]

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs to make the cell again."""
        config = super().get_config()
        config.update(size=plain_size(self.size), dt=dt_config(self.dt))
        # Subclasses that fix these do not take them as arguments.
        if self.state_shapes != [self.size]:
            sizes = [plain_size(each) for each in self.state_shapes]
            config["state_size"] = sizes if isinstance(self.state_size, list) else sizes[0]
        if not self.always_use_inference:
            config["always_use_inference"] = False
        return config
