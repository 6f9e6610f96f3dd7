"""Tables of plain cells as text, HTML and rich objects; escaped text for LaTeX."""

import html
import importlib
import textwrap
from collections.abc import Sequence
from typing import Any

__all__ = ["html_table", "latex_text", "number", "one_line", "rich_table", "text_table", "yes_no"]

_NARROWEST_TEXT = 12
_LARGEST_WITHOUT_EXPONENT = 1e6


def number(value: float | None, digits: int = 3) -> str:
    """Return a number as text with ``digits`` significant digits; "?" for None.

    Examples
    --------
    >>> number(0.0123), number(2200.0), number(15876.0, 4), number(3e8)
    ('0.0123', '2200', '15880', '3e+08')
    """
    if value is None:
        return "?"
    text = f"{value:.{digits}g}"
    if "e+" in text and abs(value) < _LARGEST_WITHOUT_EXPONENT:
        return f"{float(text):.0f}"
    return text


def one_line(text: str) -> str:
    """Return text without line breaks, which would end the row of a table."""
    return " ".join(text.splitlines())


def yes_no(value: bool | None) -> str:
    """Return "yes" or "no"; "?" for None."""
    return "?" if value is None else "yes" if value else "no"


def text_table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    line_length: int,
    breakable: Sequence[int] = (0,),
) -> list[str]:
    """Return the lines of a table: header, rule, rows.

    Parameters
    ----------
    headers : sequence of str
        One per column.
    rows : sequence of sequence of str
        Cells. The first column is aligned to the left, other columns to the right.
    line_length : int
        Length of the longest line. In a wider table, headers break between words, and cells of
        ``breakable`` columns break anywhere; numbers never break.
    breakable : sequence of int, optional
        Indices of columns of text.
    """
    rows = [[one_line(cell) for cell in row] for row in rows]
    columns = list(zip(headers, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    floors = [max(map(len, (*header.split(), *cells))) for header, *cells in columns]
    for index in breakable:
        floors[index] = min(floors[index], _NARROWEST_TEXT)
    while sum(widths) + len(widths) - 1 > line_length:
        spare = [index for index, width in enumerate(widths) if width > floors[index]]
        if not spare:
            break
        # A broken name is harder to read than a broken header, so names break last.
        widest = max(spare, key=lambda index: (index not in breakable, widths[index]))
        widths[widest] -= 1
    wrapped = [textwrap.wrap(header, width) for header, width in zip(headers, widths, strict=True)]
    lines = _lines(wrapped, widths)
    lines.append("|".join("-" * width for width in widths))
    for row in rows:
        lines += _lines([_pieces(c, w) for c, w in zip(row, widths, strict=True)], widths)
    return lines


def _pieces(cell: str, width: int) -> list[str]:
    return [cell[start : start + width] for start in range(0, len(cell), width)]


def _lines(cells: Sequence[Sequence[str]], widths: Sequence[int]) -> list[str]:
    """Return the lines of one row, whose cells are lists of pieces."""
    lines = []
    for index in range(max(map(len, cells), default=0)):
        parts = [cell[index] if index < len(cell) else "" for cell in cells]
        padded = [
            part.ljust(width) if column == 0 else part.rjust(width)
            for column, (part, width) in enumerate(zip(parts, widths, strict=True))
        ]
        lines.append("|".join(padded))
    return lines


def html_table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    caption: str = "",
    notes: Sequence[str] = (),
) -> str:
    """Return a table for notebooks: the first column aligned to the left, others to the right.

    Parameters
    ----------
    headers : sequence of str
        One per column.
    rows : sequence of sequence of str
        Cells. All text is escaped.
    caption : str, optional
        Text above the table.
    notes : sequence of str, optional
        Items of a list below the table.
    """

    def line(tag: str, cells: Sequence[str]) -> str:
        sides = ["left", *["right"] * (len(cells) - 1)]
        inner = "".join(
            f'<{tag} style="text-align: {side}">{html.escape(cell)}</{tag}>'
            for side, cell in zip(sides, cells, strict=True)
        )
        return f"<tr>{inner}</tr>"

    above = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    body = "".join(line("td", row) for row in rows)
    below = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    below = f"<ul>{below}</ul>" if below else ""
    return (
        f"<div><table>{above}<thead>{line('th', headers)}</thead>"
        f"<tbody>{body}</tbody></table>{below}</div>"
    )


def rich_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()
) -> Any:
    """Return a ``rich`` table with notes below it (``kspike-energy[report]``)."""
    escape = importlib.import_module("rich.markup").escape
    below = "\n".join(map(escape, notes))
    table = importlib.import_module("rich.table").Table(
        *headers, caption=below, caption_justify="left"
    )
    for row in rows:
        table.add_row(*map(escape, row))
    return table


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "µ": r"\textmu{}",
    "|": r"\textbar{}",  # the old font encoding shows a dash
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "{": r"\textbraceleft{}",  # BibTeX counts the braces of \{ too
    "}": r"\textbraceright{}",
    **{character: f"\\{character}" for character in "&%$#_"},
}


def latex_text(text: str) -> str:
    """Return text on one line, with the special characters of LaTeX escaped."""
    return "".join(_LATEX.get(character, character) for character in one_line(text))
