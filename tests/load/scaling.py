"""Throughput of a spiking model on a local Dask cluster, and the time to 10⁹ images.

``python tests/load/scaling.py`` prints the table of docs/guides/scaling.md.
"""

from __future__ import annotations

import argparse
import pickle
import sys
import tempfile
import time
from pathlib import Path

import dask.array as da
import distributed
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "ref"))

from archives import dense, input_layer, layer, sequential
from unsaved import unsaved

PIXELS, STEPS = 784, 10


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


def measure(model, path, block, workers):
    """Return the images per second, best of three."""
    images = len(np.load(path, mmap_mode="r"))
    chunks = da.core.normalize_chunks((block, PIXELS), (images, PIXELS))
    x = da.map_blocks(read, str(path), chunks=chunks, dtype=np.uint8, meta=np.empty((0, 0), "u1"))
    options = {"threads_per_worker": 1, "dashboard_address": ":0", "processes": True}
    with (
        distributed.LocalCluster(workers, **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.wait_for_workers(workers)
        labels = model.predict(x, timesteps=STEPS).argmax(axis=1)
        client.compute(labels[: block * workers]).result()  # starts workers and compiles
        seconds = []
        for _ in range(3):
            again = model.predict(x, timesteps=STEPS).argmax(axis=1)
            start = time.perf_counter()
            client.compute(again).result()
            seconds.append(time.perf_counter() - start)
    return images / min(seconds)


def alone(model, path):
    """Return the images per second of one thread without Dask, best of three."""
    x, seconds = np.load(path, mmap_mode="r"), []
    for _ in range(3):
        start = time.perf_counter()
        model.predict(x, timesteps=STEPS)
        seconds.append(time.perf_counter() - start)
    return len(x) / min(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--images", type=int, default=100_000)
    options = parser.parse_args()
    model = network()
    model.num_threads = 1  # in every worker too: a worker is to take one core
    size = len(pickle.dumps(model))
    print(f"model {size:,} bytes pickled, {PIXELS} bytes an image\n")
    print("| images a block | workers | images/s | images/s and core | 10⁹ images, core hours |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.npy")
        rng = np.random.default_rng(0)
        np.save(path, rng.integers(0, 256, (options.images, PIXELS), np.uint8))
        rate = alone(model, path)
        print(f"| no Dask | 1 thread | {rate:,.0f} | {rate:,.0f} | {1e9 / rate / 3600:.1f} |")
        for block in (100, 1000, 10_000):
            for workers in (1, 2):
                rate = measure(model, path, block, workers)
                core = rate / workers
                print(
                    f"| {block:,} | {workers} | {rate:,.0f} | {core:,.0f} "
                    f"| {1e9 / core / 3600:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
