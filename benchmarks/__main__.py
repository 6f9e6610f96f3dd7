"""The command line: build environments, measure what is missing, write the report.

`python -m benchmarks quick` runs tiny sizes in this environment alone, and fails if anything does
not work. `python -m benchmarks all` runs the full benchmarks. Every result is stored at once: a run
that was interrupted, or stopped by `--budget`, continues when it is called again. `all --again`
starts over, and `report` writes a report of the results so far. `figures` draws the figures again
from the published raw results.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from benchmarks import costs, environments, figures, report, results, works
from benchmarks.contestants import OURS, PEERS, QUICK_PEERS, takes_part
from benchmarks.session import Session


def say(text: str) -> None:
    """Write a line of progress."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def prepare(folder: pathlib.Path) -> None:
    """Create the shared images and models, if they do not exist yet."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    if not (folder / "data" / "digits.npz").exists():
        say("Training the model that everybody runs ...")
        command = [sys.executable, "-m", "benchmarks.data", str(folder / "data")]
        subprocess.run(command, check=True, cwd=environments.ROOT)  # noqa: S603


def build(rebuild: bool = False) -> None:
    """Build all environments, and report failures."""
    for environment in environments.ENVIRONMENTS.values():
        say(f"Environment {environment.name} ...")
        for what, why in environments.build(environment, rebuild).items():
            say(f"  not installed: {what}: {why}")


def contestants(arguments: argparse.Namespace, todo: list[works.Work], quick: bool) -> list[str]:
    """Return the contestants that take part in any of the work: only these are started."""
    names = arguments.peers or (QUICK_PEERS if quick else PEERS)
    return [n for n in names if any(takes_part(n, work.name, work.peers) for work in todo)]


def failures(result: results.Result, quick: bool) -> list[str]:
    """Return unexpected failures: all of them in quick mode, otherwise only those of kspike."""
    names = [entry["peer"] for entry in result["entries"] if "failed" in entry]
    return [name for name in (*names, *result["missing"]) if quick or name in OURS]


def measure(
    arguments: argparse.Namespace, store: results.Store, todo: list[works.Work], quick: bool
) -> bool:
    """Measure work, storing every result at once; return whether something failed."""
    failed = False
    prepared, start = arguments.folder / "data", time.monotonic()
    with Session(contestants(arguments, todo, quick), prepared, quick, quick) as session:
        for name, why in session.missing.items():
            say(f"{PEERS[name].title} does not take part: {why}")
        for number, work in enumerate(todo, 1):
            if time.monotonic() > arguments.end:
                say(f"The time is up; {len(todo) - number + 1} pieces of work are left.")
                break
            result = session.measure(work, arguments.rounds, arguments.seconds)
            store.save(work.name, result)
            passed = time.strftime("%M:%S", time.gmtime(time.monotonic() - start))
            say(f"[{number}/{len(todo)}, {passed}] {results.line(work, result)}")
            failed |= bool(failures(result, quick))
    return failed


def run(arguments: argparse.Namespace, store: results.Store, quick: bool) -> bool:
    """Measure the work that has no result yet; return whether something failed."""
    todo = works.chosen(works.every_work(quick), arguments.only)
    paid = [n for n in costs.names(quick) if not arguments.only or "costs" in arguments.only]
    if arguments.again:
        store.put_aside([*(work.name for work in todo), *paid])
    todo = [work for work in todo if not store.has(work.name)]
    prepare(arguments.folder)
    arguments.end = time.monotonic() + arguments.budget
    failed = bool(todo) and measure(arguments, store, todo, quick)
    for name in paid:
        if not store.has(name) and time.monotonic() < arguments.end:
            say(f"Measuring {name} ...")
            rounds = 1 if quick else arguments.rounds
            store.save(name, costs.measure(name, arguments.folder / "data", rounds, quick))
    return failed


def redraw(docs: pathlib.Path) -> list[pathlib.Path]:
    """Draw the figures of the published results again; return their paths."""
    published = json.loads((docs / "benchmarks.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        store = results.Store(pathlib.Path(folder))
        for name, result in published.items():
            store.save(name, result)
        return figures.draw(store, docs / "figures")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", choices=("build", "run", "report", "figures", "all", "quick"))
    parser.add_argument("--only", nargs="*", default=[], help="parts of names of works")
    parser.add_argument("--peers", nargs="*", default=[], choices=PEERS)
    parser.add_argument("--rounds", type=int, default=5, help="alternating runs (default: 5)")
    parser.add_argument("--seconds", type=float, default=0.1, help="of a run (default: 0.1)")
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds, then report")
    parser.add_argument("--again", action="store_true", help="set earlier results aside")
    parser.add_argument("--rebuild", action="store_true", help="build environments from nothing")
    parser.add_argument("--folder", type=pathlib.Path, default=environments.FOLDER)
    parser.add_argument("--docs", type=pathlib.Path, default=environments.ROOT / "docs")
    arguments = parser.parse_args()
    quick = arguments.what == "quick"
    if quick:
        arguments.rounds, arguments.seconds = 2, 0.02
        shutil.rmtree(arguments.folder / "quick", ignore_errors=True)
    if arguments.what == "figures":
        for path in redraw(arguments.docs):
            say(f"Drew {path}")
        return 0
    store = results.Store(arguments.folder / ("quick" if quick else "results"))
    failed = False
    if arguments.what in ("build", "all"):
        build(arguments.rebuild)
    if arguments.what in ("run", "all", "quick"):
        failed = run(arguments, store, quick)
    if arguments.what in ("report", "all", "quick"):
        docs = arguments.folder / "quick-report" if quick else arguments.docs
        say(f"Wrote {report.write(store, docs)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
