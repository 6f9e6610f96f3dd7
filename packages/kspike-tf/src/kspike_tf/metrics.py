"""Metric that shows the mean firing rate of a model's output during training."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

__all__ = ["MeanRate"]


@keras.saving.register_keras_serializable("kspike_tf")
class MeanRate(keras.metrics.MeanMetricWrapper):
    """Mean firing rate in Hz of a model's output: the spikes of a layer that returns sequences.

    Negative spikes count as spikes, and masked steps do not count. Keras computes metrics of
    outputs that have targets, so pass any for the spikes, such as zeros; they are not used. Keras
    3.8 finds an output by its layer's name: give the layer that of the output. For spiking layers
    whose spikes are no output, see `kspike_tf.callbacks.RateLogger`.

    Parameters
    ----------
    name : str, optional
        Name in the progress bar and in the history of ``fit``.
    dtype : str or keras.DTypePolicy, optional
        Type of the mean.

    Examples
    --------
    >>> import keras, kspike_tf, numpy as np
    >>> x = np.full((4, 50, 3), 20.0)
    >>> inputs = keras.Input((None, 3))
    >>> spikes = kspike_tf.SpikingActivation("relu", seed=0, name="spikes")(inputs)
    >>> outputs = kspike_tf.Lowpass(0.01, name="outputs")(spikes)
    >>> model = keras.Model(inputs, {"outputs": outputs, "spikes": spikes})
    >>> model.compile(
    ...     "sgd", loss={"outputs": "mse", "spikes": None}, metrics={"spikes": MeanRate()}
    ... )
    >>> targets = {"outputs": x, "spikes": np.zeros((4, 1, 1))}
    >>> history = model.fit(x, targets, verbose=0)
    >>> [round(rate, 2) for rate in history.history["spikes_rate"]]
    [20.0]
    """

    def __init__(self, name: str = "rate", dtype: Any = None) -> None:
        super().__init__(_rates, name=name, dtype=dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add the rates of a batch.

        Parameters
        ----------
        y_true : tensor
            Targets, which are not used.
        y_pred : tensor
            (batch, time, ...) spikes.
        sample_weight : tensor, optional
            (batch,) or (batch, time) weights.
        """
        # Before Keras 3.9, masks count only beside weights. 3.8 to 3.15 keep them in `_keras_mask`.
        mask = getattr(y_pred, "_keras_mask", None)
        if sample_weight is None and mask is not None:
            sample_weight = ops.cast(mask, self.dtype)
        super().update_state(y_true, y_pred, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"name": self.name, "dtype": self.dtype}


def _rates(_targets: Any, spikes: Any) -> Any:
    """Return the rates of all steps, averaged over units."""
    if len(spikes.shape) < 3:
        raise ValueError(
            "MeanRate needs spikes with a time axis, (batch, time, ...): use it for the output of "
            f"a layer that returns sequences. Received: shape={tuple(spikes.shape)}"
        )
    dtype = keras.backend.result_type(keras.backend.standardize_dtype(spikes.dtype), "float32")
    spikes = ops.abs(ops.cast(spikes, dtype))  # in bfloat16, a mean would have eight bits
    return ops.mean(spikes, axis=tuple(range(2, len(spikes.shape))))
