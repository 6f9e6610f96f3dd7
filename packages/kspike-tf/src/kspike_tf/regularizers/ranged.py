"""Penalties on the distance of values, or of their percentiles, from a target range.

They compute in at least float32, because the square of a spike's height (1,000 at a time step of
1 ms) exceeds the largest float16.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any, ClassVar

import keras
from keras import ops

from kspike_energy.checks import level_of_user, told_options
from kspike_tf.checks import (
    Target,
    check_axis,
    check_number,
    check_target,
    check_weight,
)
from kspike_tf.describing import arguments, as_html

__all__ = ["L1", "L1L2", "L2", "Percentile", "RangedRegularizer"]


@keras.saving.register_keras_serializable("kspike_tf")
class RangedRegularizer(keras.regularizers.Regularizer):
    """Penalises values outside a range.

    Parameters
    ----------
    target : float or tuple of float, optional
        Target value, or a range ``(min, max)``: values within it are not penalised, others are
        driven towards the nearest end of the range.
    regularizer : keras.regularizers.Regularizer, str or dict, optional
        Penalty on the signed distance of the values from the target (default: its square, weighted
        with 0.01).

    Raises
    ------
    TypeError
        If ``target`` does not consist of numbers, or ``regularizer`` is None.
    ValueError
        If ``target`` is neither one number nor two in ascending order.

    Examples
    --------
    >>> import keras, numpy as np
    >>> regularizer = RangedRegularizer(
    ...     target=(5, 10), regularizer=keras.regularizers.L1(0.5)
    ... )
    >>> float(regularizer(np.array([1.0, 7.0, 12.0], np.float32)))
    3.0
    """

    _without_weights = "warn"  # or "raise", or "allow" if the user has passed a zero

    @told_options
    def __init__(
        self,
        target: Target = 0,
        regularizer: Any = keras.regularizers.L1L2(l2=0.01),  # noqa: B008 (stateless: one serves all)
    ) -> None:
        self.target = check_target(target)
        self.regularizer = keras.regularizers.get(regularizer)
        if self.regularizer is None:
            raise TypeError(f"regularizer must be a Keras regularizer. Received: {regularizer!r}")
        self._check_weights()

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value}" for name, value in arguments(self).items())
        return f"{type(self).__name__}({shown})"

    def _repr_html_(self) -> str:
        """Return a table of the arguments, for notebooks."""
        purpose = str(type(self).__doc__).partition(".")[0]
        rows = [("argument", "value"), *arguments(self).items()]
        return as_html(rows, f"{type(self).__name__}: {purpose[0].lower()}{purpose[1:]}")

    def _check_weights(self) -> None:
        kinds = keras.regularizers.L1L2, keras.regularizers.L1, keras.regularizers.L2
        weights = (getattr(self.regularizer, name, 0.0) for name in ("l1", "l2"))
        if not isinstance(self.regularizer, kinds) or any(map(float, weights)):
            return
        name = type(self).__name__
        if self._without_weights == "raise":
            raise ValueError(
                f"l1 or l2 must be positive, or {name} has no effect. Received: l1=0, l2=0"
            )
        if self._without_weights == "warn":
            warnings.warn(
                f"{name} without weights has no effect: pass l1 or l2", stacklevel=level_of_user()
            )

    def __call__(self, x: Any) -> Any:
        """Return the penalty.

        Parameters
        ----------
        x : array_like
            The values, of any shape.

        Returns
        -------
        tensor
            The penalty: a scalar, float32, or float64 for float64 values.
        """
        x = ops.convert_to_tensor(x)
        if keras.backend.standardize_dtype(x.dtype) != "float64":
            x = ops.cast(x, "float32")
        return self._penalty(x)

    def _penalty(self, x: Any) -> Any:
        """Return the penalty of float32 or float64 values."""
        low, high = self.target if isinstance(self.target, tuple) else (self.target, self.target)
        return self.regularizer(x - ops.clip(x, low, high))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            "target": self.target,
            "regularizer": keras.regularizers.serialize(self.regularizer),
        }


@keras.saving.register_keras_serializable("kspike_tf")
class L1L2(RangedRegularizer):
    """Absolute and squared penalty on the distance from a target.

    Parameters
    ----------
    l1 : float, optional
        Weight of the sum of the distances.
    l2 : float, optional
        Weight of the sum of the squared distances.
    target : float or tuple of float, optional
        Target value, or a range ``(min, max)`` within which values are not penalised.
    **kwargs
        For `keras.regularizers.L1L2`.

    Raises
    ------
    TypeError
        If a weight or ``target`` is not a number.
    ValueError
        If a weight is negative or not finite, or ``target`` is not a range.

    Examples
    --------
    >>> import numpy as np
    >>> float(L1L2(l1=1.0, l2=0.5, target=2)(np.array([1.0, 2.0, 4.0])))
    5.5
    """

    #: Names of the constructor's arguments, which are also attributes.
    _arguments: ClassVar[tuple[str, ...]] = ("l1", "l2", "target")

    @told_options
    def __init__(self, l1: float = 0.0, l2: float = 0.0, target: Target = 0, **kwargs: Any) -> None:
        self.l1 = check_weight(l1, "l1")
        self.l2 = check_weight(l2, "l2")
        super().__init__(target, keras.regularizers.L1L2(l1=self.l1, l2=self.l2, **kwargs))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {name: getattr(self, name) for name in self._arguments}


@keras.saving.register_keras_serializable("kspike_tf")
class L1(L1L2):
    """Absolute penalty on the distance from a target.

    Parameters
    ----------
    l1 : float, optional
        Weight of the sum of the distances.
    target : float or tuple of float, optional
        Target value, or a range ``(min, max)`` within which values are not penalised.
    **kwargs
        For `L1L2`.

    Raises
    ------
    TypeError
        If ``l1`` or ``target`` is not a number.
    ValueError
        If ``l1`` is negative or not finite, or ``target`` is not a range.

    Examples
    --------
    >>> import numpy as np
    >>> float(L1(l1=0.5, target=(0, 2))(np.array([-1.0, 1.0, 4.0])))
    1.5
    """

    _arguments = ("l1", "target")
    _without_weights = "allow"

    @told_options
    def __init__(self, l1: float = 0.01, target: Target = 0, **kwargs: Any) -> None:
        super().__init__(l1=l1, l2=0.0, target=target, **kwargs)


@keras.saving.register_keras_serializable("kspike_tf")
class L2(L1L2):
    """Squared penalty on the distance from a target.

    Parameters
    ----------
    l2 : float, optional
        Weight of the sum of the squared distances.
    target : float or tuple of float, optional
        Target value, or a range ``(min, max)`` within which values are not penalised.
    **kwargs
        For `L1L2`.

    Raises
    ------
    TypeError
        If ``l2`` or ``target`` is not a number.
    ValueError
        If ``l2`` is negative or not finite, or ``target`` is not a range.

    Examples
    --------
    >>> import numpy as np
    >>> float(L2(l2=0.5, target=(0, 2))(np.array([-1.0, 1.0, 4.0])))
    2.5
    """

    _arguments = ("l2", "target")
    _without_weights = "allow"

    @told_options
    def __init__(self, l2: float = 0.01, target: Target = 0, **kwargs: Any) -> None:
        super().__init__(l1=0.0, l2=l2, target=target, **kwargs)


@keras.saving.register_keras_serializable("kspike_tf")
class Percentile(L1L2):
    """Penalises a percentile of values, which is robust against outliers.

    The percentile is interpolated linearly between the two nearest values.

    Parameters
    ----------
    percentile : float, optional
        Percentile, from 0 to 100, to compute over ``axis``; 100 is the maximum.
    axis : int or tuple of int, optional
        Axis or axes to take the percentile over. Axis 0 is the batch (or the time, in a
        time-major layer).
    target : float or tuple of float, optional
        Target value of the percentiles, or a range ``(min, max)`` within which they are not
        penalised.
    l1 : float, optional
        Weight of the sum of the distances of the percentiles from the target.
    l2 : float, optional
        Weight of the sum of the squared distances.

    Raises
    ------
    TypeError
        If an argument is not a number, or ``axis`` does not consist of integers.
    ValueError
        If ``percentile`` is outside 0 to 100, both weights are zero, a weight is negative or not
        finite, ``axis`` is empty, or ``target`` is not a range.

    Examples
    --------
    >>> import numpy as np
    >>> rates = np.array([[1.0, 6.0], [3.0, 7.0], [4.0, 20.0]])
    >>> float(Percentile(percentile=50, target=(5, 10), l1=1.0)(rates))
    2.0
    """

    _arguments = ("percentile", "axis", "target", "l1", "l2")
    _without_weights = "raise"

    @told_options
    def __init__(
        self,
        percentile: float = 100,
        axis: int | Iterable[int] = 0,
        target: Target = 0,
        l1: float = 0,
        l2: float = 0,
    ) -> None:
        check_number(percentile, "percentile")
        if not 0 <= percentile <= 100:
            raise ValueError(
                f"percentile must be from 0 to 100. Received: percentile={percentile!r}"
            )
        self.percentile = float(percentile)
        self.axis = check_axis(axis)
        super().__init__(l1=l1, l2=l2, target=target)

    def _penalty(self, x: Any) -> Any:
        axes = (self.axis,) if isinstance(self.axis, int) else self.axis
        rank = len(x.shape)
        if not all(-rank <= axis < rank for axis in axes):
            raise ValueError(
                f"axis must be among the {rank} axes of the regularized values. "
                f"Received: axis={self.axis} for values of shape {tuple(x.shape)}"
            )
        if len({axis % rank for axis in axes}) < len(axes):
            raise ValueError(f"axis must not repeat an axis. Received: axis={self.axis}")
        if self.percentile == 100:  # no need to sort
            return super()._penalty(ops.max(x, axis=axes))
        # float64: Keras would compute the position among the values with 0.9 rounded to float32.
        q = ops.convert_to_tensor(self.percentile / 100, "float64")
        return super()._penalty(ops.quantile(x, q, axis=axes))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> RangedRegularizer:
        """Make a regularizer from its config.

        A regularizer without weights, from a file of an earlier version, still has no effect.
        """
        if not (config.get("l1") or config.get("l2")):
            return L1L2(target=config.get("target", 0))
        return cls(**config)
