"""Checks of regularizer arguments, and of times that are probably in milliseconds."""

from __future__ import annotations

import math
import warnings
from numbers import Real
from typing import Any

import numpy as np

from kspike_energy.checks import level_of_user
from kspike_tf.config import VariableDt

Target = float | tuple[float, float]
_LONG_TAU, _LONG_STEP = 5.0, 1.0  # seconds; from here on, milliseconds are probably meant


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


def warn_of_long_step(dt: Any) -> None:
    """Warn of a ``dt`` argument of a spiking layer that is probably in milliseconds.

    Variables are not checked, because a schedule may begin with long steps.
    """
    if isinstance(dt, VariableDt) or not isinstance(dt, Real) or float(dt) < _LONG_STEP:
        return
    warnings.warn(
        f"dt is in seconds and rates are in Hz: with dt={dt:g}, a neuron at 100 Hz spikes "
        f"{100 * float(dt):g} times a step. For {dt:g} ms pass dt={float(dt) / 1000:g}",
        stacklevel=level_of_user(),
    )


def warn_of_mixed_units(dt: float, tau: Any) -> None:
    """Warn of ``dt`` and ``tau_initializer`` of a filter that are probably in different units.

    Variables and initializers are not checked. If both are in milliseconds, the filter is right.
    """
    if isinstance(dt, VariableDt) or not isinstance(tau, (int, float, list, tuple, np.ndarray)):
        return
    low, high = np.min(tau), np.max(tau)
    if dt < _LONG_STEP and high >= _LONG_TAU:
        told = f"tau_initializer={high:g} with dt={dt:g}; for {high:g} ms pass {high / 1000:g}"
    elif dt >= _LONG_STEP and low < _LONG_STEP:
        told = f"dt={dt:g} with tau_initializer={low:g}; for {dt:g} ms pass dt={dt / 1000:g}"
    else:
        return
    warnings.warn(f"tau and dt are both in seconds. Received: {told}", stacklevel=level_of_user())
