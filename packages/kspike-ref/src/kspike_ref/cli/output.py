"""Output of results as text or JSON, and files that are written in one step."""

from __future__ import annotations

import json
import math
import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EISDIR, ENOENT
from pathlib import Path
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from kspike_ref.saved.text import printable

_WIDE = 10_000  # columns, so that a pipe gets whole lines


@dataclass(frozen=True)
class Table:
    """A table of results.

    Parameters
    ----------
    header : sequence of str
        The names of the columns.
    rows : sequence of sequence
        Text is aligned left, numbers right; None is shown as a dash.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]


Part = str | Mapping[str, Any] | Table


def show(result: Mapping[str, Any], as_json: bool, *parts: Part) -> None:
    """Print a result to standard output.

    Parameters
    ----------
    result : mapping
        The whole result, as plain data.
    as_json : bool
        Whether to print ``result`` as JSON; otherwise the parts.
    *parts : str, mapping or Table
        The result for people, separated by empty lines: text, facts by name, tables.
    """
    if as_json:
        typer.echo(json.dumps(_finite(result), indent=2))
        return
    typer.echo("\n\n".join(_text(part) for part in parts))


def shown(value: Any) -> str:
    """Format a value for people: thousands separators, and four digits for floats."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return printable(str(value))


@contextmanager
def waiting(message: str) -> Iterator[None]:
    """Show a message while the ``with`` block runs, on terminals only."""
    console = Console(stderr=True)
    if not sys.stderr.isatty():
        yield
        return
    with console.status(Text(message)):
        yield


def check_writable(path: Path | None, suffixes: Sequence[str]) -> None:
    """Refuse a file that cannot be written, before the work begins.

    Parameters
    ----------
    path : Path or None
        The file, or None if no file is requested.
    suffixes : sequence of str
        The suffixes that it may have.

    Raises
    ------
    ValueError
        If it has another suffix.
    OSError
        If its folder does not exist, or the path is a folder.
    """
    if path is None:
        return
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{path}: the name of the output must end with {' or '.join(suffixes)}")
    if not path.parent.is_dir():
        raise FileNotFoundError(ENOENT, "no such folder", str(path.parent))
    if path.is_dir():
        raise IsADirectoryError(EISDIR, os.strerror(EISDIR), str(path))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path in the same folder; the file written there replaces ``path`` at the end.

    Raises
    ------
    OSError
        If it cannot be written; ``path`` is then unchanged.
    """
    beside = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield beside
        beside.replace(path)
    except OSError as error:
        reason = error.strerror or f"the disk may be full ({error})"  # NumPy does not say why
        raise OSError(error.errno, f"cannot be written: {reason}", str(path)) from error
    finally:
        beside.unlink(missing_ok=True)


def _text(part: Part) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Table):
        return _drawn(part)
    width = max(map(len, part), default=0)
    return "\n".join(f"{name:<{width}}  {shown(value)}" for name, value in part.items())


def _drawn(table: Table) -> str:
    """Return a table as lines: with a rule and bold names on a terminal, plain elsewhere."""
    on_terminal = sys.stdout.isatty()
    drawn = RichTable(box=SIMPLE_HEAD if on_terminal else None, pad_edge=False, padding=(0, 1))
    for i, name in enumerate(table.header):
        is_text = all(isinstance(row[i], str) for row in table.rows)
        drawn.add_column(Text(name), justify="left" if is_text else "right", overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(shown(value)) for value in row))
    # A pipe gets no colours even where FORCE_COLOR or TERM asks for them.
    plain: dict[str, Any] = {} if on_terminal else {
        "width": _WIDE, "color_system": None, "force_terminal": False,
    }  # fmt: skip
    console = Console(**plain)
    with console.capture() as captured:
        console.print(drawn)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()).strip("\n")


def _finite(value: Any) -> Any:
    """Return plain data without NaN and infinity, which JSON lacks: they become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value
