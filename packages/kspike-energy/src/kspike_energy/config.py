"""Default parameter values, shared by every layer and estimate of kspike."""

import math
from numbers import Real

__all__ = ["DefaultManager", "check_dt", "default"]


def check_dt(dt: object, name: str = "dt") -> float:
    """Check that ``dt`` is a positive length of time, and return it as a float.

    Parameters
    ----------
    dt : object
        Length of one time step, in seconds.
    name : str, optional
        Name of the value in error messages.

    Returns
    -------
    float
        The length of one time step, in seconds.

    Raises
    ------
    TypeError
        If ``dt`` is not a real number.
    ValueError
        If ``dt`` is not positive and finite.

    Examples
    --------
    >>> check_dt(0.001)
    0.001
    """
    if isinstance(dt, bool) or not isinstance(dt, Real):
        raise TypeError(f"{name} must be a real number. Received: {name}={dt!r}")
    try:
        value = float(dt)
    except OverflowError:  # an integer beyond the range of floating-point numbers
        value = math.inf
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be positive and finite. Received: {name}={dt!r}")
    return value


class DefaultManager:
    """Default parameter values of kspike's layers and estimates.

    Use the shared object `kspike_energy.default`, which is also ``kspike_tf.default``, instead
    of creating another.

    Parameters
    ----------
    dt : float, optional
        Length of time, in seconds, represented by one time step.

    Raises
    ------
    TypeError
        If ``dt`` is not a real number.
    ValueError
        If ``dt`` is not positive and finite.

    Examples
    --------
    >>> from kspike_energy import default
    >>> default.dt
    0.001
    """

    def __init__(self, dt: float = 0.001) -> None:
        self.dt = dt

    @property
    def dt(self) -> float:
        """Length of time, in seconds, represented by one time step."""
        return self._dt

    @dt.setter
    def dt(self, dt: float) -> None:
        self._dt = check_dt(dt)

    def __repr__(self) -> str:
        return f"DefaultManager(dt={self.dt})"


default = DefaultManager()
