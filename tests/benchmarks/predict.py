"""Table of the speed of whole models, as ratios to Keras in the same run.

python tests/benchmarks/predict.py [static|varying|one|step|conv|memory|start|beside]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import models
from benchmarks.data import classifier

IMAGES, STEPS, PIXELS = 10_000, 10, 784
BATCHES = (500, 2000, 10_000)  # one of these is the fastest for Keras


def median(function, rounds):
    """Return the median time of a call, in seconds."""
    function()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return sorted(times)[rounds // 2]


def saved(folder):
    """Save 784→128→spiking→lowpass→10; return the Keras model and the path of its file."""
    model = classifier(dt=0.001, tau=0.1, sequences=True)
    rng = np.random.default_rng(0)
    model.get_layer("hidden").kernel.assign(rng.normal(0, 3, (PIXELS, 128)))  # about 50 Hz
    path = Path(folder) / "m.keras"
    model.save(path)
    return model, path


def images(count=IMAGES):
    """Return random images."""
    return np.random.default_rng(1).random((count, PIXELS), np.float32)


def best_of_keras(model, x, rounds=3):
    """Return the time of Keras' predict at its best batch size, in seconds."""
    return min(
        median(lambda size=size: model.predict(x, batch_size=size, verbose=0), rounds)
        for size in BATCHES
    )


def measure_static(keras_model, model):
    """Time 10,000 images, each presented for 10 steps."""
    x = images()
    ours = median(lambda: model.predict(x, timesteps=STEPS), 9)
    tiled = np.repeat(x[:, None], STEPS, axis=1)
    return ours, best_of_keras(keras_model, tiled)


def measure_varying(keras_model, model):
    """Time 10,000 examples with a different image at every step."""
    x = np.random.default_rng(1).random((IMAGES, STEPS, PIXELS), np.float32)
    ours = median(lambda: model.predict(x), 5)
    return ours, best_of_keras(keras_model, x)


def measure_one(keras_model, model):
    """Time one image for 10 steps; Keras runs as a `tf.function`."""
    import tensorflow as tf

    x = images(1)
    function = tf.function(keras_model)
    tensor = tf.constant(np.repeat(x[:, None], STEPS, axis=1))
    return (
        median(lambda: model.predict(x, timesteps=STEPS), 300),
        median(lambda: function(tensor).numpy(), 100),
    )


def measure_step(model):
    """Return the time of one streaming step, in seconds."""
    x, states = images(1), [model.initial_state(1)]

    def step():
        _, states[0] = model.step(x, states[0])

    return median(step, 500)


def measure_conv(activity=0.02):
    """Time a 3×3 convolution of spikes, 32→64 channels on 32×32 positions."""
    import tensorflow as tf

    from kspike_ref.layers.conv import Conv
    from kspike_ref.running.counts import Tally

    rng = np.random.default_rng(0)
    x = np.where(rng.random((32, 32, 32, 32)) < activity, 1000, 0).astype(np.float32)
    kernel, bias = rng.normal(size=(3, 3, 32, 64)).astype(np.float32), np.zeros(64, np.float32)
    config = {"filters": 64, "kernel_size": [3, 3], "strides": [1, 1], "padding": "same"}
    layer = Conv("c", "Conv2D", config)
    layer.weights = {"kernel": kernel, "bias": bias}
    layer.prepare()

    def ours():
        layer.call(x, tally=Tally(spikes=True))

    tensor, filters = tf.constant(x), tf.constant(kernel)
    function = tf.function(lambda t: tf.nn.conv2d(t, filters, 1, "SAME") + bias)
    return median(ours, 15), median(lambda: function(tensor), 15)


