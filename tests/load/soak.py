"""Long streams: functions in chunks of random size, and models with a state step by step.

``python tests/load/soak.py --steps 1e9`` runs so many neuron steps (examples × steps × units).
Some examples of every stream are run again at once: they must have the same bits. Memory and the
time of a step must not grow. Convolutional and stacked recurrent layers are left out, and so are
layers that return the last step only.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "ref"))

from archives import input_layer, layer, sequential
from unsaved import unsaved

import kspike_ref

BLOCK = 100  # steps that are drawn at once
WATCHED = 3  # examples that are run again at once
GROWTH = 48  # MiB: blocks of inputs and their outputs come and go
SLOWER = 3  # a step that goes through those before it is slower by more in a stream of 16 blocks


@dataclass
class Stream:
    """What came of a stream: neuron steps, seconds a step early and late, MiB that memory grew."""

    name: str
    neuron_steps: int
    early: float
    late: float
    grew: float

    def check(self, *, timed):
        """Fail if memory grew, or if steps became slower and ``timed`` is true."""
        if self.grew > GROWTH or (timed and self.late > SLOWER * self.early):
            raise AssertionError(f"memory or the time of a step grew: {self}")

    def __str__(self):
        return (
            f"{self.name:20} {self.neuron_steps:>14,} neuron steps, "
            f"{self.early * 1e9:.2f} then {self.late * 1e9:.2f} ns each, "
            f"memory {self.grew:+.1f} MiB"
        )


def spike(x, state):
    start = {"seed": 1} if state is None else {"initial_voltage": state}
    return kspike_ref.spiking_activation(x, **start)


def lowpass(x, state):
    return kspike_ref.lowpass(x, 0.02, initial_level=0.0 if state is None else state)


def alpha(x, state):
    return kspike_ref.alpha(x, 0.02, initial_level=0.0 if state is None else state)


FUNCTIONS = {"spiking_activation": spike, "lowpass": lowpass, "alpha": alpha}
FUNCTION_SHAPE, MODEL_SHAPE = (16, 512), (64, 16)  # examples and units

MODELS = {
    "SpikingActivation": [layer("SpikingActivation", "a", "kspike_tf", activation="relu", seed=1)],
    "Lowpass": [layer("Lowpass", "a", "kspike_tf")],
    "Alpha": [layer("Alpha", "a", "kspike_tf")],
    "SimpleRNN": [layer("SimpleRNN", "a", units=16, return_sequences=True)],
    "LSTM": [layer("LSTM", "a", units=16, return_sequences=True)],
    "GRU": [layer("GRU", "a", units=16, return_sequences=True, reset_after=True)],
}


def blocks(shape, steps):
    """Yield the inputs of a stream, the same each time."""
    for start in range(0, steps, BLOCK):
        rng = np.random.Generator(np.random.Philox(key=start))
        size = min(BLOCK, steps - start)
        yield rng.standard_normal((shape[0], size, shape[1]), np.float32) * 300


def resident():
    """Return the memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def stream(name, chunk, shape, neuron_steps):
    """Stream through a layer; fail if it differs from one run, or if memory or time grow.

    Parameters
    ----------
    name : str
        Of the layer.
    chunk : callable
        Takes inputs and a state, None at first; returns outputs and a state.
    shape : tuple of int
        Examples and units.
    neuron_steps : int
        How many, about.
    """
    steps = max(4 * BLOCK, neuron_steps // (shape[0] * shape[1]))
    rng, state, kept = np.random.default_rng(0), None, []
    times, before = [], 0.0
    for i, x in enumerate(blocks(shape, steps)):
        cuts = np.sort(rng.integers(0, x.shape[1], 4))
        seconds, parts = 0.0, []
        for part in np.split(x, cuts, axis=1):
            start = time.process_time()
            y, state = chunk(part, state)
            seconds += time.process_time() - start
            parts.append(y[:WATCHED])
        times.append(seconds / x.size)
        kept.append(np.concatenate(parts, axis=1))
        if i == 1:
            before = resident() - sum(y.nbytes for y in kept) / 2**20
    grew = resident() - before - sum(y.nbytes for y in kept) / 2**20
    whole = np.concatenate([x[:WATCHED] for x in blocks(shape, steps)], axis=1)
    again, _ = chunk(whole, None)
    if np.concatenate(kept, axis=1).tobytes() != again.tobytes():
        raise AssertionError(f"{name}: a stream of {steps} steps differs from one run")
    half = len(times) // 2
    early, late = min(times[1:half]), min(times[half:])  # what other processes leave of a core
    found = Stream(name, steps * shape[0] * shape[1], early, late, grew)
    found.check(timed=len(times) >= 16)
    return found


def stepper(model):
    """Return a function that streams through a model, one step after the other."""

    def chunk(x, state):
        if state is None and x.shape[1] > BLOCK:
            return model.predict(x), None  # the run at once
        state = model.initial_state(len(x)) if state is None else state
        outputs = []
        for t in range(x.shape[1]):
            y, state = model.step(x[:, t], state)
            outputs.append(y)
        return np.stack(outputs, axis=1) if outputs else np.zeros_like(x), state

    return chunk


def soak(neuron_steps, report=lambda line: None):
    """Stream through all functions and models; return a list of `Stream`.

    Nine tenths of the steps go through the functions, which take chunks.
    """
    found = []
    for name, function in FUNCTIONS.items():
        found.append(stream(name, function, FUNCTION_SHAPE, int(0.3 * neuron_steps)))
        report(found[-1])
    for name, items in MODELS.items():
        model = unsaved(sequential(input_layer(None, MODEL_SHAPE[1]), *items))
        share = int(0.1 * neuron_steps / len(MODELS))
        found.append(stream(f"step of {name}", stepper(model), MODEL_SHAPE, share))
        report(found[-1])
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--steps", type=float, default=1e9, help="neuron steps in all")
    options = parser.parse_args()
    start = time.perf_counter()
    found = soak(int(options.steps), lambda line: print(line, flush=True))
    total = sum(one.neuron_steps for one in found)
    seconds = time.perf_counter() - start
    print(f"{total:,} neuron steps in {seconds:.0f} s: the bits of one run, without growth")


if __name__ == "__main__":
    main()
