"""Checks of arguments and results that several modules make."""

import math
from collections.abc import Callable
from numbers import Integral

from kspike_energy.config import check_dt, default
from kspike_energy.suggest import did_you_mean

__all__ = ["LARGEST", "check_choice", "check_count", "check_whole", "dt_or_default", "finite"]

# Counts beyond this are mistakes, and would leave the range of floating-point numbers.
LARGEST = 2**63 - 1


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise if a value is not one of its choices."""
    if value not in choices:
        raise ValueError(
            f"{name} must be one of {choices}. Received: {name}={value!r}"
            f"{did_you_mean(value, choices)}"
        )


def check_whole(name: str, value: object, least: int = 0) -> int:
    """Return a whole number from ``least`` to 2⁶³ - 1; raise for anything else.

    Parameters
    ----------
    name : str
        What the number is, for messages.
    value : object
        The number.
    least : int, optional
        Smallest one allowed.

    Raises
    ------
    TypeError
        If it is no whole number.
    ValueError
        If it is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number. Received: {value!r}")
    number = int(value)
    if number < least:
        limit = "not be negative" if least == 0 else f"be at least {least}"
        raise ValueError(f"{name} must {limit}. Received: {value!r}")
    if number > LARGEST:
        raise ValueError(f"{name} must be below 2**63. Received: about 2**{number.bit_length()}")
    return number


def finite(what: str, compute: Callable[[], float]) -> float:
    """Return a result, or raise if it is too large for a floating-point number.

    Parameters
    ----------
    what : str
        What is computed, for the message.
    compute : callable
        Returns it.

    Raises
    ------
    ValueError
        If the result, or a sum on the way to it, is not finite.
    """
    try:
        value = float(compute())
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise ValueError(
            f"{what} is too large for a floating-point number: check the firing rates (Hz), the "
            "device's energies (J), dt (s) and timesteps_per_inference"
        )
    return value


def check_count(name: str, value: object) -> int:
    """Return a whole number of at least one; raise for anything else."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number. Received: {name}={value!r}")
    if int(value) < 1:
        raise ValueError(f"{name} must be at least 1. Received: {name}={value!r}")
    if int(value) > LARGEST:
        raise ValueError(
            f"{name} must be below 2**63. Received: about 2**{int(value).bit_length()}"
        )
    return int(value)


def dt_or_default(dt: float | None) -> float:
    """Return a checked time step in seconds, the default one if there is none."""
    return default.dt if dt is None else check_dt(dt)
