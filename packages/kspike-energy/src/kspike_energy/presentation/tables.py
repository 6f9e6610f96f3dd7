"""Tables as text, HTML and rich objects, from plain cells and records."""

import html
import importlib
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["html_table", "number", "rich_table", "text_table", "yes_no"]

_NARROWEST_TEXT = 12


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many significant digits; "?" for None."""
    return "?" if value is None else f"{value:.{digits}g}"


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
        Longest line. In a wider table, headers break between words and cells of ``breakable``
        columns anywhere; numbers never break.
    breakable : sequence of int, optional
        Columns of text.
    """
    columns = list(zip(headers, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    floors = [max(map(len, (*header.split(), *cells))) for header, *cells in columns]
    for index in breakable:
        floors[index] = min(floors[index], _NARROWEST_TEXT)
    while sum(widths) + len(widths) - 1 > line_length:
        spare = [index for index, width in enumerate(widths) if width > floors[index]]
        if not spare:
            break
        # A broken name is harder to read than a broken header, so names come last.
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


def html_table(records: Sequence[Mapping[str, Any]]) -> str:
    """Return records as an HTML table, for notebooks."""
    if not records:
        return "<table></table>"

    def row(tag: str, cells: Sequence[Any]) -> str:
        inner = "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells)
        return f"<tr>{inner}</tr>"

    head = row("th", list(records[0]))
    body = "".join(
        row("td", ["" if value is None else value for value in record.values()])
        for record in records
    )
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


def rich_table(records: Sequence[Mapping[str, Any]]) -> Any:
    """Return records as a table of ``rich``, for terminals (``kspike-energy[report]``)."""
    table = importlib.import_module("rich.table").Table(*(records[0] if records else ()))
    for record in records:
        table.add_row(*("" if value is None else _short(value) for value in record.values()))
    return table


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
