"""Soak test of long streams: functions in random chunks, models with a state step by step.

``python tests/load/soak.py --steps 1e9`` sets the neuron steps (examples × steps × units). Some
examples of every stream are run again in one call: they must have the same bits. Neither memory nor
the work of a step may grow: Python's calls in a step and the size of the state stay the same. Times
are only printed, as they depend on the machine and its other processes.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "ref"))

from soak_models import MODELS, model_of

import kspike_ref

BLOCK = 100  # steps drawn together
WATCHED = 3  # examples that are run again in one call
GROWTH = 48  # MiB that the process may grow: blocks of inputs and outputs come and go
OBJECTS = 400  # Python's memory blocks, which it keeps for reuse: more while lengths are new
LEAST = 11  # blocks of a stream: a step that leaks one object leaves 500 in the second half
RESTING = 0.05  # share of steps at which an example is all 0, which masks leave out


@dataclass
class Stream:
    """Results of a stream.

    Attributes
    ----------
    name : str
        Name of the layer.
    neuron_steps : int
        Examples × steps × units.
    early, late : float
        Shortest time of a neuron step in each half of the stream, in seconds.
    grew : float
        MiB by which the process grew in the second half.
    objects : int
        Python memory blocks that the second half left behind.
    work : tuple of tuple of int
        Python calls in one step and bytes of the state, after one block and at the end.
    """

    name: str
    neuron_steps: int
    early: float
    late: float
    grew: float
    objects: int
    work: tuple[tuple[int, int], tuple[int, int]]

    def check(self):
        """Fail if memory or the work of a step grew."""
        if self.grew > GROWTH or self.objects > OBJECTS or self.work[0] != self.work[1]:
            raise AssertionError(f"memory or the work of a step grew: {self}")

    def __str__(self):
        calls, state = self.work[1]
        return (
            f"{self.name:32} {self.neuron_steps:>13,} neuron steps, "
            f"{self.early * 1e9:.3g} then {self.late * 1e9:.3g} ns each, "
            f"memory {self.grew:+.1f} MiB, {self.objects:+} objects, "
            f"{calls} calls a step, {state:,} bytes of state (at first {self.work[0]})"
        )


def spike(x, state):
    start = {"seed": 1} if state is None else {"initial_voltage": state}
    return kspike_ref.spiking_activation(x, **start)


def lowpass(x, state):
    return kspike_ref.lowpass(x, 0.02, initial_level=0.0 if state is None else state)


def alpha(x, state):
    return kspike_ref.alpha(x, 0.02, initial_level=0.0 if state is None else state)


FUNCTIONS = {"spiking_activation": spike, "lowpass": lowpass, "alpha": alpha}
FUNCTION_SHAPE, EXAMPLES = (16, 512), 64  # examples and units; examples of a model


def blocks(shape, steps):
    """Yield the inputs of a stream, the same ones each time."""
    for start in range(0, steps, BLOCK):
        rng = np.random.Generator(np.random.Philox(key=start))
        size = min(BLOCK, steps - start)
        x = rng.standard_normal((shape[0], size, shape[1]), np.float32) * 300
        x[rng.random(x.shape[:2]) < RESTING] = 0
        yield x


def resident():
    """Return the memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Watch:
    """Memory and the work of a step: at the start, middle and end of a stream."""

    def __init__(self, chunk):
        self._chunk = chunk
        self.grew, self.objects = [], []
        self.work = []

    def look(self, x, state):
        """Record the memory, the calls of one step, and the bytes of its state."""
        calls = 0

        def count(frame, event, argument):
            nonlocal calls
            calls += event in ("call", "c_call")

        step = np.ascontiguousarray(x[:, :1])
        self._chunk(step, state)  # one-time work for this shape is not counted
        before = sys.getprofile()
        gc.disable()  # a collection may call functions too
        sys.setprofile(count)
        try:
            _, after = self._chunk(step, state)
        finally:
            sys.setprofile(before)
            gc.enable()
        self.work.append((calls, size(after)))
        del after, step
        gc.collect()
        self.grew.append(resident())
        self.objects.append(sys.getallocatedblocks())


