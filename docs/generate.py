"""The command that writes all generated figures, tables and outputs: ``hatch run generate``.

Without names it runs all parts but those that need data or hours. It tells which it skips and why,
and at the end which files changed. A part that is named and needs data is an error without them.
Measured times stay as they are, unless ``--times`` is passed.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = sys.executable


@dataclass(frozen=True)
class Part:
    """Command that generates something, and what it writes.

    Attributes
    ----------
    name : str
        What to call it on the command line.
    what : str
        What it generates, for people.
    command : tuple of str
        The program's arguments after the interpreter; FOLDER stands for that of ``--data``.
    figures : tuple of str
        The patterns of its files in ``docs/figures``.
    marks : tuple of str
        The pages and names of the marks between which it writes: ``"guides/energy: devices"``.
    files : tuple of str
        Patterns of whole files, or of pages whose outputs it writes.
    time : str
        How long it takes, roughly.
    needs : {"", "data", "long"}
        The option without which it is skipped.
    measures : bool
        Whether it takes ``--times``.
    """

    name: str
    what: str
    command: tuple[str, ...]
    figures: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    time: str = "1 min"
    needs: str = ""
    measures: bool = False


CONVERTING = "docs/guides/converting.md"
ENERGY_TABLES = (
    *("validation", "devices", "left_out", "with_memory", "quantised"),
    *("differences", "conventions", "published"),
)

# In the order in which they run: the fast ones first.
PARTS = (
    Part(
        "benchmark-figures",
        "figures of Benchmarks, from its published results",
        ("-m", "benchmarks", "figures"),
        figures=("benchmark-*.png",),
    ),
    Part(
        "energy",
        "tables of Energy estimates: devices, leave-one-out, rules, published counts",
        ("docs/generate_energy.py",),
        marks=tuple(f"guides/energy: {name}" for name in ENERGY_TABLES),
    ),
    Part(
        "command-line",
        "what commands print in The command line",
        ("tests/ref/command_page.py",),
        files=("docs/command-line.md",),
        time="2 min",
        measures=True,
    ),
    Part(
        "digits",
        "the README's table and figures, from one run of the demo",
        ("examples/digits.py", "--docs"),
        figures=("raster.png", "accuracy_energy.png", "energy_by_device.png"),
        files=("README.md", "docs/figures/digits.json"),
        time="2 min",
        measures=True,
    ),
    Part(
        "rates",
        "histograms of firing rates in Training",
        ("examples/rate_distribution.py", "--out", "docs/figures/rates.png"),
        figures=("rates.png",),
    ),
    Part(
        "operating-points",
        "the table of operating points on digits in Converting",
        ("examples/operating_points.py", "--write", CONVERTING),
        marks=("guides/converting: operating points",),
        time="2 min",
    ),
    Part(
        "pages",
        "outputs of the code on all pages, and the figures that it draws",
        ("tests/docs/doc_blocks.py",),
        figures=("digits-*.png", "*-plot.png", "rates-sweep.png"),
        files=("docs/**/*.md",),
        time="10 min",
    ),
    Part(
        "notebooks",
        "outputs of the notebooks in examples/",
        ("examples/notebooks.py",),
        files=("examples/*.ipynb",),
        time="2 min",
    ),
    Part(
        "fashion-mnist",
        "the table of Fashion-MNIST in Converting",
        (
            *("examples/operating_points.py", "--data", "FOLDER", "--max-rate", "1000"),
            *("--synapse", "0.02", "--write", CONVERTING, "--name", "Fashion-MNIST"),
        ),
        marks=("guides/converting: Fashion-MNIST",),
        time="15 min",
        needs="data",
    ),
    Part(
        "converters",
        "the comparison with other converters; it builds their environments",
        ("-m", "benchmarks.converters", "--write", CONVERTING),
        marks=("guides/converting: converters",),
        time="1 h",
        needs="long",
    ),
    Part(
        "benchmarks",
        "Benchmarks, measured on an idle machine; it builds all environments",
        ("-m", "benchmarks", "all"),
        files=("docs/benchmarks.md", "docs/benchmarks.json"),
        time="hours",
        needs="long",
    ),
    Part(
        "scaling",
        "prints the table of Scaling",
        ("tests/load/scaling.py",),
        time="10 min",
        needs="long",
    ),
    Part(
        "soak",
        "prints the table of long streams in Scaling",
        ("tests/load/soak.py", "--steps", "1e9"),
        time="15 min",
        needs="long",
    ),
    Part(
        "damaged-files",
        "prints the counts of damaged files in Files",
        ("tests/load/file_fuzz.py", "--mutants", "100000"),
        time="1 h",
        needs="long",
    ),
)
OPTIONS = {"data": "--data FOLDER", "long": "--long"}


def chosen(
    names: Sequence[str], data: Path | None, long: bool, parts: Sequence[Part] = PARTS
) -> tuple[list[Part], list[Part]]:
    """Return the parts to run, and those to skip.

    Parameters
    ----------
    names : sequence of str
        The parts that are asked for; all without any. A name also chooses a part that needs hours.
    data : Path, optional
        The folder of the data set.
    long : bool
        Whether to run all that needs hours.
    parts : sequence of Part
        All parts.
    """
    wanted = [part for part in parts if not names or part.name in names]
    given = {"": True, "data": data is not None, "long": long or bool(names)}
    run = [part for part in wanted if given[part.needs]]
    return run, [part for part in wanted if part not in run]


def command(part: Part, data: Path | None, times: bool) -> list[str]:
    """Return the command of a part."""
    arguments = [str(data) if word == "FOLDER" else word for word in part.command]
    return [PYTHON, *arguments, *(["--times"] if times and part.measures else [])]


def digests(root: Path = ROOT, parts: Sequence[Part] = PARTS) -> dict[str, str]:
    """Return the digests of all files that any part may write, by their path."""
    patterns = {f"docs/figures/{pattern}" for part in parts for pattern in part.figures}
    patterns |= {f"docs/{mark.partition(':')[0]}.md" for part in parts for mark in part.marks}
    patterns |= {pattern for part in parts for pattern in part.files}
    paths = sorted({path for pattern in patterns for path in root.glob(pattern)})
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
    }


def generate(
    parts: Sequence[Part], run: Callable[[Part], int], say: Callable[[str], None]
) -> list[str]:
    """Run parts one after the other; return the names of those that failed.

    Parameters
    ----------
    parts : sequence of Part
        The parts.
    run : callable
        Runs a part, and returns its exit status.
    say : callable
        Writes a line of progress.
    """
    failed = []
    for number, part in enumerate(parts, 1):
        say(f"[{number}/{len(parts)}] {part.name}: {part.what} (about {part.time})")
        start = time.monotonic()
        status = run(part)
        say(f"    {'failed' if status else 'done'} after {time.monotonic() - start:.0f} s")
        if status:
            failed.append(part.name)
    return failed


def listed() -> str:
    """Return a line for each part."""
    lines = []
    for part in PARTS:
        option = f"; needs {OPTIONS[part.needs]}" if part.needs else ""
        lines.append(f"{part.name:<18} {part.what} (about {part.time}{option})")
    return "\n".join(lines)


def say(text: str) -> None:
    """Write a line at once, between the lines of the parts."""
    print(text, flush=True)


def main(given: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="hatch run generate", description=__doc__)
    names = [part.name for part in PARTS]
    parser.add_argument("part", nargs="*", help=f"one of {', '.join(names)}; all by default")
    parser.add_argument("--data", type=Path, help="folder with the IDX files of Fashion-MNIST")
    parser.add_argument("--long", action="store_true", help="also run what takes hours")
    parser.add_argument("--times", action="store_true", help="also write measured times anew")
    parser.add_argument("--list", action="store_true", help="only list the parts")
    arguments = parser.parse_args(given)
    if unknown := [name for name in arguments.part if name not in names]:
        parser.error(f"part must be one of {', '.join(names)}. Received: {', '.join(unknown)}")
    if arguments.list:
        say(listed())
        return 0
    data = arguments.data and arguments.data.resolve()
    if data and not data.is_dir():
        parser.error(f"--data must be a folder. Received: {arguments.data}")
    parts, skipped = chosen(arguments.part, data, arguments.long)
    if arguments.part and skipped:
        parser.error("; ".join(f"{part.name} needs {OPTIONS[part.needs]}" for part in skipped))
    before = digests()
    failed = generate(
        parts,
        lambda part: (
            subprocess.run(  # noqa: S603
                command(part, data, arguments.times), cwd=ROOT, check=False
            ).returncode
        ),
        say,
    )
    for part in skipped:
        say(f"Skipped {part.name}: {part.what}; it needs {OPTIONS[part.needs]}")
    after = digests()
    changed = [path for path in before | after if before.get(path) != after.get(path)]
    say(f"Changed: {', '.join(changed) or 'nothing'}")
    if failed:
        say(f"Failed: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
