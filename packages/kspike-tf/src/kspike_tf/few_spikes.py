"""The warning about spiking layers with too few spikes to carry their activation."""

from __future__ import annotations

import uuid
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from kspike_tf.scan.cpu import observers
from kspike_tf.tracing import Line, in_xla, is_inference_of_keras, is_plain, line_of_inference

Tensor = Any

EXAMPLES = 4  # the most examples that are checked


class FewSpikesWarning(UserWarning):
    """A spiking layer has less than one expected spike for each active neuron.

    ``warnings.simplefilter("ignore", kspike_tf.FewSpikesWarning)`` silences it.
    """


class FewSpikesWatch:
    """Warns once if a layer gets rates that cause too few spikes, when Keras runs inference.

    It looks at the first run with active neurons, and at later ones with fewer steps: at a few
    examples, and never in `fit`. Graphs call it as an operation that exists in this process only,
    so it is only in the functions that Keras makes for `predict` and `evaluate`, which are not
    saved; a ``@tf.function`` inside a model may be saved, and has no check.

    Parameters
    ----------
    layer : KerasSpikingLayer
        The layer. One with `check_steps` has a check already, and is left alone.
    """

    def __init__(self, layer: Any) -> None:
        self._layer = weakref.ref(layer)
        self._limit = observers.EVERY  # the number of steps from which on all is known
        self._number = 0  # as an observer of XLA's programs
        self._resource_name = f"kspike_tf_{uuid.uuid4().hex}"

    def __call__(
        self, x: Tensor, dt: Callable[[], Tensor], is_rectified: bool, training: Any
    ) -> int:
        """Check the rates ``(batch, time, units)`` of a presentation, or of their ReLU, in Hz.

        In a graph, the check runs with it. It looks at nothing if training is true or a tensor.
        Returns the number by which the scan of the rates calls `see` under XLA; 0 otherwise.
        """
        if not (training is None or training is False) or 0 in x.shape or not self._is_wanted():
            return 0
        self._is_rectified = is_rectified
        if tf.executing_eagerly():
            if x.shape[1] < self._limit and is_inference_of_keras():
                self.see(x[:EXAMPLES].numpy(), float(dt()))
        elif self._limit and is_inference_of_keras() and not is_plain():
            if in_xla():
                self._number = self._number or observers.number_of(self)
                return self._number
            self._in_graph(x, dt())
        return 0

    def _is_wanted(self) -> bool:
        layer = self._layer()  # with `return_state`, a presentation may go on in another call
        return layer is not None and layer.check_steps is None and not layer.return_state

    def _in_graph(self, x: Tensor, dt: Tensor) -> None:
        with tf.init_scope():
            self._set_limit()
        limit = tf.raw_ops.ReadVariableOp(resource=self._resource(), dtype=tf.int32)

        def look() -> Tensor:
            tf.numpy_function(self._see_in_graph, [x[:EXAMPLES], dt], [])
            return tf.constant(0)

        tf.cond(tf.shape(x)[1] < limit, look, lambda: tf.constant(0))

    def _see_in_graph(self, x: np.ndarray, dt: float) -> None:
        try:
            self.see(x, float(dt))
        finally:
            self._set_limit()

    # A resource of this process that nobody tracks, as in `kspike_tf.scan.portable.saved_graphs`.
    def _resource(self) -> Tensor:
        with tf.device("CPU:0"):
            return tf.raw_ops.VarHandleOp(shape=[], dtype=tf.int32, shared_name=self._resource_name)

    def _set_limit(self) -> None:
        value = tf.constant(self._limit, tf.int32)
        tf.raw_ops.AssignVariableOp(resource=self._resource(), value=value)

    def see(self, x: np.ndarray, dt: float) -> int:
        """Check the rates of a presentation; return the steps from which on all is known."""
        line = line_of_inference() if x.shape[1] < self._limit else None
        if line:
            self._look(x, dt, line)
        return self._limit

    def _look(self, x: np.ndarray, dt: float, line: Line) -> None:
        layer, steps = self._layer(), x.shape[1]
        spikes = self._expected_spikes(x[:EXAMPLES], dt)
        if spikes is None:  # nothing is known, so the next run is looked at too
            return
        self._limit = 0 if spikes < 1 else steps
        if spikes < 1:
            told = _told(getattr(layer, "name", ""), spikes, steps, dt)
            warnings.warn_explicit(told, FewSpikesWarning, *line)

    def _expected_spikes(self, x: np.ndarray, dt: float) -> float | None:
        """Return the spikes of a presentation, averaged over active neurons; None without any."""
        rates = np.maximum(x, 0) if self._is_rectified else x
        rates = np.abs(rates).sum(axis=1, dtype=np.float64)  # negative spikes count as spikes
        active = rates[rates != 0]
        return float(active.mean()) * dt if active.size else None


def _told(name: str, spikes: float, steps: int, dt: float) -> str:
    return (
        f"layer {name!r} has less than one expected spike for each active neuron: {spikes:.2g} in "
        f"{steps} step{'' if steps == 1 else 's'} of {dt:.4g} s. These are too few to carry an "
        "activation, and outputs are mostly noise. Show inputs for more steps, or raise firing "
        "rates: kspike_tf.convert does so with max_rate, and kspike_tf.rate_report tells of all "
        "layers"
    )
