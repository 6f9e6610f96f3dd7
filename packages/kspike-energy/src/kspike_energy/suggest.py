"""Suggestions for names that were misspelt."""

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean"]


def did_you_mean(name: object, choices: Iterable[object]) -> str:
    """Return "; did you mean 'x'?" for the closest of the choices, or nothing.

    Parameters
    ----------
    name : object
        What was given; anything but text has no closest choice.
    choices : iterable of object
        What could have been meant; anything but text is passed over.

    Examples
    --------
    >>> did_you_mean("lohi", ["cpu", "loihi"])
    "; did you mean 'loihi'?"
    >>> did_you_mean("tpx-9000", ["cpu", "loihi"])
    ''
    """
    if not isinstance(name, str):
        return ""
    by_case = {choice.lower(): choice for choice in choices if isinstance(choice, str)}
    close = difflib.get_close_matches(name.strip().lower(), list(by_case), n=1)
    return f"; did you mean {by_case[close[0]]!r}?" if close else ""
