"""Base class of layers, which run a cell over time."""

from __future__ import annotations

from typing import Any, ClassVar

import keras

from kspike_tf.config import dt_config, resolve_dt
from kspike_tf.layers.sequence import SequenceOptions
from kspike_tf.layers.settings import handed_to_cell


@keras.saving.register_keras_serializable("kspike_tf")
class KerasSpikingLayer(SequenceOptions):
    """Base class of layers that run a `KerasSpikingCell` over time.

    Subclass it for a neuron of your own and implement `build_cell`. The wrapped cell is
    ``layer.layer.cell``.

    Parameters
    ----------
    dt : float, tf.Variable, keras.Variable or None, optional
        Length of a time step in seconds; None takes ``kspike_tf.default.dt``.
    return_sequences : bool, optional
        Whether to return the outputs of all steps, or only that of the last.
    return_state : bool, optional
        Whether to return the final states too.
    stateful : bool, optional
        Whether a call goes on where the one before ended; see `reset_states`.
    unroll : bool, optional
        Whether a cell without a way of its own over sequences is unrolled rather than looped.
    time_major : bool, optional
        Whether inputs, masks and outputs are ``(time, batch, *units)``.
    **kwargs
        For ``keras.layers.Layer``.

    Raises
    ------
    TypeError
        If ``dt`` is neither number nor variable.
    ValueError
        If ``dt`` is not positive and finite.

    Examples
    --------
    >>> import tensorflow as tf
    >>> from kspike_tf.layers import KerasSpikingCell
    >>> class Leak(KerasSpikingCell):
    ...     def call_inference(self, inputs, states):
    ...         level = 0.9 * states[0] + 0.1 * inputs
    ...         return level, [level]
    >>> class LeakLayer(KerasSpikingLayer):
    ...     def build_cell(self, input_shape):
    ...         return Leak(input_shape[2:], dt=self.dt)
    >>> LeakLayer()(tf.ones([1, 3, 1])).numpy().ravel().round(3)
    array([0.1  , 0.19 , 0.271], dtype=float32)
    """

    _settings: ClassVar[Any] = {"dt": resolve_dt}
    _read_at_calls: ClassVar[tuple[str, ...]] = ("dt",)
    dt = handed_to_cell("dt")

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
        super().__init__(
            return_sequences=return_sequences,
            return_state=return_state,
            stateful=stateful,
            unroll=unroll,
            time_major=time_major,
            **kwargs,
        )
        self.dt = dt

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs to make the layer again."""
        return {**super().get_config(), "dt": dt_config(self.dt)}
