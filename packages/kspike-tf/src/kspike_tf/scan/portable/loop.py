"""Loops over time made of ordinary TensorFlow operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from kspike_tf.scan.cpu.kernels import Kernel
from kspike_tf.tracing import in_xla

Tensor = Any

AXES = 3  # of states (batch, states, units); voltages have two


def scan(
    step: Callable[..., Any],
    sequences: list[Tensor],
    states: list[Tensor],
    reverse: bool = False,
) -> tuple[Tensor, list[Tensor]]:
    """Apply a step function along the second axis.

    Parameters
    ----------
    step : callable
        Takes the sequences' values at one step and the states. Returns the output, which is cast to
        the dtype of the first sequence, and the list of states after the step.
    sequences : list of (batch, time, ...) tf.Tensor
        Read step by step.
    states : list of tf.Tensor
        The states before the first step.
    reverse : bool
        Whether to run from the last step to the first; outputs keep the positions of their inputs.

    Returns
    -------
    output : (batch, time, ...) tf.Tensor
        The outputs at each step.
    states : list of tf.Tensor
        The states after the last iteration.
    """
    first = sequences[0]
    steps = tf.shape(first)[1]
    # XLA compiles the body of a loop even if there are no steps, and rejects reads from empty
    # arrays. So where the number of steps may be zero, append an unused one.
    states = [fitted(state, first) for state in states]
    spare = int(first.shape[1] is None and in_xla())
    room = steps + spare
    arrays = [
        tf.TensorArray(x.dtype, room, element_shape=_without_time(x)).unstack(
            tf.pad(_swapped(x), [[0, spare], *[[0, 0]] * (x.shape.rank - 1)])
            if spare
            else _swapped(x)
        )
        for x in sequences
    ]
    output = tf.TensorArray(first.dtype, room, element_shape=_without_time(first))

    def body(count: Tensor, states: list[Tensor], output: Any) -> Any:
        t = steps - 1 - count if reverse else count
        y, states = step(*[array.read(t) for array in arrays], *states)
        return count + 1, states, output.write(t, tf.cast(y, first.dtype))

    # No maximum_iterations: ONNX has no counterpart of that loop.
    _, states, output = tf.while_loop(
        lambda count, *_: count < steps, body, (tf.constant(0), states, output)
    )
    outputs = output.stack()[:steps] if spare else output.stack()
    return tf.ensure_shape(_swapped(outputs), first.shape), states


def fitted(state: Tensor, sequence: Tensor) -> Tensor:
    """Return a state ``(batch, ...)``; fail unless it has the sequence's batch and units.

    Otherwise operations would broadcast the state of one example to all.
    """
    shape = tf.shape(sequence)
    return tf.reshape(state, tf.concat([shape[:1], shape[2:]], 0))


def _without_time(x: Tensor) -> tf.TensorShape:
    return tf.TensorShape([x.shape[0], *x.shape[2:]])


def _swapped(x: Tensor) -> Tensor:
    return tf.transpose(x, [1, 0, *range(2, x.shape.rank)])


def run(kernel: Kernel, args: Sequence[Tensor]) -> list[Tensor]:
    """Scan tensors with a kernel's formulas; arguments as for `kspike_tf.scan.choose.run`."""
    x, state, *given = args
    sequences, start, count = [x], state, kernel.states
    if kernel.backwards:
        *given, d_y, start = given
        sequences.append(d_y)
    weights = kernel.weights(*given)

    def step(x: Tensor, *others: Tensor) -> Any:
        g, states = (others[0], others[1:]) if kernel.backwards else (None, others)
        after, y = kernel.step(states, x, g, weights)
        return y, list(after)

    states = tf.unstack(start, count, 1) if start.shape.rank == AXES else [start]
    states += [tf.zeros_like(states[0])] * (kernel.rows - count)
    y, after = scan(step, sequences, states, reverse=kernel.backwards)
    if not kernel.backwards:
        return [y, tf.stack(after, 1) if start.shape.rank == AXES else after[0]]
    # The loss depends on the initial state as on an input.
    total = after[-1] + tf.reduce_sum(state * tf.stack(after[count:-1], 1), 1)
    return [y, tf.stack(after[:count], 1), tf.reduce_sum(total, 0)]
