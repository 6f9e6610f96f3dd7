"""Text from model files, made safe to print."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return text with control characters and characters that reorder text as escapes (``\x1b``).

    Names in files may hold terminal escape sequences, or line breaks that make one line of a
    message look like two.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
