"""Scans without a loop: sums over blocks of steps, over blocks of blocks, and so on.

Time is cut into blocks of a few steps. What a block adds to the state is a sum over its steps; the
states between blocks follow from those sums by the same scheme, with blocks in the place of steps;
and the outputs of a block follow from the state before it and a sum over its own steps so far. So
T steps take a tree of about log T levels, each an elementwise pass over all blocks at once, instead
of a loop of T iterations. The levels shrink quickly: time and memory are those of the first one.

XLA would merge all levels into one pass, and compute the upper ones again for each step; so the
passes over all steps are compiled apart (`kspike_tf.scan.compiled.stage`), and get their weights
ready made.

References
----------
.. [1] G. E. Blelloch, "Prefix sums and their applications", CMU-CS-90-190, 1990, section 1.4:
   first-order recurrences as scans.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kspike_tf.scan.compiled import stage
from kspike_tf.scan.kernels import TICKS
from kspike_tf.scan.loops import fitted

Tensor = Any

FIRST = 4  # steps in a block
REST = 5  # blocks in a block of blocks
STAGE = 8  # steps in a partial sum
SHIFT = 1.5 * 2.0**52
SHIFT_BITS = np.float64(SHIFT).view(np.int64)


class Level(NamedTuple):
    """A level of the tree."""

    size: int  # steps, or blocks of the level below
    block: int  # how many of them are in a block
    stride: int  # time steps in each of them


def levels(size: int, most: int = FIRST) -> list[Level]:
    """Return the levels over a number of steps or blocks, until one block holds all."""
    tree: list[Level] = []
    stride = 1
    while size > 1 or not (tree or most == REST):
        block = size if size <= 2 * REST and most == REST else min(size, most)
        tree.append(Level(size, block, stride))
        size, stride, most = -(-size // block), stride * block, REST
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


def spikes(rates: Tensor, voltage: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
    """Scan as `kspike_tf.scan.spikes`.

    Modulo one spike, the voltage is a sum of the increments' lower 32 bits: integers that wrap
    around, exact in any order. What the wrapping loses are the spikes.
    """
    voltage = fitted(voltage, rates)
    start = tf.cast(tf.cast(voltage * TICKS, tf.int64), tf.int32)
    before, end = _wrapped_sums(_ticks_added(rates, dt), start)
    final = tf.cast(_unsigned(end), tf.float64) * (1 / TICKS)
    return _spikes(rates, before, dt, tf.cast(1 / dt, rates.dtype)), final


@stage
def _ticks_added(rates: Tensor, dt: Tensor) -> Tensor:
    """Return what each block adds to the voltage, as int32 that wraps around."""
    block = levels(rates.shape[1])[0].block
    return tf.reduce_sum(tf.cast(_increments(_blocks(rates, block), dt)[1], tf.int32), 2)


@stage
def _spikes(rates: Tensor, before: Tensor, dt: Tensor, height: Tensor) -> Tensor:
    """Return the spikes, from the rates and the voltage before each block."""
    block = levels(rates.shape[1])[0].block
    whole, ticks = _increments(_blocks(rates, block), dt)
    low = tf.cast(ticks, tf.int32)
    voltage = before[:, :, None]
    steps = np.arange(block)[:, None]
    for other in range(block - 1):
        voltage += tf.where(tf.constant(steps > other), low[:, :, other : other + 1], 0)
    carried = tf.bitwise.right_shift(_unsigned(voltage) + ticks, np.int64(32))
    count = whole + tf.cast(tf.cast(carried, tf.int32), rates.dtype)
    return _joined(count * height, rates.shape[1])


def _increments(rates: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a step adds to the voltage: whole spikes, and grid steps of up to half a spike.

    The whole spikes are of the type of the rates, the grid steps int64.
    """
    spikes = tf.cast(rates, tf.float64) * dt
    whole = tf.round(spikes)
    # From 2⁵² to 2⁵³ float64 holds just the integers, so the sum rounds to them, half to even, and
    # its last bits are the result.
    shifted = tf.bitcast((spikes - whole) * TICKS + SHIFT, tf.int64)
    return tf.cast(whole, rates.dtype), shifted - SHIFT_BITS


def _unsigned(ticks: Tensor) -> Tensor:
    """Return wrapped integers as those in [0, 2³²)."""
    return tf.bitwise.bitwise_and(tf.cast(ticks, tf.int64), np.int64(2**32 - 1))


