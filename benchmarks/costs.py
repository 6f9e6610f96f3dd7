"""Costs besides the work itself: import time, installed size, first calls, memory.

All are measured in processes that do nothing else.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks import environments
from benchmarks.contestants import PEERS
from benchmarks.process import Process, WorkerError
from benchmarks.works import DYNAMICS, QUICK_SHAPES, SHAPES, Work

IMPORTS = {
    "kspike_ref": ("kspike-ref", "kspike_ref"),
    "kspike_energy": ("kspike-ref", "kspike_energy"),
    "kspike_tf": ("kspike-tf", "kspike_tf"),
    "KerasSpiking 0.3.0": ("keras-spiking", "keras_spiking"),
    "ONNX Runtime": ("onnx", "onnxruntime"),
    "snnTorch": ("torch", "snntorch"),
    "Norse": ("torch", "norse.torch"),
    "SpikingJelly": ("torch", "spikingjelly.activation_based.neuron"),
    "Sinabs": ("torch", "sinabs.layers"),
    "Nengo": ("filters", "nengo"),
    "SciPy signal": ("filters", "scipy.signal"),
}
SIZES = {
    "kspike_ref + kspike_energy": "kspike-ref",
    "kspike_tf + kspike_energy": "kspike-tf",
    "KerasSpiking 0.3.0": "keras-spiking",
    "ONNX Runtime + onnx": "onnx",
    "snnTorch, Norse, SpikingJelly, Sinabs": "torch",
    "Nengo, SciPy": "filters",
}
FIRST_CALLS = {
    "spiking": (
        ("kspike_ref", "", "cold"),
        ("kspike_ref", "", "warm"),
        ("kspike_tf", "tf.function", ""),
        ("keras_spiking", "tf.function", ""),
        ("snn_torch", "", ""),
        ("norse_torch", "", ""),
        ("spiking_jelly", "", ""),
        ("sinabs_torch", "", ""),
    ),
    "one-image": (
        ("kspike_ref", "", "cold"),
        ("kspike_ref", "", "warm"),
        ("kspike_tf", "tf.function", ""),
        ("keras_spiking", "tf.function", ""),
        ("onnx_runtime", "", ""),
    ),
}
MEMORY_PEERS = (
    ("kspike_ref", ""),
    ("kspike_tf", "tf.function"),
    ("plain_keras", "tf.function"),
    ("keras_spiking", "tf.function"),
    ("snn_torch", ""),
    ("norse_torch", ""),
    ("spiking_jelly", ""),
    ("sinabs_torch", ""),
)
MEMORY_KINDS = (*DYNAMICS, *(f"{kind}-gradient" for kind in DYNAMICS))
# TensorFlow's own allocator keeps freed memory, and would hide the peak of the next call.
KEEP_NOTHING = {"TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "1"}
NAMES = ("costs.import", "costs.size", "costs.first-call", "costs.memory")


def names(quick: bool) -> tuple[str, ...]:
    """Return the names of the costs that are measured."""
    return ("costs.import",) if quick else NAMES


def measure(name: str, data: pathlib.Path, rounds: int, quick: bool) -> dict[str, Any]:
    """Measure one of ``NAMES``.

    Parameters
    ----------
    name : str
        Name of the cost.
    data : pathlib.Path
        The folder with prepared images, weights and models.
    rounds : int
        Number of alternating runs.
    quick : bool
        Whether to use tiny sizes, in this interpreter.

    Returns
    -------
    dict
        The raw result, with ``entries``.
    """
    start = time.monotonic()
    if name == "costs.import":
        entries = import_times(rounds, quick)
    elif name == "costs.size":
        entries = sizes()
    elif name == "costs.first-call":
        entries = first_calls(data, rounds, quick)
    else:
        entries = memory(data, quick)
    took = round(time.monotonic() - start, 1)
    return {"when": time.strftime("%Y-%m-%d %H:%M"), "took": took, "entries": entries}


def _python(environment: str, quick: bool) -> str | None:
    if quick:
        return sys.executable
    built = environments.ENVIRONMENTS[environment]
    return str(built.interpreter) if built.ready else None


def _clean(**more: str) -> dict[str, str]:
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **more}


def import_times(rounds: int, quick: bool) -> list[dict[str, Any]]:
    """Time imports in fresh processes, in turns, less the time of an empty process."""
    entries = []
    for title, (environment, module) in IMPORTS.items():
        if quick and title != module:  # only kspike's own packages are known to be installed
            continue
        python = _python(environment, quick)
        # The first import is not timed: it warms the disk cache.
        if python and (quick or _run([python, "-c", f"import {module}"]) is not None):
            entries.append({"peer": title, "python": python, "module": module, "rounds": []})
    for _ in range(rounds):
        for entry in entries:
            empty = _run([entry["python"], "-c", "pass"])
            full = _run([entry["python"], "-c", f"import {entry['module']}"])
            if empty is not None and full is not None:
                entry["rounds"].append(full - empty)
    return [{key: entry[key] for key in ("peer", "module", "rounds")} for entry in entries]


def _run(command: list[str]) -> float | None:
    """Return how long a process takes, or ``None`` if it fails."""
    start = time.perf_counter()
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, check=False, env=_clean(), cwd=environments.FOLDER.parent
    )
    return time.perf_counter() - start if done.returncode == 0 else None


def folder_size(folder: pathlib.Path) -> int:
    """Return the bytes of all regular files below a folder."""
    return sum(
        path.lstat().st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    )


def sizes() -> list[dict[str, Any]]:
    """Return the bytes that environments add to an empty one, with all dependencies."""
    empty = environments.ENVIRONMENTS["empty"]
    if not empty.ready:
        return []
    base = folder_size(empty.folder)
    entries = []
    for title, name in SIZES.items():
        environment = environments.ENVIRONMENTS[name]
        if environment.ready:
            # A package installed in place is not in the environment's folder.
            in_place = [p for p in environment.packages if p.startswith("packages/")]
            sources = sum(folder_size(environments.ROOT / path / "src") for path in in_place)
            added = folder_size(environment.folder) + sources - base
            entries.append({"peer": title, "bytes": added})
    return entries


def first_calls(data: pathlib.Path, rounds: int, quick: bool) -> list[dict[str, Any]]:
    """Time processes from their start to their first result."""
    entries: list[dict[str, Any]] = []
    for kind, contestants in FIRST_CALLS.items():
        shape = SHAPES[0] if kind == "spiking" else (1, 10, 784)
        work = json.dumps(dataclasses.asdict(Work("first", kind, *shape)))
        for peer, mode, cache in contestants:
            python = _python(PEERS[peer].environment, quick)
            if python:
                command = [python, "-m", f"benchmarks.peers.{peer}", "--data", str(data)]
                command += ["--once", work, mode]
                entries.append({"kind": kind, "peer": peer, "cache": cache, "command": command})
    for entry in entries:
        entry["rounds"] = []
        if entry["cache"] != "cold":
            _first_result(entry["command"], {})  # warms the disk cache and Numba's cache
    for _ in range(rounds):
        for entry in entries:
            with tempfile.TemporaryDirectory() as empty:
                more = {"NUMBA_CACHE_DIR": empty} if entry["cache"] == "cold" else {}
                took = _first_result(entry["command"], more)
            if took is not None:
                entry["rounds"].append(took)
    return [{key: e[key] for key in ("kind", "peer", "cache", "rounds")} for e in entries]


def _first_result(command: list[str], more: dict[str, str]) -> float | None:
    start = time.perf_counter()
    with subprocess.Popen(  # noqa: S603
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_clean(**more),
        cwd=environments.ROOT,
    ) as process:
        said = process.stdout.readline() if process.stdout else b""
        took = time.perf_counter() - start
    return took if said.strip() == b"done" else None


def memory(data: pathlib.Path, quick: bool) -> list[dict[str, Any]]:
    """Return the peak memory that one call adds after warm-up, layer by layer."""
    entries = []
    for peer, mode in MEMORY_PEERS:
        try:
            process = Process(PEERS[peer], data, here=quick, more=KEEP_NOTHING)
        except WorkerError:
            continue
        try:
            process.greet()
            entries += [
                {"kind": kind, "peer": peer, "mode": mode, **_peak(process, kind, mode, quick)}
                for kind in MEMORY_KINDS
                if mode in process.offers.get(kind, [])
            ]
        except WorkerError as error:
            entries.append({"kind": "", "peer": peer, "mode": mode, "failed": str(error)})
        finally:
            process.end()
    return entries


def _peak(process: Process, kind: str, mode: str, quick: bool) -> dict[str, Any]:
    work = Work("memory", kind, *(QUICK_SHAPES if quick else SHAPES)[-1])
    said = process.ask(do="prepare", work=dataclasses.asdict(work), mode=mode)
    if "failed" not in said:
        said = process.ask(do="memory", name=work.name, mode=mode)
    process.ask(do="forget")
    return {"output": 4 * work.batch * work.steps * work.units, **said}
