"""The driver's session, which holds a worker of every contestant and runs them in turns."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import time
from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks import machine
from benchmarks.contestants import PEERS, takes_part
from benchmarks.process import Process, WorkerError
from benchmarks.works import Work

PAUSE = 0.05  # seconds between two contestants, in which the threads of the last stop spinning
HOPELESS = 3.0  # a mode that many times slower than its contestant's fastest gets no turns ...
WORTH_SKIPPING = 0.05  # ... if a call takes at least as many seconds


class Session:
    """Workers of several contestants, held open over many pieces of work.

    Parameters
    ----------
    names : iterable of str
        Keys of ``PEERS``.
    data : pathlib.Path
        The folder with prepared images, weights and models.
    here : bool
        Whether to use this interpreter instead of the contestants' own environments.
    first_modes : bool
        Whether to run only the first mode of every contestant, to save time.

    Attributes
    ----------
    missing : dict
        Reasons why contestants could not be started, by name.
    others : float
        Mean number of cores that were busy with something else during the last turns.
    """

    def __init__(
        self,
        names: Iterable[str],
        data: pathlib.Path,
        here: bool = False,
        first_modes: bool = False,
    ) -> None:
        self.commit = machine.commit()  # of the code that the workers import now
        self.others = 0.0
        self._modes = slice(0, 1) if first_modes else slice(None)
        self.missing: dict[str, str] = {}
        self.processes: dict[str, Process] = {}
        self._died: list[str] = []
        self._data, self._here = data, here
        self._start(names)
        self._died.clear()

    def _start(self, names: Iterable[str]) -> None:
        """Start all workers at once, and wait until they are up."""
        for name in names:
            with self._noting(name):
                self.processes[name] = Process(PEERS[name], self._data, self._here)
        for name in names:
            with self._noting(name):
                if name in self.processes:
                    self.processes[name].greet()
                    self.missing.pop(name, None)

    @contextlib.contextmanager
    def _noting(self, name: str) -> Iterator[None]:
        try:
            yield
        except WorkerError as error:
            self.missing[name] = str(error)
            self._died.append(name)
            process = self.processes.pop(name, None)
            if process is not None:
                process.end()

    def __enter__(self) -> Session:
        """Return the session itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all workers."""
        for process in self.processes.values():
            process.end()

    def measure(self, work: Work, rounds: int, seconds: float) -> dict[str, Any]:
        """Prepare a piece of work in all workers, then run the contestants in turns.

        Parameters
        ----------
        work : Work
            The piece of work.
        rounds : int
            Number of turns per contestant.
        seconds : float
            Length of a turn, which has at least one call and reports the median of its calls.

        Returns
        -------
        dict
            The raw result: contestants with ``rounds`` (seconds per turn), ``check``, ``first``.
        """
        start = time.monotonic()
        entries = self.prepare(work)
        self.take_turns(work, entries, rounds, seconds)
        self.forget()
        took = round(time.monotonic() - start, 1)
        return {**self.result(work, entries, rounds, seconds), "took": took}

    def prepare(self, work: Work) -> list[dict[str, Any]]:
        """Build inputs, warm up and check the answers; return one entry per contestant and mode."""
        died, self._died = self._died, []
        self._start(died)
        entries: list[dict[str, Any]] = []
        fields = dataclasses.asdict(work)
        for name, process in list(self.processes.items()):
            if not takes_part(name, work.name, work.peers):
                continue
            for mode in process.offers.get(work.kind, [])[self._modes]:
                entry = {"peer": name, "mode": mode, "rounds": []}
                entry |= self._ask(entry, do="prepare", work=fields, mode=mode)
                if work.once and "failed" not in entry:
                    entry["rounds"].append(entry["first"])
                entries.append(entry)
        leave_out_slow(entries)
        return entries

    def take_turns(
        self, work: Work, entries: list[dict[str, Any]], rounds: int, seconds: float
    ) -> None:
        """Run the contestants of prepared work in turns, alternately forwards and backwards."""
        if work.once:
            return
        start, foreign = time.perf_counter(), self._foreign_seconds()
        for turn in range(rounds):
            for entry in entries[:: 1 if turn % 2 == 0 else -1]:
                if "failed" not in entry and "slow" not in entry:
                    self._turn(work, entry, seconds)
        foreign = max(0.0, self._foreign_seconds() - foreign)
        self.others = round(foreign / (time.perf_counter() - start), 3)

    def _foreign_seconds(self) -> float:
        """Return the CPU time that was spent on anything but this session, in seconds."""
        busy = machine.busy_seconds()
        if busy is None:
            return 0.0
        ours = [process.pid for process in self.processes.values()]
        return busy - sum(map(machine.process_seconds, [*ours, "self"]))

    def forget(self) -> None:
        """Make all workers drop their prepared work."""
        for name, process in list(self.processes.items()):
            with self._noting(name):
                process.ask(do="forget")

    def result(
        self, work: Work, entries: list[dict[str, Any]], rounds: int, seconds: float
    ) -> dict[str, Any]:
        """Return the raw result of finished work, with everything needed to judge it."""
        return {
            "work": dataclasses.asdict(work),
            "when": time.strftime("%Y-%m-%d %H:%M"),
            "commit": self.commit,
            "protocol": {"rounds": rounds, "seconds": seconds, "threads": os.cpu_count()},
            "versions": {name: process.versions for name, process in self.processes.items()},
            "missing": dict(self.missing),
            "others": self.others,
            "entries": entries,
        }

    def _turn(self, work: Work, entry: dict[str, Any], seconds: float) -> None:
        time.sleep(PAUSE)
        said = self._ask(entry, do="run", name=work.name, mode=entry["mode"], seconds=seconds)
        if "failed" in said:
            entry |= said
        else:
            entry["rounds"].append(said["seconds"])

    def _ask(self, entry: dict[str, Any], **request: Any) -> dict[str, Any]:
        """Ask a contestant; one that dies counts as failed until the next piece of work."""
        process = self.processes.get(entry["peer"])
        if process is None:
            return {"failed": self.missing[entry["peer"]]}
        with self._noting(entry["peer"]):
            return process.ask(**request)
        return {"failed": self.missing[entry["peer"]]}


def leave_out_slow(entries: list[dict[str, Any]]) -> None:
    """Mark modes that are far slower than another mode of the same contestant as ``slow``.

    The report shows the fastest mode of every contestant. The time of a slow mode is known well
    enough from the warm-up, so its turns would be a waste of time.
    """
    warm: dict[str, float] = {}
    for entry in entries:
        if entry.get("warm"):
            warm[entry["peer"]] = min(entry["warm"], warm.get(entry["peer"], entry["warm"]))
    for entry in entries:
        took = entry.get("warm", 0.0)
        if took > max(WORTH_SKIPPING, HOPELESS * warm.get(entry["peer"], 0.0)):
            entry["slow"] = True
