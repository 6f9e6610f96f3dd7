"""Constraints on the weights of layers."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

__all__ = ["Mean"]


@keras.saving.register_keras_serializable("kspike_tf")
class Mean(keras.constraints.Constraint):
    """Replaces weights by their mean, so that they are equal along an axis.

    As ``tau_constraint`` of a `Lowpass` or `Alpha` layer, ``Mean()`` trains one time constant for
    all units, even with several unit axes. The weights of these layers are ``(1, *units)``, so
    ``Mean(axis=2)`` shares along the second unit axis only.

    Parameters
    ----------
    axis : int, optional
        Axis of the mean.

    Raises
    ------
    TypeError
        If ``axis`` is not an integer.

    Examples
    --------
    >>> import numpy as np
    >>> np.asarray(Mean()(np.array([[1.0, 3.0], [4.0, 8.0]], np.float32)))
    array([[2., 2.],
           [6., 6.]], dtype=float32)
    """

    def __init__(self, axis: int = -1) -> None:
        if isinstance(axis, bool) or not isinstance(axis, int):
            raise TypeError(f"axis must be an integer. Received: axis={axis!r}")
        self.axis = axis

    def __call__(self, w: Any) -> Any:
        """Return weights that are equal along the axis, with the same mean.

        Parameters
        ----------
        w : array_like
            The weights.

        Returns
        -------
        tensor
            The mean, repeated to the shape of ``w``.

        Raises
        ------
        ValueError
            If the weights have no such axis.
        """
        w = ops.convert_to_tensor(w)
        if not -w.ndim <= self.axis < w.ndim:
            raise ValueError(
                f"axis must be one of the {w.ndim} axes of the weights. "
                f"Received: axis={self.axis} for weights of shape {tuple(w.shape)}"
            )
        return ops.broadcast_to(ops.mean(w, axis=self.axis, keepdims=True), ops.shape(w))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"axis": self.axis}


class _OverUnits(keras.constraints.Constraint):
    """Applies a constraint to weights after merging their axes."""

    def __init__(self, constraint: Any) -> None:
        self.constraint = constraint

    def __call__(self, w: Any) -> Any:
        return ops.reshape(self.constraint(ops.reshape(w, [-1])), ops.shape(w))


def over_units(constraint: Any) -> Any:
    """Return the constraint for a filter's weights; `Mean()` becomes one over all unit axes."""
    is_of_all = isinstance(constraint, Mean) and constraint.axis == -1
    return _OverUnits(constraint) if is_of_all else constraint
