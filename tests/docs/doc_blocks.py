"""Code blocks of Markdown pages, and a runner for the Python blocks of a page.

A Python block may be followed by a block titled "Output", with the text that it prints;
``EXAMPLE``, the same for numbers that depend on the machine; or "Error", with the error that it
raises. A block titled "A new process" runs in a process that has imported nothing.
``python tests/docs/doc_blocks.py PAGE ...`` runs pages and rewrites these texts, and the figures
that a page draws.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import traceback
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
QUICKSTART = DOCS / "quickstart.md"
DEVELOPMENT = DOCS / "development.md"  # its blocks are parts of files
WIDTH = 80
NEW_PROCESS = "A new process"
EXAMPLE = "Example: numbers differ between machines"
OUTCOMES = ("Output", EXAMPLE, "Error")

FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)(?:[^\n]*title=\"(?P<title>[^\"]*)\")?[^\n]*\n"
    r"(?P<text>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)
NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")


@dataclass(frozen=True)
class Block:
    """Fenced block; ``start`` and ``end`` are the positions of its text in the page."""

    language: str
    title: str
    text: str
    start: int
    end: int


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page."""
    return [
        Block(
            found["language"],
            found["title"] or "",
            textwrap.dedent(found["text"]) if found["indent"] else found["text"],
            *found.span("text"),
        )
        for found in FENCE.finditer(page)
    ]


def run_blocks(page: list[Block], name: str, folder: str, pipe: object) -> None:
    """Run Python blocks one after the other, and send each one's output and error."""
    os.chdir(folder)
    scope: dict[str, object] = {"__name__": "__main__"}
    for number, block in enumerate(page):
        if block.title == NEW_PROCESS:
            pipe.send(_in_new_process(block.text))
            continue
        printed, error, trace = io.StringIO(), "", ""
        with contextlib.redirect_stdout(printed):
            try:
                exec(compile(block.text, f"{name}, Python block {number}", "exec"), scope)
            except Exception as raised:
                error, trace = f"{type(raised).__name__}: {raised}", traceback.format_exc()
        pipe.send((printed.getvalue(), error, trace))
    pipe.close()


def _in_new_process(source: str) -> tuple[str, str, str]:
    command = [sys.executable, "-c", source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    error = done.stderr if done.returncode else ""
    return done.stdout, error, error


def run_page(page: list[Block], name: str, folder: Path) -> list[tuple[str, str, str]]:
    """Run the Python blocks of a page in a new process, within ``folder``."""
    # The server imports Keras once for all pages.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["keras", "kspike_tf", "kspike_ref"])
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=run_blocks, args=(page, name, str(folder), there))
    process.start()
    there.close()
    results = []
    with contextlib.suppress(EOFError):
        while True:
            results.append(here.recv())
    process.join()
    if len(results) < len(page):
        raise RuntimeError(f"{name}: block {len(results)} ended the process")
    return results


def with_outcomes(page: str) -> list[tuple[Block, Block | None]]:
    """Return each Python block with the block of its output or error, if there is one."""
    every = [*blocks(page), None]
    return [
        (block, after if after and after.title in OUTCOMES else None)
        for block, after in pairwise(every)
        if block is not None and block.language == "python"
    ]


TOLERANCE = 0.05
# Processors round differently, and training amplifies that: one network, trained with the same
# seed on two of them, had rates of 13.2 and 13.9 Hz.
TRAINED = 0.2


def agree(shown: str, came: str, tolerance: float | None = TOLERANCE) -> bool:
    """Compare texts; spaces may differ, and numbers a little, as processors round differently.

    Without a tolerance, numbers may differ by any amount. Three dots in the shown text match any
    text.
    """
    numbers = NUMBER.findall(came)
    wanted = NUMBER.findall(shown)
    plain = re.escape(" ".join(NUMBER.sub("#", shown).split())).replace(r"\.\.\.", ".*")
    if not re.fullmatch(plain, " ".join(NUMBER.sub("#", came).split()), re.DOTALL):
        return False
    if "..." in shown or tolerance is None:
        return True
    pairs = [(_value(a), _value(b)) for a, b in zip(wanted, numbers, strict=True)]
    return all(abs(a - b) <= tolerance * max(abs(a), abs(b)) for a, b in pairs)


def _value(number: str) -> float:
    return float(number.replace(",", ""))


def rewrite(path: Path, folder: Path) -> None:
    """Run a page, and rewrite the outputs and errors that it shows."""
    page = path.read_text()
    pairs = with_outcomes(page)
    results = run_page([block for block, _ in pairs], path.name, folder)
    for (_, after), (printed, error, trace) in reversed(list(zip(pairs, results, strict=True))):
        fails = after is not None and after.title == "Error"
        if error and not fails:
            raise SystemExit(trace)
        keeps = after is not None and "..." in after.text and agree(after.text, error or printed)
        if after is not None and not keeps:
            text = "\n".join(_wrapped(error)) if fails else printed
            page = page[: after.start] + text.rstrip() + "\n" + page[after.end :]
    path.write_text(page)
    for name in re.findall(r"\]\((?:\.\./)*figures/([\w-]+\.png)\)", page):
        if (folder / name).exists():  # the page draws it
            shutil.copy(folder / name, DOCS / "figures")


def _wrapped(error: str) -> list[str]:
    return [
        part
        for line in error.splitlines()
        for part in textwrap.wrap(line, WIDTH, break_on_hyphens=False, break_long_words=False)
    ]


def rewritten() -> list[Path]:
    """Return the pages whose outputs are generated, the quickstart first."""
    others = [path for path in sorted(DOCS.rglob("*.md")) if path not in (QUICKSTART, DEVELOPMENT)]
    return [QUICKSTART, *(path for path in others if with_outcomes(path.read_text()))]


def main() -> None:
    """Rewrite the pages named on the command line, or all pages with Python blocks."""
    parser = argparse.ArgumentParser(description="Rewrite the outputs of code on pages.")
    parser.add_argument("page", nargs="*", type=Path, help="all pages by default")
    arguments = parser.parse_args()
    named = [path.resolve() for path in arguments.page]
    if others := set(named) - set(rewritten()):
        parser.error(f"page must be one with Python code in docs. Received: {min(others)}")
    start = tempfile.mkdtemp()
    for page in [path for path in rewritten() if path == QUICKSTART or not named or path in named]:
        print(page.relative_to(ROOT), flush=True)
        folder = Path(start)
        if page != QUICKSTART:
            folder = Path(tempfile.mkdtemp()) / "work"
            shutil.copytree(start, folder)
        rewrite(page, folder)


if __name__ == "__main__":
    main()