def size(state):
    """Return the bytes of a state: an array, or arrays in a dict of tuples."""
    if isinstance(state, np.ndarray):
        return state.nbytes
    values = state.values() if isinstance(state, dict) else state
    return sum(map(size, values))


def stream(name, chunk, shape, neuron_steps, *, reduces=False):
    """Stream through a layer; fail if it differs from one run, or if memory or work grow.

    Parameters
    ----------
    name : str
        Name of the layer.
    chunk : callable
        Takes inputs and a state, None at first; returns outputs and a state.
    shape : tuple of int
        Examples and units.
    neuron_steps : int
        Approximate number of neuron steps.
    reduces : bool
        Whether a run returns only its last output, instead of those of all steps.
    """
    steps = max(LEAST * BLOCK, neuron_steps // (shape[0] * shape[1]))
    rng, state, kept = np.random.default_rng(0), None, None
    seconds, watch = np.zeros(-(-steps // BLOCK)), Watch(chunk)  # per neuron step, by block
    for i, x in enumerate(blocks(shape, steps)):
        for start, part in parts(x, rng):
            began = time.process_time()
            y, state = chunk(part, state)
            seconds[i] += (time.process_time() - began) / x.size
            if part.shape[1] == 0:
                continue
            if kept is None:  # allocate it all at once, so that only leaks grow
                kept = np.full((WATCHED, steps, *y.shape[2:]), np.nan, y.dtype)
            at = i * BLOCK + start
            kept[:, at : at + part.shape[1]] = y[:WATCHED]
        if i in (0, len(seconds) // 2, len(seconds) - 1):
            watch.look(x, state)
    whole = np.concatenate([x[:WATCHED] for x in blocks(shape, steps)], axis=1)
    compare(name, kept, chunk, whole, reduces=reduces)
    half = len(seconds) // 2
    found = Stream(
        name,
        steps * shape[0] * shape[1],
        seconds[1:half].min(),
        seconds[half:].min(),
        watch.grew[-1] - watch.grew[-2],
        watch.objects[-1] - watch.objects[-2],
        (watch.work[0], watch.work[-1]),
    )
    found.check()
    return found


def parts(x, rng):
    """Yield parts of random length and their start; some are empty."""
    cuts = np.sort(rng.integers(0, x.shape[1], 4))
    yield from zip([0, *cuts], np.split(x, cuts, axis=1), strict=True)


def compare(name, kept, chunk, whole, *, reduces):
    """Fail if the outputs of a stream differ from those of one run."""
    steps = whole.shape[1]
    ends = [steps // 3, steps // 2, steps] if reduces else [steps]
    for end in ends:
        again, _ = chunk(whole[:, :end], None)
        mine = kept[:, end - 1] if reduces else kept
        if mine.tobytes() != again.tobytes():
            raise AssertionError(f"{name}: a stream of {end} steps differs from one run")


def stepper(model, units):
    """Return a function that streams through a model step by step."""

    def chunk(x, state):
        x = x.reshape(*x.shape[:2], *units)
        if state is None and x.shape[1] > BLOCK:
            return model.predict(x), None  # the comparison run, in one call
        state = model.initial_state(len(x)) if state is None else state
        outputs = []
        for t in range(x.shape[1]):
            y, state = model.step(x[:, t], state)
            outputs.append(y)
        return np.stack(outputs, axis=1) if outputs else None, state

    return chunk


def soak(neuron_steps, report=lambda line: None):
    """Stream through all functions and models; return a list of `Stream`.

    Nine tenths of the steps go through the functions, which take chunks.
    """
    found = []
    for name, function in FUNCTIONS.items():
        found.append(stream(name, function, FUNCTION_SHAPE, int(0.3 * neuron_steps)))
        report(found[-1])
    share = int(0.1 * neuron_steps / len(MODELS))
    for name, entry in MODELS.items():
        chunk = stepper(model_of(entry), entry.units)
        shape = (EXAMPLES, int(np.prod(entry.units)))
        found.append(stream(name, chunk, shape, share, reduces=entry.reduces))
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
