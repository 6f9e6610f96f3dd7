"""The driver's handle on a contestant's process, which answers lines of JSON with lines of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
from typing import Any

from benchmarks import environments
from benchmarks.contestants import Peer

PATIENCE = 300.0  # seconds to wait for an answer; the slowest, of five trainings, takes 20
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)


class WorkerError(RuntimeError):
    """The process of a contestant has ended, or does not answer."""


def without_paths(text: str) -> str:
    """Return a text with the paths of this repository's files relative to its root."""
    return text.replace(f"{environments.ROOT}{os.sep}", "")


def variables(peer: Peer) -> dict[str, str]:
    """Return the environment variables of a contestant's process.

    Parameters
    ----------
    peer : Peer
        The contestant. Sources of an earlier commit take precedence over installed packages.

    Raises
    ------
    WorkerError
        If the sources of that commit are not available.
    """
    found = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(os.cpu_count()))}
    found["TF_CPP_MIN_LOG_LEVEL"] = "3"
    if peer.commit:
        folders = environments.sources(peer.commit)
        if not folders:
            raise WorkerError(f"the sources of commit {peer.commit} are not in this repository")
        found["PYTHONPATH"] = os.pathsep.join(map(str, folders))
    return found


class Process:
    """A worker process.

    Parameters
    ----------
    peer : Peer
        The contestant whose worker to start.
    data : pathlib.Path
        The folder with prepared images, weights and models.
    here : bool
        Whether to use this interpreter instead of the contestant's own environment.
    more : dict, optional
        More environment variables.

    Raises
    ------
    WorkerError
        If its environment or its sources do not exist.
    """

    def __init__(
        self,
        peer: Peer,
        data: pathlib.Path,
        here: bool = False,
        more: dict[str, str] | None = None,
    ) -> None:
        environment = environments.ENVIRONMENTS[peer.environment]
        python = sys.executable if here else str(environment.interpreter)
        if not environment.ready and not here:
            raise WorkerError(f"its environment was not built ({environment.name})")
        settings = {**variables(peer), **(more or {})}
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in end()
        self._process = subprocess.Popen(  # noqa: S603
            [python, "-m", f"benchmarks.peers.{peer.module}", "--data", str(data)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=environments.ROOT,
            env=settings,
        )
        self.pid = self._process.pid
        self.versions: dict[str, str] = {}
        self.offers: dict[str, list[str]] = {}

    def greet(self) -> None:
        """Wait until the worker is up, and read its versions and offers."""
        said = self.ask(do="hello")
        if "failed" in said:
            raise WorkerError(said["failed"])
        self.versions, self.offers = said["versions"], said["offers"]

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises
        ------
        WorkerError
            If the process has ended, or is killed because it does not answer within ``PATIENCE``.
        """
        assert self._process.stdin is not None  # noqa: S101 - opened as a pipe above
        assert self._process.stdout is not None  # noqa: S101
        line = ""
        late = threading.Timer(PATIENCE, self._process.kill)
        late.daemon = True
        late.start()
        # A worker that has already ended breaks the pipe; its last words are reported below.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        too_late = not late.is_alive()
        late.cancel()
        if not line:
            raise WorkerError(without_paths(self._last_words(too_late)))
        return dict(json.loads(without_paths(line)))

    def _last_words(self, too_late: bool) -> str:
        """Return the reason why there is no answer."""
        status = self._process.wait()
        if too_late:
            return f"gave no answer within {PATIENCE:g} s"
        self._errors.seek(0)
        said = [text for text in self._errors.read().splitlines() if text.strip()]
        return f"ended with status {status}: {said[-1][:200] if said else ''}"

    def end(self) -> None:
        """Close its input, and wait until it ends."""
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
