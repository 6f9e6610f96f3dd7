"""Checks of public arguments: names and numbers, with suggestions for misspelt names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")

_MANY = 40  # names that a message lists at most


def told_options(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function suggest the right name for a misspelt option, as Python 3.13 does.

    Parameters
    ----------
    function : callable
        A function with keyword arguments.

    Returns
    -------
    callable
        The same function. Its TypeError for an unknown option lists the options that there are.
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
    """Return a suggestion for a misspelt name, as the end of a sentence.

    Parameters
    ----------
    name : str
        The misspelt name.
    known : iterable of str
        The names that exist.

    Returns
    -------
    str
        Empty if no name is close.
    """
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def check_names(argument: str, given: Any, known: Sequence[str]) -> set[str]:
    """Return names as a set, and refuse unknown ones.

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
        If they are not strings.
    ValueError
        If a name is unknown; the message lists those that exist.
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
        The value of the argument; NumPy's integers are allowed.
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
