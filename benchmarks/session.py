"""The driver's side: holds one worker of every contestant and lets them run in turns."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks import environments, machine
from benchmarks.works import Work

PAUSE = 0.1  # seconds between two contestants: the threads of the last one stop spinning
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)


@dataclasses.dataclass(frozen=True)
class Peer:
    """A contestant.

    Parameters
    ----------
    name : str
        The module in ``benchmarks.peers`` that is its worker.
    title : str
        How the report calls it.
    environment : str
        Where it runs.
    """

    name: str
    title: str
    environment: str


PEERS = {
    peer.name: peer
    for peer in (
        Peer("kspike_ref", "kspike_ref", "kspike-ref"),
        Peer("kspike_tf", "kspike_tf", "kspike-tf"),
        Peer("limits", "machine limit", "kspike-ref"),
        Peer("keras_spiking", "KerasSpiking 0.3.0", "keras-spiking"),
        Peer("plain_keras", "plain Keras 3 cell", "kspike-tf"),
        Peer("onnx_runtime", "ONNX Runtime", "onnx"),
        Peer("snn_torch", "snnTorch", "torch"),
        Peer("norse_torch", "Norse", "torch"),
        Peer("spiking_jelly", "SpikingJelly", "torch"),
        Peer("sinabs_torch", "Sinabs", "torch"),
        Peer("nengo_filters", "Nengo", "filters"),
        Peer("scipy_filters", "SciPy lfilter", "filters"),
    )
}


# Whoever runs in the environment of the tests, too.
QUICK_PEERS = (
    "kspike_ref",
    "kspike_tf",
    "limits",
    "plain_keras",
    "onnx_runtime",
    "nengo_filters",
    "scipy_filters",
)


class WorkerError(RuntimeError):
    """The process of a contestant ended, or does not answer."""


class Process:
    """A worker process.

    Parameters
    ----------
    peer : Peer
        Whose worker to start.
    data : pathlib.Path
        The folder with prepared images, weights and models.
    here : bool
        Use this interpreter, not the contestant's own environment.
    """

    def __init__(self, peer: Peer, data: pathlib.Path, here: bool = False) -> None:
        self.peer = peer
        environment = environments.ENVIRONMENTS[peer.environment]
        python = sys.executable if here else str(environment.interpreter)
        if not environment.ready and not here:
            raise WorkerError(f"its environment was not built ({environment.name})")
        threads = dict.fromkeys(THREAD_VARIABLES, str(os.cpu_count()))
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in end()
        self._process = subprocess.Popen(  # noqa: S603
            [python, "-m", f"benchmarks.peers.{peer.name}", "--data", str(data)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=environments.ROOT,
            env={**os.environ, **threads, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        self.pid = self._process.pid
        self.versions: dict[str, str] = {}
        self.offers: dict[str, list[str]] = {}

    def greet(self) -> None:
        """Wait until the worker is up; learn what it can do."""
        said = self.ask(do="hello")
        if "failed" in said:
            raise WorkerError(said["failed"])
        self.versions, self.offers = said["versions"], said["offers"]

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        assert self._process.stdin is not None  # noqa: S101 - opened as a pipe above
        assert self._process.stdout is not None  # noqa: S101
        line = ""
        # A worker that has ended already breaks the pipe; what it said is told below.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            self._errors.seek(0)
            said = [text for text in self._errors.read().splitlines() if text.strip()]
            raise WorkerError(f"ended with status {status}: {said[-1][:200] if said else ''}")
        return dict(json.loads(line))

    def end(self) -> None:
        """Close its input, so that it ends; wait for that."""
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None  # noqa: S101
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()


class Session:
    """Workers of several contestants, held open over many pieces of work.

    Parameters
    ----------
    names : iterable of str
        Keys of ``PEERS``.
    data : pathlib.Path
        The folder with prepared images, weights and models.
    here : bool
        Use this interpreter, not the contestants' own environments.
    first_modes : bool
        Leave all modes of a contestant out but the first, to be quick.

    Attributes
    ----------
    missing : dict
        Who could not be started, and why.
    others : float
        How many cores were busy with something else during the last turns, on average.
    """

    def __init__(
        self,
        names: Iterable[str],
        data: pathlib.Path,
        here: bool = False,
        first_modes: bool = False,
    ) -> None:
        self.commit = machine.commit()  # of what the workers import now
        self.others = 0.0
        self._modes = slice(0, 1) if first_modes else slice(None)
        self.missing: dict[str, str] = {}
        self.processes: dict[str, Process] = {}
        for name in names:
            with self._noting(name):
                self.processes[name] = Process(PEERS[name], data, here)
        for name, process in list(self.processes.items()):
            with self._noting(name):
                process.greet()

    @contextlib.contextmanager
    def _noting(self, name: str) -> Iterator[None]:
        try:
            yield
        except WorkerError as error:
            self.missing[name] = str(error)
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
        """Prepare a piece of work everywhere; then let the contestants run in turns.

        Parameters
        ----------
        work : Work
            What to do.
        rounds : int
            How many turns each contestant gets.
        seconds : float
            How long a turn is; a turn has one call at least, and reports the median of its calls.

        Returns
        -------
        dict
            The raw result: contestants with ``rounds`` (seconds a turn), ``check``, ``first``.
        """
        entries = self.prepare(work)
        self.take_turns(work, entries, rounds, seconds)
        self.forget()
        return self.result(work, entries, rounds, seconds)

    def prepare(self, work: Work) -> list[dict[str, Any]]:
        """Build inputs, warm up and check the answers; return an entry for each contestant."""
        entries: list[dict[str, Any]] = []
        fields = dataclasses.asdict(work)
        for name, process in list(self.processes.items()):
            if work.peers and name not in work.peers:
                continue
            for mode in process.offers.get(work.kind, [])[self._modes]:
                entry = {"peer": name, "mode": mode, "rounds": []}
                entry |= self._ask(entry, do="prepare", work=fields, mode=mode)
                if work.once and "failed" not in entry:
                    entry["rounds"].append(entry["first"])
                entries.append(entry)
        return entries

    def take_turns(
        self, work: Work, entries: list[dict[str, Any]], rounds: int, seconds: float
    ) -> None:
        """Let the contestants of prepared work run in turns, forwards and backwards."""
        if work.once:
            return
        start, foreign = time.perf_counter(), self._foreign_seconds()
        for turn in range(rounds):
            for entry in entries[:: 1 if turn % 2 == 0 else -1]:
                if "failed" not in entry:
                    self._turn(work, entry, seconds)
        foreign = max(0.0, self._foreign_seconds() - foreign)
        self.others = round(foreign / (time.perf_counter() - start), 3)
        for entry in entries:
            if "failed" not in entry:
                entry["memory"] = self._ask(entry, do="memory", name=work.name, mode=entry["mode"])

    def _foreign_seconds(self) -> float:
        """Return for how long the cores have worked on anything but this session."""
        busy = machine.busy_seconds()
        if busy is None:
            return 0.0
        ours = [process.pid for process in self.processes.values()]
        return busy - sum(map(machine.process_seconds, [*ours, "self"]))

    def forget(self) -> None:
        """Let all workers drop what they prepared."""
        for process in self.processes.values():
            process.ask(do="forget")

    def result(
        self, work: Work, entries: list[dict[str, Any]], rounds: int, seconds: float
    ) -> dict[str, Any]:
        """Return the raw result of work that is done, with everything needed to judge it."""
        return {
            "work": dataclasses.asdict(work),
            "when": time.strftime("%Y-%m-%d %H:%M"),
            "commit": self.commit,
            "protocol": {"rounds": rounds, "seconds": seconds, "threads": os.cpu_count()},
            "versions": {name: process.versions for name, process in self.processes.items()},
            "missing": self.missing,
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
        """Ask a contestant; one that dies is out, with its reason, and the others go on."""
        process = self.processes.get(entry["peer"])
        if process is None:
            return {"failed": self.missing[entry["peer"]]}
        with self._noting(entry["peer"]):
            return process.ask(**request)
        return {"failed": self.missing[entry["peer"]]}
