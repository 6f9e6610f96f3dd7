"""Checks of public arguments: names and numbers, with what was probably meant."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")

_MANY = 40  # names that a message lists before it breaks off


def told_options(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function tell what a misspelt option probably means, as Python 3.13 does.

    Parameters
    ----------
    function : callable
        With options that are given by name.

    Returns
    -------
    callable
        The same, whose TypeError for an option that it does not have names those that it has.
    """
    known = [name for name in inspect.signature(function).parameters if name != "self"]

    @wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> R:
        try:
            return function(*args, **options)
        except TypeError:  # only now, so that right calls pay nothing for it
            for name in options:
                if name not in known:
                    raise TypeError(
                        f"{function.__name__} takes {', '.join(known)}. Received: {name}"
                        f"{suggestion(name, known)}"
                    ) from None
            raise

    return call


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return what a misspelt name probably means, as the end of a sentence.

    Parameters
    ----------
    name : str
        What came.
    known : iterable of str
        What there is.

    Returns
    -------
    str
        Empty if nothing is close.
    """
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def check_names(argument: str, given: Any, known: Sequence[str]) -> set[str]:
    """Return names as a set; refuse those that there are not.

    Parameters
    ----------
    argument : str
        The name of the argument, for messages.
    given : str or iterable of str
        What came.
    known : sequence of str
        What there is.

    Returns
    -------
    set of str
        The names.

    Raises
    ------
    TypeError
        If they are not strings.
    ValueError
        If there is none of a name; all that there are, are listed.
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
    """Return a number of things as an int.

    Parameters
    ----------
    argument : str
        The name of the argument, for messages.
    value : int
        What came; NumPy's integers are taken.
    least : int
        The smallest number.

    Returns
    -------
    int
        The number.

    Raises
    ------
    ValueError
        If it is not a whole number, or less than the least.
    """
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_whole or not least <= value < 2**40:
        kind = "a positive integer" if least == 1 else "an integer, 0 or more"
        raise ValueError(f"{argument} must be {kind}. Received: {value!r}")
    return int(value)
