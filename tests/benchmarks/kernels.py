"""Speed of the kernels, as a ratio to a parallel copy of the same arrays.

Run ``python tests/benchmarks/kernels.py`` to print a table.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

# The copy's threads must not spin on the cores while the next function is measured.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.peers.limits import copy
from benchmarks.works import DYNAMICS as NAMES
from benchmarks.works import SHAPES

from kspike_ref.kernels.memory import aligned
from kspike_ref.spiking import SpikingDynamics
from kspike_ref.synapses import AlphaDynamics, LowpassDynamics


def calls(shape, dtype=np.float32):
    """Return, for each name, a function without arguments that runs on arrays of that shape."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-500, 2000, shape).astype(dtype)
    out = np.empty_like(x)
    level = aligned(np.zeros((shape[0], shape[2])))  # as in the public functions
    state = aligned(np.zeros((shape[0], 2, shape[2])))
    tau = rng.uniform(0.01, 0.1, shape[2])
    spiking, lowpass = SpikingDynamics(0.001, dtype), LowpassDynamics(tau, 0.001)
    alpha = AlphaDynamics(tau, 0.001)
    return {
        "copy": lambda: copy(x.reshape(-1), out.reshape(-1)),
        "spiking": lambda: spiking.run(x, level, out),
        "lowpass": lambda: lowpass.run(x, level, out),
        "alpha": lambda: alpha.run(x, state, out),
    }


def medians(functions, rounds):
    """Return median times in seconds; the functions take turns, so that load affects all alike."""
    times = {name: [] for name in functions}
    for function in functions.values():
        function()  # compiles, and touches the memory once
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(seconds)) for name, seconds in times.items()}


def main():
    """Print the table."""
    print("| batch, steps, units | copy, ms | " + " | ".join(NAMES) + " |")
    print("|---|---|" + "---|" * len(NAMES))
    for shape in SHAPES:
        seconds = medians(calls(shape), 41 if np.prod(shape) > 1e7 else 101)
        ratios = " | ".join(f"{seconds['copy'] / seconds[name]:.2f}" for name in NAMES)
        print(f"| {', '.join(map(str, shape))} | {seconds['copy'] * 1e3:.3f} | {ratios} |")


if __name__ == "__main__":
    main()
