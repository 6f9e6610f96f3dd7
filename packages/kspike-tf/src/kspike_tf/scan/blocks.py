"""Scans without a loop: sums over blocks of steps, over blocks of blocks, and so on.

Time is cut into blocks of a few steps. What a block adds to the state is a sum over its steps; the
states between blocks follow from those sums by the same scheme, with blocks in the place of steps;
and the outputs of a block follow from the state before it and a sum over its own steps so far. So
T steps take a tree of about log T levels, each an elementwise pass over all blocks at once, instead
of a loop of T iterations. The levels shrink quickly: time and memory are those of the first one.

XLA would merge all levels into one pass, and compute the upper ones again for each step. It does
not merge a sum over an axis into its consumer, so the levels are separated by such sums.

References
----------
.. [1] G. E. Blelloch, "Prefix sums and their applications", CMU-CS-90-190, 1990, section 1.4:
   first-order recurrences as scans.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kspike_tf.scan.compiled import compiled
from kspike_tf.scan.systems import System

Tensor = Any
MakeSystem = Callable[[Tensor], System]
MakeSlope = Callable[[Tensor], tuple[Tensor, Tensor]]

FIRST = 4  # steps in a block
REST = 5  # blocks in a block of blocks
TICKS = 2.0**32


class Level(NamedTuple):
    """A level of the tree."""

    size: int  # steps, or blocks of the level below
    block: int  # how many of them are in a block
    stride: int  # time steps in each of them


def levels(steps: int) -> list[Level]:
    """Return the levels from the steps up, until one block holds all."""
    tree = [Level(steps, min(steps, FIRST), 1)]
    while (size := -(-tree[-1].size // tree[-1].block)) > 1:
        block = size if size <= 2 * REST else REST
        tree.append(Level(size, block, tree[-1].stride * tree[-1].block))
    return tree


def _blocks(x: Tensor, block: int) -> Tensor:
    """Cut the second axis into blocks; the last is filled with zeros."""
    missing = -x.shape[1] % block
    if missing:
        x = tf.pad(x, [[0, 0], [0, missing], [0, 0]])
    return tf.reshape(x, [-1, x.shape[1] // block, block, x.shape[2]])


def _joined(x: Tensor, size: int) -> Tensor:
    """Undo `_blocks`."""
    return tf.reshape(x, [-1, x.shape[1] * x.shape[2], x.shape[3]])[:, :size]


def _earlier(block: int) -> Tensor:
    """Return whether, at (step, other step, 1), the other step of a block is the earlier one."""
    steps = np.arange(block)
    return tf.constant((steps > steps[:, None])[..., None].swapaxes(0, 1))


# Spikes


@compiled
def spikes(rates: Tensor, voltage: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
    """Scan as `kspike_tf.scan.spikes`.

    Modulo one spike, the voltage is a sum of the increments' lower 32 bits: integers that wrap
    around, exact in any order. Whole spikes are the differences of the sum's floor.
    """
    tree = levels(rates.shape[1])
    block = tree[0].block
    whole, ticks = _increments(_blocks(rates, block), dt)
    start = _low_bits(voltage * TICKS)
    sums = tf.reduce_sum(_low_bits(ticks), 2)
    before, end = _wrapped_sums(sums, start, tree[1:])
    a = tf.cast(before, tf.float64)[:, :, None]
    steps = np.arange(block)[:, None]
    for other in range(block - 1):
        a += tf.where(tf.constant(steps > other), ticks[:, :, other : other + 1], np.float64(0))
    count = whole + tf.floor((a + ticks) * (1 / TICKS)) - tf.floor(a * (1 / TICKS))
    out = tf.cast(count, rates.dtype) * tf.cast(1 / dt, rates.dtype)
    final = tf.cast(tf.bitcast(end, tf.uint32), tf.float64) * (1 / TICKS)
    return _joined(out, rates.shape[1]), final


def _increments(rates: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
    """Return the voltage that a step adds, as whole spikes and grid steps in [0, 2³²)."""
    ticks = tf.round(tf.cast(rates, tf.float64) * (dt * TICKS))
    whole = tf.floor(ticks * (1 / TICKS))
    return whole, ticks - whole * TICKS


def _low_bits(ticks: Tensor) -> Tensor:
    """Return integers in [0, 2³²] as int32, wrapped around."""
    # At 2⁵² the last bits of a float64 are its integer value.
    return tf.cast(tf.bitcast(ticks + 2.0**52, tf.int64), tf.int32)


def _wrapped_sums(sums: Tensor, start: Tensor, tree: list[Level]) -> tuple[Tensor, Tensor]:
    """Return the integer sums before each block, and after the last."""
    if not tree:
        return start[:, None], start + tf.reduce_sum(sums, 1)
    (size, block, _), *rest = tree
    view = _blocks(sums, block)
    upper, end = _wrapped_sums(tf.reduce_sum(view, 2), start, rest)
    within = tf.reduce_sum(tf.where(_earlier(block), view[:, :, None], 0), 3)
    return _joined(upper[:, :, None] + within, size), end


# Filters

Parts = list[Tensor]  # the n numbers of a state, each (batch, steps, units)
Matrix = list[list[Tensor]]


class Weights(NamedTuple):
    """What a level multiplies by, from F to its powers."""

    total: Matrix  # of each member, in what the block adds: (block, units)
    carry: Matrix  # of the state before the block, in that before each member
    within: Matrix  # of each earlier member: (block, block, units)


@compiled
def respond(system: MakeSystem, x: Tensor, state: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Return the outputs of a system for a sequence from a state, and the state at the end."""
    return _respond(system(ratio), x, state)


