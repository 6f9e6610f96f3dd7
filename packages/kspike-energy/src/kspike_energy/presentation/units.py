"""Quantities as text: SI prefixes and three significant digits."""

import math

__all__ = ["si", "si_range"]

_PREFIXES = {12: "T", 9: "G", 6: "M", 3: "k", 0: "", -3: "m", -6: "µ", -9: "n", -12: "p", -15: "f"}


def si(value: float | None, unit: str = "J", digits: int = 3) -> str:
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
    rounded = float(f"{value:.{digits - 1}e}")
    power = 3 * math.floor(math.log10(abs(rounded)) / 3)
    if power not in _PREFIXES:
        return f"{rounded:.{digits}g} {unit}"
    scaled = float(f"{rounded / 10.0**power:.{digits}g}")
    return f"{scaled:g} {_PREFIXES[power]}{unit}"


def si_range(low: float, high: float, unit: str = "J") -> str:
    """Return "low to high"; an empty string if both are equal.

    Examples
    --------
    >>> si_range(2.36e-11, 2.71e-11)
    '23.6 pJ to 27.1 pJ'
    """
    return "" if low == high else f"{si(low, unit)} to {si(high, unit)}"
