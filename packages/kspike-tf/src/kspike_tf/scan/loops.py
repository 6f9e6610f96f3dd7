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
    number: int = 1,
) -> tuple[list[Tensor], list[Tensor]]:
    """Apply a step over the second axis.

    Parameters
    ----------
    step : callable
        Takes the sequences' values at one step and the states; returns a list of outputs, each
        like the first value, and the list of states after the step.
    sequences : list of (batch, time, ...) tf.Tensor
        Read step by step.
    states : list of tf.Tensor
        The states before the first step.
    reverse : bool
        Whether to go from the last step to the first; outputs stay where their inputs are.
    number : int
        Of outputs.

    Returns
    -------
    outputs : list of (batch, time, ...) tf.Tensor
        The outputs at each step.
    states : list of tf.Tensor
        The states after the step taken last.
    """
    first = sequences[0]
    steps = tf.shape(first)[1]
    arrays = [
        tf.TensorArray(x.dtype, steps, element_shape=_without_time(x)).unstack(_swapped(x))
        for x in sequences
    ]
    outputs = [
        tf.TensorArray(first.dtype, steps, element_shape=_without_time(first))
        for _ in range(number)
    ]

    def body(count: Tensor, states: list[Tensor], outputs: list[Any]) -> Any:
        t = steps - 1 - count if reverse else count
        values, states = step(*[array.read(t) for array in arrays], *states)
        written = [array.write(t, v) for array, v in zip(outputs, values, strict=True)]
        return count + 1, states, written

    # No maximum_iterations: the loop that it makes has no counterpart in ONNX.
    _, states, outputs = tf.while_loop(
        lambda count, *_: count < steps, body, (tf.constant(0), states, outputs)
    )
    return [tf.ensure_shape(_swapped(array.stack()), first.shape) for array in outputs], states


def _without_time(x: Tensor) -> tf.TensorShape:
    return tf.TensorShape([x.shape[0], *x.shape[2:]])


def _swapped(x: Tensor) -> Tensor:
    return tf.transpose(x, [1, 0, *range(2, x.shape.rank)])


def respond(weights: Any, u: Tensor, state: Tensor, reverse: bool = False) -> tuple[Tensor, Tensor]:
    """Run a system over a sequence, as `kspike_tf.scan.blocks.respond`."""
    system = _system(weights)

    def step(u_t: Tensor, state: Tensor) -> Any:
        out, state = system(tf.cast(u_t, tf.float64), state)
        return [tf.cast(out, u.dtype)], [state]

    (out,), (state,) = scan(step, [u], [state], reverse)
    return out, state


def in_series(
    first: Any, second: Any, u: Tensor, states: list[Tensor], reverse: bool = False
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Run a system and one that takes its outputs, as `kspike_tf.scan.blocks.in_series`.

    It is one loop, and what goes from one to the other is not rounded.
    """
    one_system, two_system = _system(first), _system(second)

    def step(u_t: Tensor, one: Tensor, two: Tensor) -> Any:
        middle, one = one_system(tf.cast(u_t, tf.float64), one)
        out, two = two_system(middle, two)
        return [tf.cast(middle, u.dtype), tf.cast(out, u.dtype)], [one, two]

    (middle, out), states = scan(step, [u], states, reverse, number=2)
    return middle, out, states


def _system(weights: Any) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return what takes an input and a state to an output and the state after a step."""
    decay = tf.exp(-weights.ratio)

    def step(u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return weights.leave * state + weights.direct * u, decay * state + weights.enter * u

    return step
