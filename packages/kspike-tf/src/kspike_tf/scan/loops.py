"""The loops over time, step after step, of ordinary TensorFlow operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

Tensor = Any


def scan(
    step: Callable[..., Any],
    sequences: list[Tensor],
    states: list[Tensor],
    reverse: bool = False,
) -> tuple[Tensor, list[Tensor]]:
    """Apply a step over the second axis.

    Parameters
    ----------
    step : callable
        Takes the sequences' values at one step and the states; returns the output, like the first
        value, and the states after the step.
    sequences : list of (batch, time, ...) tf.Tensor
        Read step by step.
    states : list of tf.Tensor
        The states before the first step.
    reverse : bool
        Whether to go from the last step to the first; outputs stay where their inputs are.

    Returns
    -------
    outputs : (batch, time, ...) tf.Tensor
        The output at each step.
    states : list of tf.Tensor
        The states after the step taken last.
    """
    first = sequences[0]
    steps = tf.shape(first)[1]
    arrays = [
        tf.TensorArray(x.dtype, steps, element_shape=_without_time(x)).unstack(_swapped(x))
        for x in sequences
    ]
    outputs = tf.TensorArray(first.dtype, steps, element_shape=_without_time(first))

    def body(count: Tensor, states: list[Tensor], outputs: Any) -> Any:
        t = steps - 1 - count if reverse else count
        output, states = step(*[array.read(t) for array in arrays], *states)
        return count + 1, states, outputs.write(t, output)

    # No maximum_iterations: the loop that it makes has no counterpart in ONNX.
    _, states, outputs = tf.while_loop(
        lambda count, *_: count < steps, body, (tf.constant(0), states, outputs)
    )
    return tf.ensure_shape(_swapped(outputs.stack()), first.shape), states


def _without_time(x: Tensor) -> tf.TensorShape:
    return tf.TensorShape([x.shape[0], *x.shape[2:]])


def _swapped(x: Tensor) -> Tensor:
    return tf.transpose(x, [1, 0, *range(2, x.shape.rank)])


def respond(weights: Any, u: Tensor, state: Tensor, reverse: bool = False) -> tuple[Tensor, Tensor]:
    """Run a system over a sequence, as `kspike_tf.scan.blocks.respond`."""
    decay = tf.exp(-weights.ratio)

    def step(u_t: Tensor, s: Tensor) -> Any:
        u_t = tf.cast(u_t, tf.float64)
        out = weights.leave * s + weights.direct * u_t
        return tf.cast(out, u.dtype), [decay * s + weights.enter * u_t]

    out, (state,) = scan(step, [u], [state], reverse)
    return out, state
