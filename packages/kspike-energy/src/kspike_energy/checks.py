"""Checks of arguments and results, suggestions for misspelt names, and places for warnings."""

import difflib
import inspect
import math
import sys
from collections.abc import Callable, Iterable
from functools import wraps
from numbers import Integral, Real
from types import FrameType
from typing import ParamSpec, TypeVar

__all__ = [
    "LARGEST",
    "all_told_options",
    "check_choice",
    "check_count",
    "check_energy",
    "check_names",
    "check_whole",
    "did_you_mean",
    "finite",
    "is_of_user",
    "level_of_user",
    "real",
    "told_options",
]

P = ParamSpec("P")
R = TypeVar("R")

# Larger counts are mistakes, and very large ones would overflow floating-point numbers.
LARGEST = 2**63 - 1

# Shorter strings occur in too many names to suggest one of them.
_SHORTEST_PART = 3


def did_you_mean(name: object, choices: Iterable[object]) -> str:
    """Return "; did you mean 'x'?" for the closest choice, or an empty string.

    Parameters
    ----------
    name : object
        The misspelt name. Anything but a string has no closest choice.
    choices : iterable of object
        The known names. Anything but a string is ignored.

    Examples
    --------
    >>> did_you_mean("lohi", ["cpu", "loihi"])
    "; did you mean 'loihi'?"
    >>> did_you_mean("xeon", ["cpu", "xeon-e5-2630"])
    "; did you mean 'xeon-e5-2630'?"
    >>> did_you_mean("tpx-9000", ["cpu", "loihi"])
    ''
    """
    if not isinstance(name, str):
        return ""
    by_case = {choice.lower(): choice for choice in choices if isinstance(choice, str)}
    text = name.strip().lower()
    known = list(by_case)
    parts = [choice for choice in known if text in choice] if len(text) >= _SHORTEST_PART else []
    starts = sorted((choice for choice in parts if choice.startswith(text)), key=len)
    close = (starts or difflib.get_close_matches(text, known, n=1) or parts)[:1]
    return f"; did you mean {by_case[close[0]]!r}?" if close else ""


def told_options(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function suggest the right name for a misspelt option, as Python 3.13 does.

    Parameters
    ----------
    function : callable
        A function, a method or an ``__init__``.

    Returns
    -------
    callable
        The same function. Its TypeError for an unknown option lists the options.

    Examples
    --------
    >>> @told_options
    ... def total(device, timesteps=1): ...
    >>> total("cpu", timestep=3)
    Traceback (most recent call last):
        ...
    TypeError: total takes device, timesteps. Received: timestep; did you mean 'timesteps'?
    """
    parameters = inspect.signature(function).parameters.values()
    known = [each.name for each in parameters if each.name not in ("self", "cls", "kwargs")]
    takes_others = any(each.kind is each.VAR_KEYWORD for each in parameters)
    shown = function.__qualname__.removesuffix(".__init__").split(".")[-1]

    @wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> R:
        try:
            return function(*args, **options)
        except TypeError as error:  # checked afterwards, so that correct calls cost nothing
            unknown = [name for name in options if name not in known]
            if not unknown or (takes_others and f"'{unknown[0]}'" not in str(error)):
                raise
            raise TypeError(
                f"{shown} takes {', '.join(known)}. Received: {unknown[0]}"
                f"{did_you_mean(unknown[0], known)}"
            ) from None

    return call


def all_told_options(cls: type[R]) -> type[R]:
    """Apply `told_options` to the constructor and all public methods of a class."""
    for name, member in list(vars(cls).items()):
        if inspect.isfunction(member) and (name == "__init__" or not name.startswith("_")):
            setattr(cls, name, told_options(member))
    return cls


_PASSED_BY = ("kspike_energy", "kspike_tf", "keras", "tensorflow")


def level_of_user() -> int:
    """Return the ``stacklevel`` with which the calling function warns at the user's line.

    That line is the first one outside kspike_energy, kspike_tf, Keras and TensorFlow.
    """
    frame, level = sys._getframe(1), 1
    while frame is not None and not is_of_user(frame):
        frame, level = frame.f_back, level + 1  # type: ignore[assignment]
    return level


def is_of_user(frame: FrameType) -> bool:
    """Return whether a frame runs code outside kspike_energy, kspike_tf, Keras and TensorFlow."""
    return str(frame.f_globals.get("__name__")).split(".")[0] not in _PASSED_BY


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise `ValueError` if a value is not one of its choices."""
    if value not in choices:
        raise ValueError(
            f"{name} must be one of {choices}. Received: {name}={value!r}"
            f"{did_you_mean(value, choices)}"
        )


def check_whole(name: str, value: object, least: int = 0, shown: str = "") -> int:
    """Check that a value is a whole number from ``least`` to 2⁶³ - 1, and return it.

    Parameters
    ----------
    name : str
        Name of the number in messages.
    value : object
        The number.
    least : int, optional
        Smallest number allowed.
    shown : str, optional
        Text before the value in messages.

    Raises
    ------
    TypeError
        If it is not a whole number.
    ValueError
        If it is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number. Received: {shown}{value!r}")
    number = int(value)
    if number < least:
        limit = "not be negative" if least == 0 else f"be at least {least}"
        raise ValueError(f"{name} must {limit}. Received: {shown}{value!r}")
    if number > LARGEST:
        raise ValueError(f"{name} must be below 2**63. Received: about 2**{number.bit_length()}")
    return number


def check_count(name: str, value: object) -> int:
    """Check that an argument is a whole number of at least one, and return it."""
    return check_whole(name, value, 1, f"{name}=")


def check_energy(name: str, value: object) -> None:
    """Raise unless a value is a finite number of joules that is not negative.

    Raises
    ------
    TypeError
        If it is not a number.
    ValueError
        If it is negative, infinite or NaN.
    """
    joules = real(value)
    if joules is None:
        raise TypeError(f"{name} must be a number of joules. Received: {name}={value!r}")
    if not (math.isfinite(joules) and joules >= 0):
        raise ValueError(f"{name} must not be negative or infinite. Received: {name}={value!r}")


def check_names(name: str, value: object) -> None:
    """Raise `TypeError` for anything but None or a list of strings, such as a single string."""
    if isinstance(value, str) or not (value is None or isinstance(value, Iterable)):
        raise TypeError(f"{name} must be a list of names. Received: {name}={value!r}")


def real(value: object) -> float | None:
    """Return a real number as a float, infinite if it is too large; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer beyond the range of floating-point numbers
        return math.inf


def finite(what: str, compute: Callable[[], float]) -> float:
    """Return a result, or raise if it is too large for a floating-point number.

    Parameters
    ----------
    what : str
        Name of the result, for the message.
    compute : callable
        Returns the result.

    Raises
    ------
    ValueError
        If the result, or an intermediate sum, is not finite.
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