@stage
def _wrapped_sums(sums: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Return the integer sums before each block, and after the last."""
    tree = levels(sums.shape[1], REST)
    end = start + tf.reduce_sum(sums, 1)
    return _sums_before(sums, start, tree), end


def _sums_before(sums: Tensor, start: Tensor, tree: list[Level]) -> Tensor:
    if not tree:
        return start[:, None]
    (size, block, _), *rest = tree
    view = _blocks(sums, block)
    upper = _sums_before(tf.reduce_sum(view, 2), start, rest)
    within = tf.reduce_sum(tf.where(_earlier(block), view[:, :, None], 0), 3)
    return _joined(upper[:, :, None] + within, size)


# Filters


class Weights(NamedTuple):
    """What a system s ← exp(−ratio)·s + enter·u multiplies by, for an output leave·s + direct·u.

    Each is ``(units,)``, float64. The output takes the state before the step.
    """

    ratio: Tensor
    enter: Tensor
    leave: Tensor
    direct: Tensor

    @property
    def adjoint(self) -> Weights:
        """The weights that take gradients back, step after step from the last."""
        return Weights(self.ratio, self.leave, self.enter, self.direct)


def respond(
    weights: Weights, u: Tensor, state: Tensor, reverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Run a system over a sequence.

    Parameters
    ----------
    weights : Weights
        The system.
    u : (batch, time, units) tf.Tensor
        Input, float32 or float64.
    state : (batch, units) tf.Tensor
        Before the first step, float64.
    reverse : bool
        Whether to run from the last step to the first.

    Returns
    -------
    output : (batch, time, units) tf.Tensor
        Of the type of ``u``.
    state : (batch, units) tf.Tensor
        After the step taken last, float64.
    """
    state = fitted(state, u)
    steps = u.shape[1]
    block = levels(steps)[0].block
    members = np.arange(block)
    decay = _decay(weights.ratio, members)
    total = weights.enter * decay[::-1]
    sums, last = (_sums_back if reverse else _sums)(u, total)
    upper = [_level_weights(weights.ratio, level, block) for level in levels(sums.shape[1], REST)]
    before = _carried(sums, state, upper)
    rest = (steps - 1) % block + 1
    final = _decay(weights.ratio, np.asarray([rest])) * before[:, -1] + last
    lag = weights.enter * weights.leave * decay
    later = [
        tf.concat([tf.zeros_like(lag[: n + 1]), lag[: block - 1 - n]], 0) for n in range(block - 1)
    ]
    parts = weights.leave * decay, weights.direct, later
    return (_outputs_back if reverse else _outputs)(u, before, *parts), final


def in_series(
    first: Weights, second: Weights, u: Tensor, states: list[Tensor], reverse: bool = False
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Run a system over a sequence, and another one over its outputs.

    Parameters
    ----------
    first, second : Weights
        The systems.
    u, states, reverse
        As in `respond`, with a state for each.

    Returns
    -------
    middle, output : (batch, time, units) tf.Tensor
        The outputs of both, of the type of ``u``.
    states : list of (batch, units) tf.Tensor
        After the step taken last.
    """
    middle, one = respond(first, u, states[0], reverse)
    out, two = respond(second, middle, states[1], reverse)
    return middle, out, [one, two]


def _added(u: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """Return what each block adds to the state, and the last one up to the last step."""
    steps, block = u.shape[1], total.shape[0]
    view = tf.cast(_blocks(u, block), tf.float64)
    rest = (steps - 1) % block + 1
    last = tf.reduce_sum(total[block - rest :] * view[:, -1, :rest], 1)
    return tf.reduce_sum(total * view, 2), last


def _answered(
    u: Tensor, before: Tensor, carry: Tensor, direct: Tensor, later: list[Tensor]
) -> Tensor:
    """Return the outputs, from the inputs and the states before each block."""
    block = carry.shape[0]
    view = tf.cast(_blocks(u, block), tf.float64)
    members = np.arange(block)[:, None]
    out = direct * view + carry * before[:, :, None]
    for other, weight in enumerate(later):
        term = weight * view[:, :, other : other + 1]
        out += tf.where(tf.constant(members > other), term, np.float64(0))
    return _joined(tf.cast(out, u.dtype), u.shape[1])


@stage
def _sums(u: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    return _added(u, total)


@stage
def _sums_back(u: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    return _added(tf.reverse(u, [1]), total)


@stage
def _outputs(u: Tensor, *args: Any) -> Tensor:
    return _answered(u, *args)


@stage
def _outputs_back(u: Tensor, *args: Any) -> Tensor:
    return tf.reverse(_answered(tf.reverse(u, [1]), *args), [1])


def _level_weights(ratio: Tensor, level: Level, stride: int) -> list[Tensor]:
    """Return a level's weights: in what a block adds, of the state before, of each member."""
    members = np.arange(level.block)
    decay = _decay(ratio, stride * level.stride * members)
    lag = np.maximum(members[:, None] - 1 - members, 0)
    return [decay[::-1], decay, _decay(ratio, stride * level.stride * lag)]


@stage
def _carried(sums: Tensor, start: Tensor, weights: list[list[Tensor]]) -> Tensor:
    """Return the states before each block, from what each adds."""
    return _states_before(sums, start, weights)


def _states_before(sums: Tensor, start: Tensor, weights: list[list[Tensor]]) -> Tensor:
    if not weights:
        return start[:, None]
    (total, carry, lagged), *rest = weights
    size, block = sums.shape[1], total.shape[0]
    view = _blocks(sums, block)
    upper = _states_before(tf.reduce_sum(total * view, 2), start, rest)
    within = tf.where(_earlier(block), lagged * view[:, :, None], np.float64(0))
    return _joined(carry * upper[:, :, None] + tf.reduce_sum(within, 3), size)


def _decay(ratio: Tensor, steps: np.ndarray) -> Tensor:
    """Return exp(−ratio·steps), ``(*steps.shape, units)``."""
    return tf.exp(-ratio * steps[..., None].astype(np.float64))


def partial_sums(terms: Tensor) -> Tensor:
    """Sum (batch, time, units) over a few steps at a time, which XLA does in vectors."""
    return tf.reduce_sum(_blocks(terms, STAGE), 2)
