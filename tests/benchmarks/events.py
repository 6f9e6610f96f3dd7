"""Speed of event-driven and dense kernels, and of TensorFlow's convolution, by spike density.

Run ``python tests/benchmarks/events.py`` to print a table.
"""

from __future__ import annotations

import time

import numpy as np

from kspike_ref.kernels import convolve, matmul
from kspike_ref.kernels import events as loops
from kspike_ref.layers.events import EventConvolution, dense_limit
from kspike_ref.signals import frozen

DENSITIES = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4]
BATCH, SIDE, CHANNELS, FILTERS = 32, 28, 32, 64
ROWS, DEPTH, COLUMNS = 1000, 1024, 256


def best(function, rounds=15):
    """Return the time of the fastest of several calls, in milliseconds."""
    function()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def spikes(shape, density):
    """Return an array of zeros and spikes of 1000; ``density`` is the share of spikes."""
    x = np.random.default_rng(0).random(shape) < density
    return frozen((x * 1000.0).astype(np.float32))


def convolution(density):
    """Time a 3×3 convolution: return ms dense, ms by events, whether events pay, and the arrays."""
    x = spikes((BATCH, 1, SIDE, SIDE, CHANNELS), density)
    weights = np.random.default_rng(1).normal(size=(9 * CHANNELS, FILTERS)).astype(np.float32)
    packed = frozen(matmul.pack(weights)[None])
    geometry = np.array([[1, 3, 3], [1, 1, 1], [1, 1, 1], [0, 1, 1], [1, SIDE, SIDE]], np.intp)
    out = np.zeros((BATCH, SIDE * SIDE, FILTERS), np.float32)
    events = EventConvolution(packed, 9, CHANNELS, FILTERS)

    def by_events():
        activity = events.activity(x, geometry)
        events.convolve(x, geometry, 0, out, activity.synops)
        return events.pays(activity, geometry, BATCH)

    dense = best(lambda: convolve.convolve(x, geometry, packed, 1, out))
    return dense, best(by_events), by_events(), x[:, 0], weights.reshape(3, 3, CHANNELS, FILTERS)


def product(density):
    """Time a dense layer in the same way."""
    x = spikes((ROWS, DEPTH), density)
    kernel = np.random.default_rng(1).normal(size=(DEPTH, COLUMNS)).astype(np.float32)
    packed = frozen(matmul.pack(kernel))
    out = np.zeros((ROWS, COLUMNS), np.float32)

    def by_events():
        count = loops.count(x.reshape(-1))
        matmul.multiply_events(x, packed, out)
        return count < dense_limit(x.size, COLUMNS)

    return best(lambda: matmul.multiply(x, packed, out)), best(by_events), by_events()


def tensorflow_convolution(x, kernel):
    """Return the ms of TensorFlow's conv2d on the same arrays, or NaN without TensorFlow."""
    try:
        import tensorflow as tf
    except ImportError:
        return float("nan")
    run = tf.function(lambda a, b: tf.nn.conv2d(a, b, 1, "SAME"))
    a, b = tf.constant(x), tf.constant(kernel)
    return best(lambda: run(a, b).numpy())


def main():
    """Print the tables."""
    print("convolution: dense on one core, events on all, TensorFlow's conv2d on all; ms")
    print("| density | dense | events | TensorFlow | TensorFlow / events | events chosen |")
    print("|---|---|---|---|---|---|")
    for density in DENSITIES:
        dense, events, chosen, x, kernel = convolution(density)
        theirs = tensorflow_convolution(x, kernel)
        print(f"| {density} | {dense:.2f} | {events:.2f} | {theirs:.2f} | ", end="")
        print(f"{theirs / events:.1f} | {chosen} |")
    print("\ndense layer, both on one core; ms")
    print("| density | dense | events | dense / events | events chosen |")
    print("|---|---|---|---|---|")
    for density in DENSITIES:
        dense, events, chosen = product(density)
        print(f"| {density} | {dense:.2f} | {events:.2f} | {dense / events:.1f} | {chosen} |")


if __name__ == "__main__":
    main()
