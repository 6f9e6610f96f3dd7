"""Regularizer for firing rates, which averages spikes over time before the penalty."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kspike_energy.checks import told_options
from kspike_tf.checks import Target
from kspike_tf.regularizers.ranged import L1L2


@keras.saving.register_keras_serializable("kspike_tf")
class MeanRates(L1L2):
    """Penalises mean firing rates outside a target range, neuron by neuron.

    A spike has the height 1/dt, so a neuron's output at one step is a multiple of 1/dt, whatever
    its rate. The mean over time is the rate. The gradient is the same for all steps.

    Parameters
    ----------
    target : float or tuple of float
        Firing rate in Hz towards which neurons are driven, or a range ``(min, max)`` within which
        they are not penalised.
    l1 : float, optional
        Weight of the sum, over neurons, of the distances in Hz.
    l2 : float, optional
        Weight of the sum of the squared distances.
    over_batch : bool, optional
        Whether to average a neuron's rate over the examples of the batch too. Otherwise, every
        example has its own rates, and penalties are averaged over the examples.
    time_axis : int, optional
        Axis of time: 1, or 0 in a time-major layer.

    Raises
    ------
    TypeError
        If a weight or ``target`` is not a number.
    ValueError
        If both weights are zero, a weight is negative or not finite, ``target`` is not a range,
        or ``time_axis`` is neither 0 nor 1.

    Examples
    --------
    >>> import numpy as np
    >>> spikes = np.zeros((1, 10, 2))  # ten steps of 10 ms
    >>> spikes[0, [2, 5], 0] = 100.0  # two spikes: 20 Hz; the other neuron is silent
    >>> float(MeanRates(target=(10, 50), l1=1.0)(spikes))
    10.0
    """

    _arguments = ("target", "l1", "l2", "over_batch", "time_axis")
    _without_weights = "raise"

    @told_options
    def __init__(
        self,
        target: Target,
        l1: float = 0.0,
        l2: float = 0.0,
        over_batch: bool = True,
        time_axis: int = 1,
    ) -> None:
        if time_axis not in (0, 1):
            raise ValueError(f"time_axis must be 0 or 1. Received: time_axis={time_axis!r}")
        super().__init__(l1=l1, l2=l2, target=target)
        self.over_batch = bool(over_batch)
        self.time_axis = int(time_axis)

    def _penalty(self, x: Any) -> Any:
        if len(x.shape) < 3:
            raise ValueError(
                "MeanRates needs values with a time axis, (batch, time, ...): give it to a layer "
                f"that returns sequences. Received: shape={tuple(x.shape)}"
            )
        rates = ops.mean(x, axis=self.time_axis)
        if self.over_batch:
            return super()._penalty(ops.mean(rates, axis=0))
        return super()._penalty(rates) / ops.cast(ops.shape(rates)[0], rates.dtype)
