"""Worker of Nengo: its synapses, in the reference simulator and applied to an array."""

from __future__ import annotations

import pathlib

import nengo
import numpy as np

from benchmarks import works
from benchmarks.worker import Job, serve

SYNAPSES = {"lowpass": nengo.Lowpass(works.TAU), "alpha": nengo.Alpha(works.TAU)}


def _time_major(work: works.Work) -> np.ndarray:
    """Return ``(steps, batch · units)``, because Nengo has no batches."""
    x = np.swapaxes(works.rates(work), 0, 1)
    return np.ascontiguousarray(x).reshape(work.steps, -1)


def _check(work: works.Work, y: np.ndarray, delay: int = 0) -> dict[str, float]:
    batch_major = np.swapaxes(y.reshape(work.steps, work.batch, work.units), 0, 1)
    return works.check_forward(work, batch_major, delay)


def simulated(work: works.Work, _: pathlib.Path) -> Job:
    """Simulate a network of one node and one filtered probe, which is one step late."""
    x = _time_major(work)
    with nengo.Network() as network:
        node = nengo.Node(lambda t: x[min(round(t / works.DT), work.steps) - 1])
        probe = nengo.Probe(node, synapse=SYNAPSES[work.kind])
    simulator = nengo.Simulator(network, dt=works.DT, progress_bar=False)

    def call() -> np.ndarray:
        simulator.reset()
        simulator.run_steps(work.steps, progress_bar=False)
        return simulator.data[probe]

    return Job(call, lambda y: _check(work, y, delay=1))


def filtered(work: works.Work, _: pathlib.Path) -> Job:
    """Apply the synapse to an array, without a network."""
    x = _time_major(work)
    synapse = SYNAPSES[work.kind]
    return Job(lambda: synapse.filt(x, dt=works.DT, y0=0, axis=0), lambda y: _check(work, y))


MODES = {"simulator": simulated, "Synapse.filt": filtered}

if __name__ == "__main__":
    nengo.rc["precision"]["bits"] = "32"
    serve({"lowpass": MODES, "alpha": MODES}, ["nengo", "numpy"])