@compiled
def gradients(
    system: MakeSystem,
    slope: MakeSlope,
    x: Tensor,
    state: Tensor,
    ratio: Tensor,
    d_y: Tensor,
    d_state: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of the sequence, the state and the ratio."""
    forth = system(ratio)
    back = forth.adjoint
    d_y = tf.reverse(d_y, [1])
    d_x, d_start = _respond(back, d_y, d_state)
    adjoint = [tf.reverse(each, [1]) for each in _states(back, d_y, d_state)]
    g = tf.cast(tf.reverse(d_y, [1]), tf.float64)
    adjoint[0] += g
    before = _states(forth, x, state)
    d_step, d_enter = slope(ratio)
    u = tf.cast(x, tf.float64)
    n = len(before)
    total = sum(
        adjoint[i] * (sum(d_step[i, j] * before[j] for j in range(n)) + d_enter[i] * u)
        for i in range(n)
    )
    return tf.reverse(d_x, [1]), d_start, tf.reduce_sum(tf.reduce_sum(total, 1), 0)


def _respond(system: System, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    before = _states(system, x, state)
    u = tf.cast(x, tf.float64)
    y = (
        sum(w * s for w, s in zip(tf.unstack(system.leave), before, strict=True))
        + system.direct * u
    )
    final = tf.reduce_sum(system.step * tf.stack([s[:, -1] for s in before], 1)[:, None], 2)
    return tf.cast(y, x.dtype), final + system.enter * u[:, -1][:, None]


def _states(system: System, x: Tensor, state: Tensor) -> Parts:
    n = system.enter.shape[0]
    u = tf.cast(x, tf.float64)
    sums = [system.enter[i] * u for i in range(n)]
    return _carried(system, sums, tf.unstack(state, axis=1), levels(x.shape[1]))


def _carried(system: System, sums: Parts, start: Parts, tree: list[Level]) -> Parts:
    if not tree:
        return [s[:, None] for s in start]
    (size, block, stride), *rest = tree
    n = len(sums)
    steps = np.arange(block)
    views = [_blocks(s, block) for s in sums]
    total = _separate(system.power(stride * (block - 1 - steps)))
    carry = _separate(system.power(stride * steps))
    lag = np.maximum(steps[:, None] - 1 - steps, 0)
    within = _separate(system.power(stride * lag))
    upper = _carried(
        system,
        [tf.reduce_sum(sum(total[:, i, j] * views[j] for j in range(n)), 2) for i in range(n)],
        start,
        rest,
    )
    out = []
    for i in range(n):
        inside = sum(within[:, :, i, j] * views[j][:, :, None] for j in range(n))
        inside = tf.reduce_sum(tf.where(_earlier(block), inside, np.float64(0)), 3)
        out.append(inside + sum(carry[:, i, j] * upper[j][:, :, None] for j in range(n)))
    return [_joined(each, size) for each in out]


def _separate(x: Tensor) -> Tensor:
    """Keep XLA from computing a small array again wherever it is used."""
    mask = np.array([True, False]).reshape(2, *[1] * x.shape.rank)
    return tf.reduce_sum(tf.where(tf.constant(mask), x, np.float64(0)), 0)
