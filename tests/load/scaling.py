"""Throughput of a spiking model on a local Dask cluster, and the time to 10⁹ images.

``python tests/load/scaling.py`` prints the table of docs/guides/scaling.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import pickle
import sys
import tempfile
import time
from pathlib import Path

import dask
import dask.array as da
import distributed
import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "ref"))

from archives import dense, input_layer, layer, sequential
from unsaved import unsaved

PIXELS, STEPS = 784, 10
RUNS = 3  # the best counts
MOST_BLOCKS = 400  # in a run
LONGEST_WAIT = 120  # seconds that a process without Dask waits for the others
# Dask's workers return freed memory to Linux at once, and arrays of blocks get new pages each time.
# Dask keeps such a variable in its own process, too: it applies to all later clusters.
KEEP_MEMORY = {"distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 1 << 25}


def network():
    """Return a network for images of 28 × 28 that are shown for ten steps: 128 spiking neurons."""
    return unsaved(
        sequential(
            input_layer(None, PIXELS),
            dense("a", 128),
            layer("SpikingActivation", "b", "kspike_tf", activation="relu", seed=0),
            layer("Lowpass", "c", "kspike_tf", return_sequences=False),
            dense("d", 10),
        )
    )


def read(path, block_info=None):
    """Return the images of one block from a file."""
    (start, stop), _ = block_info[None]["array-location"]
    return np.load(path, mmap_mode="r")[start:stop]


def alone(path, block, start, sender):
    """Send the images per second of one process without Dask, and its times, for each run.

    All processes start each run at once.
    """
    model, x, runs = network(), np.load(path, mmap_mode="r"), []
    model.num_threads = 1
    model.predict(x[:1000], timesteps=STEPS)  # compiles
    for _ in range(RUNS):
        start.wait(LONGEST_WAIT)
        began, before = time.perf_counter(), time.process_time()
        for i in range(0, len(x), block):
            model.predict(x[i : i + block], timesteps=STEPS)
        taken = time.process_time() - before
        runs.append((len(x) / (time.perf_counter() - began), 1e6 * taken / len(x)))
    sender.send(runs)


def together(path, block, count):
    """Return what `on_cluster` does for ``count`` processes without Dask.

    Raises
    ------
    EOFError
        If a process dies.
    """
    context = multiprocessing.get_context("spawn")
    start, receivers = context.Barrier(count), []
    for _ in range(count):
        receiver, sender = context.Pipe(duplex=False)
        arguments = (path, block, start, sender)
        context.Process(target=alone, args=arguments, daemon=True).start()
        sender.close()  # the process has the only other one: if it dies, recv does not wait
        receivers.append(receiver)
    return best_run([receiver.recv() for receiver in receivers])


def best_run(found):
    """Return the rate of all processes in their best common run, their mean time, and 0 for others.

    Parameters
    ----------
    found : (processes, runs, 2) array_like
        Images per second, and microseconds of processor time an image.
    """
    rates, times = np.moveaxis(np.asarray(found), -1, 0)
    best = rates.sum(axis=0).argmax()
    return rates[:, best].sum(), times[:, best].mean(), 0.0


def processor_times(processes):
    """Return the seconds of processor time that processes have taken."""
    return np.array([sum(process.cpu_times()[:2]) for process in processes])


def on_cluster(model, path, block, workers, freed=False):
    """Return images per second, and microseconds of processor time an image.

    The run of the highest rate counts, of three. Its times are those of all workers together, and
    of the process of the client and the scheduler. If ``freed``, workers keep no memory.
    """
    images = min(len(np.load(path, mmap_mode="r")), MOST_BLOCKS * block)
    chunks = da.core.normalize_chunks((block, PIXELS), (images, PIXELS))
    x = da.map_blocks(read, str(path), chunks=chunks, dtype=np.uint8, meta=np.empty((0, 0), "u1"))
    options = {"threads_per_worker": 1, "dashboard_address": ":0", "processes": True}
    runs = []
    with (
        dask.config.set({} if freed else KEEP_MEMORY),
        distributed.LocalCluster(n_workers=workers, **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.wait_for_workers(workers)
        labels = model.predict(x, timesteps=STEPS).argmax(axis=1)
        client.compute(labels[: block * workers]).result()  # starts workers and compiles
        own = [psutil.Process(), *map(psutil.Process, client.run(os.getpid).values())]
        for _ in range(RUNS):
            again = model.predict(x, timesteps=STEPS).argmax(axis=1)
            start, before = time.perf_counter(), processor_times(own)
            client.compute(again).result()
            seconds, taken = time.perf_counter() - start, processor_times(own) - before
            each = 1e6 * taken / images
            runs.append((images / seconds, each[1:].sum(), each[0]))
    if len(own) != workers + 1:
        raise RuntimeError(f"the cluster must have {workers} workers. Received: {len(own) - 1}")
    return max(runs)


def row(block, workers, rate, of_workers, of_others):
    """Print a line of the table."""
    hours = 1e9 * 1e-6 * (of_workers + of_others) / 3600
    print(
        f"| {block} | {workers} | {rate:,.0f} | {of_workers:.1f} | {of_others:.1f} | {hours:.1f} |",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--images", type=int, default=200_000)
    options = parser.parse_args()
    model = network()
    model.num_threads = 1  # in every worker too: a worker is to take one core
    size = len(pickle.dumps(model))
    print(f"model {size:,} bytes pickled, {PIXELS} bytes an image\n")
    print("| images a block | workers | images/s | workers, µs | others, µs | 10⁹ images, core h |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.npy")
        rng = np.random.default_rng(0)
        np.save(path, rng.integers(0, 256, (options.images, PIXELS), np.uint8))
        for count in (1, 2):
            row("no Dask", count, *together(path, 10_000, count))
        row("10,000, freed", 2, *on_cluster(model, path, 10_000, 2, freed=True))
        for block in (100, 1000, 10_000):
            for workers in (1, 2):
                row(f"{block:,}", workers, *on_cluster(model, path, block, workers))


if __name__ == "__main__":
    main()