def peak_memory(path, count=1_000_000):
    """Return the bytes that `predict` on a memory map adds besides its output, and one block's."""
    # VmHWM, because ru_maxrss starts at the parent's peak if that was larger
    code = f"""
import re, sys
from pathlib import Path
import numpy as np, kspike_ref
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
model = kspike_ref.load_model(sys.argv[1])
x = np.load(sys.argv[2], mmap_mode="r")
model.predict(np.ones((100, {PIXELS}), np.float32), timesteps={STEPS})
before = peak()
y = model.predict(x, timesteps={STEPS})
size = model._engine.budget.block_size((x.shape[:1] + ({STEPS}, {PIXELS}),), 2)
print(peak() - before - y.nbytes, size)
"""
    with tempfile.TemporaryDirectory() as folder:
        x = np.lib.format.open_memmap(Path(folder) / "x.npy", "w+", np.float32, (count, PIXELS))
        for first in range(0, count, 10_000):
            x[first : first + 10_000] = images()[: count - first]
        x.flush()
        del x
        out = subprocess.run(
            [sys.executable, "-c", code, path, Path(folder) / "x.npy"],
            check=True, capture_output=True, text=True,
        ).stdout.split()  # fmt: skip
    batch = int(out[1]) * (PIXELS + 128 * (1 + 2 * STEPS) + 10 * STEPS) * 4
    return int(out[0]), batch


def beside(name, folder, how):
    """Time one of the models close to the benchmark's; return seconds here and in Keras.

    Parameters
    ----------
    name : str
        One of `models.NAMES`.
    folder : path_like
        Where to save it.
    how : str
        ``"static"``, ``"varying"`` or ``"one"``.
    """
    import tensorflow as tf

    import kspike_ref

    keras_model, path = models.make(name), Path(folder) / f"{name}.keras"
    keras_model.save(path)
    model = kspike_ref.load_model(path)
    count = {"static": 10_000, "varying": 4_000, "one": 1}[how]
    count = -(-count // 10) if name == "convolutions" else count
    steps = (STEPS,) if how == "varying" else ()
    x = np.random.default_rng(1).random((count, *steps, *models.shape(name)), np.float32)
    tiled = x if steps else np.repeat(x[:, None], STEPS, axis=1)
    if how == "one":
        function, tensor = tf.function(keras_model), tf.constant(tiled)
        ours = median(lambda: model.predict(x, timesteps=STEPS), 300)
        return ours, median(lambda: function(tensor).numpy(), 100)
    ours = median(lambda: model.predict(x, timesteps=None if steps else STEPS), 5)
    return ours, best_of_keras(keras_model, tiled, 1)


def beside_all(folder):
    """Print the table of all models close to the benchmark's."""
    print("| model | static | varying | one image |\n|---|---|---|---|")
    for name, title in models.TITLES.items():
        cells = []
        for how in ("static", "varying", "one"):
            ours, theirs = beside(name, folder, how)
            cells.append(f"{theirs / ours:.1f}")
        cells[-1] += f" ({ours * 1e6:.0f} µs)"
        print(f"| {title} | {' | '.join(cells)} |", flush=True)


def start(path):
    """Time processes from start to first prediction, here and with TensorFlow, in seconds."""
    ours = (
        "import sys, numpy as np, kspike_ref\n"
        "kspike_ref.load_model(sys.argv[1]).predict(np.ones((1, 784), 'f4'), timesteps=10)\n"
    )
    theirs = (
        "import sys, numpy as np, keras, kspike_tf\n"
        "model = keras.saving.load_model(sys.argv[1])\n"
        "model(np.ones((1, 10, 784), 'f4'))\n"
    )

    def run(code):
        subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True)

    return median(lambda: run(ours), 5), median(lambda: run(theirs), 3)


def main():
    """Print the table."""
    wanted = sys.argv[1:] or [
        "static", "varying", "one", "step", "conv", "memory", "start", "beside",
    ]  # fmt: skip
    import kspike_ref

    with tempfile.TemporaryDirectory() as folder:
        keras_model, path = saved(folder)
        model = kspike_ref.load_model(path)
        rows = {
            "static": lambda: measure_static(keras_model, model),
            "varying": lambda: measure_varying(keras_model, model),
            "one": lambda: measure_one(keras_model, model),
            "conv": measure_conv,
            "start": lambda: start(path),
        }
        for name in wanted:
            if name == "beside":
                beside_all(folder)
            elif name == "step":
                print(f"one step: {measure_step(model) * 1e6:.1f} µs")
            elif name == "memory":
                ours, batch = peak_memory(path)
                print(f"memory: {ours / 1e6:.0f} MB added, {ours / batch:.2f} times one batch's")
            else:
                ours, theirs = rows[name]()
                times = f"{ours * 1e3:.3f} ms, Keras {theirs * 1e3:.2f} ms"
                print(f"{name}: {times}, ratio {theirs / ours:.1f}")


if __name__ == "__main__":
    main()
