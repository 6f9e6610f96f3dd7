"""Quantities as text: SI prefixes, three significant digits, and plurals."""

import math

__all__ = ["plural", "si", "si_range"]

_PREFIXES = {12: "T", 9: "G", 6: "M", 3: "k", 0: "", -3: "m", -6: "µ", -9: "n", -12: "p", -15: "f"}


def si(value: float | None, unit: str = "J") -> str:
    """Return a quantity with an SI prefix and three significant digits; "?" for None.

    Examples
    --------
    >>> si(4.8e-5), si(0.0), si(1234.5), si(None)
    ('48 µJ', '0 J', '1.23 kJ', '?')
    """
    if value is None:
        return "?"
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}"
    rounded = float(f"{value:.2e}")
    power = 3 * math.floor(math.log10(abs(rounded)) / 3)
    if power not in _PREFIXES:
        return f"{rounded:.3g} {unit}"
    scaled = float(f"{rounded / 10.0**power:.3g}")
    return f"{scaled:g} {_PREFIXES[power]}{unit}"


def si_range(low: float, high: float) -> str:
    """Return "low to high"; an empty string if both are equal.

    Examples
    --------
    >>> si_range(2.36e-11, 2.71e-11)
    '23.6 pJ to 27.1 pJ'
    """
    return "" if low == high else f"{si(low)} to {si(high)}"


def plural(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1.

    Examples
    --------
    >>> plural(1, "step"), plural(20, "step")
    ('1 step', '20 steps')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"
