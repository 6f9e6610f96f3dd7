"""Text and HTML tables, and times with units."""

from __future__ import annotations

import html
from collections.abc import Sequence

from kspike_ref.saved.text import printable

Row = Sequence[str]


def seconds(value: float) -> str:
    """Return a time with a unit and at most three digits, such as ``"5 ms"``."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if value * factor >= 0.9995:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def shape_text(shape: Sequence[int | None]) -> str:
    """Return a shape such as ``(?, 20, 64)``, with a question mark for unknown lengths."""
    return "(" + ", ".join("?" if n is None else str(n) for n in shape) + ")"


def boxed(rows: Sequence[Row], right: Sequence[int] = ()) -> list[str]:
    """Return the lines of a bordered table whose first row is the header.

    Parameters
    ----------
    rows : sequence of sequence of str
        Rows with the same number of cells. Control characters are shown as escapes.
    right : sequence of int
        The columns to align right.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def line(row: Row, edge: str) -> str:
        aligned = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return f"{edge} " + f" {edge} ".join(aligned) + f" {edge}"

    def rule(left: str, middle: str, end: str, dash: str) -> str:
        return left + middle.join(dash * (width + 2) for width in widths) + end

    return [
        rule("┏", "┳", "┓", "━"),
        line(cells[0], "┃"),
        rule("┡", "╇", "┩", "━"),
        *(line(row, "│") for row in cells[1:]),
        rule("└", "┴", "┘", "─"),
    ]


def as_html(rows: Sequence[Row], caption: str, notes: Sequence[str] = ()) -> str:
    """Return an HTML table whose first row is the header; without other rows, only the texts.

    Parameters
    ----------
    rows : sequence of sequence of str
        Rows of cells; HTML in them is escaped.
    caption : str
        Text above the table.
    notes : sequence of str
        Lines below the table.
    """

    def row(cells: Row, tag: str) -> str:
        return "".join(f"<{tag}>{html.escape(printable(cell))}</{tag}>" for cell in cells)

    head, *body = rows
    lines = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in body)
    below = "".join(f"<div>{html.escape(printable(note))}</div>" for note in notes)
    table = f"<table><thead><tr>{row(head, 'th')}</tr></thead><tbody>{lines}</tbody></table>"
    title = f"<div><b>{html.escape(printable(caption))}</b></div>"
    return f"<div>{title}{table if body else ''}{below}</div>"
