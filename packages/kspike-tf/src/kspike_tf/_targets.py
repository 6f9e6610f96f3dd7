"""What the arguments of regularizers may be: targets, weights, axes."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

Target = float | tuple[float, float]


def check_number(value: Any, name: str) -> None:
    """Raise unless an argument is a real number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a real number. Received: {name}={value!r}")
    if math.isnan(value):
        raise ValueError(f"{name} must not be NaN. Received: {name}={value!r}")


def check_target(target: Any) -> Target:
    """Return the target as a number or a pair ``(min, max)``."""
    if not isinstance(target, (list, tuple)):
        check_number(target, "target")
        return float(target)
    if len(target) != 2:
        raise ValueError(f"target must be a number or (min, max). Received: target={target!r}")
    for bound in target:
        check_number(bound, "target")
    low, high = (float(bound) for bound in target)
    if low > high:
        raise ValueError(f"target (min, max) must have min <= max. Received: target={target!r}")
    return low, high


def check_weight(value: Any, name: str) -> float:
    """Return the weight of a penalty as a float."""
    check_number(value, name)
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be finite and not negative. Received: {name}={value!r}")
    return float(value)


def check_axis(axis: Any) -> int | tuple[int, ...]:
    """Return the axis as an int or a tuple."""
    axes = tuple(axis) if isinstance(axis, (list, tuple)) else (axis,)
    if not axes:
        raise ValueError(f"axis must name at least one axis. Received: axis={axis!r}")
    if any(isinstance(each, bool) or not isinstance(each, int) for each in axes):
        raise TypeError(f"axis must be an integer or a tuple of integers. Received: axis={axis!r}")
    return axes if isinstance(axis, (list, tuple)) else axes[0]
