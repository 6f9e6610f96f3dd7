"""Checks of arguments that several modules make."""

from numbers import Integral

from kspike_energy.config import check_dt, default

__all__ = ["check_choice", "check_count", "dt_or_default"]


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise if a value is not one of its choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {choices}. Received: {name}={value!r}")


def check_count(name: str, value: object) -> int:
    """Return a whole number of at least one; raise for anything else."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number. Received: {name}={value!r}")
    if int(value) < 1:
        raise ValueError(f"{name} must be at least 1. Received: {name}={value!r}")
    return int(value)


def dt_or_default(dt: float | None) -> float:
    """Return a checked time step in seconds, the default one if there is none."""
    return default.dt if dt is None else check_dt(dt)
