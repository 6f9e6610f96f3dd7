"""The filters as linear systems, one for each unit.

A step takes the state s (n numbers a unit, n is 1 or 2) and the input u to

    output = H·s + D·u;    s ← F·s + G·u

with the steps counted in r = dt/τ. Powers of F are F for the step k·r, since the discretisation is
exact: F^k has a closed form, and no product of matrices is needed.

The adjoint of a system, that is the gradient of its input from the gradient of its output, is the
transposed system (Fᵀ, Hᵀ, Gᵀ, D) run backwards in time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

Tensor = Any
Power = Callable[[np.ndarray], Tensor]


@dataclass(frozen=True)
class System:
    """A linear system in discrete time for each unit.

    Attributes
    ----------
    power : callable
        From step counts of any shape ``(...)`` to F^k, ``(..., n, n, units)``.
    enter : (n, units) tf.Tensor
        G, from input to state.
    leave : (n, units) tf.Tensor
        H, from state to output.
    direct : (units,) tf.Tensor
        D, from input to output.
    """

    power: Power
    enter: Tensor
    leave: Tensor
    direct: Tensor

    @property
    def step(self) -> Tensor:
        """F, (n, n, units)."""
        return self.power(np.ones(()))

    @property
    def adjoint(self) -> System:
        """The system that takes gradients back, step after step from the last."""

        def power(counts: np.ndarray) -> Tensor:
            matrix = self.power(counts)
            rank = matrix.shape.rank
            return tf.transpose(matrix, [*range(rank - 3), rank - 2, rank - 3, rank - 1])

        return System(power, self.leave, self.enter, self.direct)


def lowpass_system(ratio: Tensor) -> System:
    """Return the lowpass filter; its state is its output.

    Parameters
    ----------
    ratio : (units,) tf.Tensor
        dt/τ, float64.

    References
    ----------
    .. [1] The zero-order hold of 1/(τ·s + 1): y ← d·y + (1 − d)·x with d = exp(−dt/τ).
    """

    def power(counts: np.ndarray) -> Tensor:
        steps = np.asarray(counts, np.float64)
        return tf.reshape(tf.exp(-ratio * steps[..., None]), [*steps.shape, 1, 1, -1])

    decay = tf.exp(-ratio)
    gain = -tf.math.expm1(-ratio)
    return System(power, tf.stack([gain]), tf.stack([decay]), gain)


def lowpass_slope(ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Return dF/dr and dG/dr of `lowpass_system`."""
    decay = tf.exp(-ratio)
    return _matrix([[-decay]]), tf.stack([decay])


def alpha_system(ratio: Tensor) -> System:
    """Return the alpha filter; its state is the output y and p = τ·dy/dt.

    Parameters
    ----------
    ratio : (units,) tf.Tensor
        dt/τ, float64.

    References
    ----------
    .. [1] The zero-order hold of 1/(τ·s + 1)², with r = dt/τ and e = exp(−r):
       y ← e·((1 + r)·y + r·p) + (1 − e·(1 + r))·x and p ← e·((1 − r)·p − r·y + r·x).
    """

    def power(counts: np.ndarray) -> Tensor:
        r = ratio * np.asarray(counts, np.float64)[..., None]
        e = tf.exp(-r)
        return _matrix([[e * (1 + r), e * r], [-e * r, e * (1 - r)]])

    e = tf.exp(-ratio)
    # Not 1 - e·(1 + r), which loses the digits of small steps.
    gain = -tf.math.expm1(-ratio) - e * ratio
    leave = tf.stack([e * (1 + ratio), e * ratio])
    return System(power, tf.stack([gain, e * ratio]), leave, gain)


def alpha_slope(ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Return dF/dr and dG/dr of `alpha_system`."""
    r, e = ratio, tf.exp(-ratio)
    return _matrix([[-e * r, e * (1 - r)], [e * (r - 1), e * (r - 2)]]), tf.stack(
        [e * r, e * (1 - r)]
    )


def _matrix(rows: list[list[Tensor]]) -> Tensor:
    return tf.stack([tf.stack(row, -2) for row in rows], -3)
