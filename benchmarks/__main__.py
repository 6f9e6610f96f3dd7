"""The command line: build environments, run what is left, write the report.

`python -m benchmarks quick` runs tiny sizes in this environment alone, to see that everything
works. `python -m benchmarks all` does the real thing; it can be interrupted and goes on where it
was, because every piece of work is stored as soon as it is done.
"""

from __future__ import annotations

import argparse
import pathlib
import subprocess
import sys
import time

from benchmarks import costs, environments, report, results, works
from benchmarks.session import PEERS, QUICK_PEERS, Session


def say(text: str) -> None:
    """Write a line for the person who waits."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def prepare(folder: pathlib.Path) -> pathlib.Path:
    """Make the shared images and models, if they are not there yet; return their folder."""
    if not (folder / "data" / "digits.npz").exists():
        say("Training the model that everybody runs ...")
        command = [sys.executable, "-m", "benchmarks.data", str(folder / "data")]
        subprocess.run(command, check=True, cwd=environments.ROOT)  # noqa: S603
    return folder / "data"


def build(rebuild: bool = False) -> None:
    """Build all environments; name what failed."""
    for environment in environments.ENVIRONMENTS.values():
        say(f"Environment {environment.name} ...")
        for what, why in environments.build(environment, rebuild).items():
            say(f"  not installed: {what}: {why}")


def run(arguments: argparse.Namespace, quick: bool) -> bool:
    """Do the work that has no result yet; return whether something of kspike failed."""
    folder: pathlib.Path = arguments.folder
    store = results.Store(folder / ("quick" if quick else "results"))
    todo = works.chosen(works.every_work(quick), arguments.only)
    todo = [work for work in todo if arguments.again or not store.has(work.name)]
    prepared = prepare(folder)
    failed = False
    if todo:
        names = arguments.peers or list(QUICK_PEERS if quick else PEERS)
        with Session(names, prepared, here=quick, first_modes=quick) as session:
            for name, why in session.missing.items():
                say(f"{PEERS[name].title} does not take part: {why}")
            end = time.monotonic() + arguments.budget
            for number, work in enumerate(todo):
                if time.monotonic() > end:
                    say(f"The time is up; {len(todo) - number} to do.")
                    break
                result = session.measure(work, arguments.rounds, arguments.seconds)
                store.save(work.name, result)
                say(results.line(work, result))
                failed |= any(
                    "failed" in e and e["peer"].startswith("kspike") for e in result["entries"]
                )
    if not arguments.only or "costs" in arguments.only:
        for name in costs.missing(store, arguments.again, quick):
            say(f"Measuring {name} ...")
            store.save(name, costs.measure(name, prepared, 1 if quick else arguments.rounds, quick))
    return failed


def main() -> int:
    """Parse the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", choices=("build", "run", "report", "all", "quick"))
    parser.add_argument("--only", nargs="*", default=[], help="parts of names of works")
    parser.add_argument("--peers", nargs="*", default=[], choices=PEERS)
    parser.add_argument("--rounds", type=int, default=5, help="alternating runs (default: 5)")
    parser.add_argument("--seconds", type=float, default=0.3, help="of a run (default: 0.3)")
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds, then stop")
    parser.add_argument("--again", action="store_true", help="measure what has a result, too")
    parser.add_argument("--rebuild", action="store_true", help="build environments from nothing")
    parser.add_argument("--folder", type=pathlib.Path, default=environments.FOLDER)
    parser.add_argument("--docs", type=pathlib.Path, default=environments.ROOT / "docs")
    arguments = parser.parse_args()
    failed = False
    if arguments.what in ("build", "all"):
        build(arguments.rebuild)
    if arguments.what == "quick":
        arguments.rounds, arguments.seconds, arguments.again = 2, 0.02, True
    if arguments.what in ("run", "all", "quick"):
        failed = run(arguments, arguments.what == "quick")
    if arguments.what in ("report", "all", "quick"):
        quick = arguments.what == "quick"
        docs = arguments.folder / "quick-report" if quick else arguments.docs
        store = results.Store(arguments.folder / ("quick" if quick else "results"))
        say(f"Wrote {report.write(store, docs)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
