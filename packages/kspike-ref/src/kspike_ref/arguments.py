"""Checks of public arguments: names and numbers, with suggestions for misspelt names."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")

_MANY = 40  # the most names that a message lists


def told_options(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function suggest the right name for a misspelt option, as Python 3.13 does.

    Parameters
    ----------
    function : callable
        A function with keyword arguments.

    Returns
    -------
    callable
        The same function. Its TypeError for an unknown option lists the valid options.
    """
    known = [name for name in inspect.signature(function).parameters if name != "self"]

    @wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> R:
        try:
            return function(*args, **options)
        except TypeError:  # checked afterwards, so that correct calls cost nothing
            for name in options:
                if name not in known:
                    raise TypeError(
                        f"{function.__name__} takes {', '.join(known)}. Received: {name}"
                        f"{suggestion(name, known)}"
                    ) from None
            raise

    return call


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return a suggestion for a misspelt name, as the end of a sentence, or an empty text."""
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def check_names(argument: str, given: Any, known: Sequence[str]) -> set[str]:
    """Return names as a set; refuse unknown ones.

    Parameters
    ----------
    argument : str
        The name of the argument, for messages.
    given : str or iterable of str
        The value of the argument.
    known : sequence of str
        The names that exist.

    Returns
    -------
    set of str
        The names.

    Raises
    ------
    TypeError
        If a name is not a string.
    ValueError
        If a name is unknown; the message lists the names that exist.
    """
    names = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"{argument} must be names, or None for all. Received: {given!r:.200}")
    unknown = [name for name in names if name not in set(known)]
    if unknown:
        listed = ", ".join(known[:_MANY]) + (", …" if len(known) > _MANY else "")
        raise ValueError(
            f"{argument} must be among {listed}. Received: {', '.join(unknown)}"
            f"{suggestion(unknown[0], known)}"
        )
    return set(names)


def check_count(argument: str, value: Any, least: int = 0) -> int:
    """Return a count as an int.

    Parameters
    ----------
    argument : str
        The name of the argument, for messages.
    value : int
        The value of the argument; NumPy integers are allowed.
    least : int
        The smallest allowed value.

    Returns
    -------
    int
        The number.

    Raises
    ------
    ValueError
        If it is not a whole number, or less than ``least``.
    """
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_whole or not least <= value < 2**40:
        kind = "a positive integer" if least == 1 else "an integer, 0 or more"
        raise ValueError(f"{argument} must be {kind}. Received: {value!r}")
    return int(value)


def time_step(dt: float) -> float:
    """Check the length of a time step.

    Parameters
    ----------
    dt : float
        Seconds.

    Returns
    -------
    float
        ``dt`` as a Python float.

    Raises
    ------
    TypeError
        If ``dt`` is not a real number.
    ValueError
        If ``dt`` is not positive and finite, or outside the range of float32.
    """
    values = np.asarray(dt)
    if values.shape != () or values.dtype.kind not in "iuf":
        raise TypeError(f"dt must be a real number of seconds. Received: dt={dt!r}")
    seconds = float(values)
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"dt must be positive and finite. Received: dt={dt!r}")
    tiny, huge = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
    if not tiny <= seconds <= huge:
        raise ValueError(
            f"dt must be a normal number in float32, {tiny:.3g} to {huge:.3g}. Received: dt={dt!r}"
        )
    return seconds


def seed_words(seed: int) -> tuple[int, int]:
    """Check a seed and split it into the two words of a Philox key.

    Parameters
    ----------
    seed : int
        0 to 2⁶⁴ − 1.

    Returns
    -------
    tuple of int
        The low and the high 32 bits.

    Raises
    ------
    TypeError
        If ``seed`` is not an integer (bools are refused, too).
    ValueError
        If ``seed`` is negative or longer than 64 bits.
    """
    if isinstance(seed, (bool, np.bool_)) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"seed must be an integer. Received: seed={seed!r}")
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must be from 0 to 2**64 - 1. Received: seed={seed!r}")
    return int(seed) & 0xFFFFFFFF, int(seed) >> 32


def unit_shape(shape: int | Sequence[int]) -> tuple[int, ...]:
    """Check a shape of units.

    Parameters
    ----------
    shape : int or sequence of int
        The lengths of the axes.

    Returns
    -------
    tuple of int
        The lengths as a tuple.

    Raises
    ------
    TypeError
        If a length is not an integer.
    ValueError
        If a length is negative.
    """
    axes: Sequence[Any] = (shape,) if np.ndim(shape) == 0 else tuple(shape)  # type: ignore[arg-type]
    for axis in axes:
        if isinstance(axis, (bool, np.bool_)) or not isinstance(axis, (int, np.integer)):
            raise TypeError(f"shape must hold integers. Received: shape={shape!r}")
        if axis < 0:
            raise ValueError(f"shape must not hold negative lengths. Received: shape={shape!r}")
    return tuple(int(axis) for axis in axes)
