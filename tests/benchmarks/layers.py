"""Plain Keras layers with the same dynamics as ours, and measurements of both."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from keras import ops

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.peers._keras import StepTimes

import kspike_tf

SHAPES = [(32, 100, 128), (32, 1000, 128), (128, 100, 1024)]
DT = 0.001
TAU = 0.1


class PlainSpiking(keras.layers.Layer):
    """Integrate-and-fire cell in float32, with a straight-through gradient."""

    def __init__(self, units):
        super().__init__()
        self.units = self.state_size = units

    def call(self, x, states):
        rates = ops.relu(x)
        voltage = states[0] + ops.stop_gradient(rates) * DT
        count = ops.floor(voltage)
        return rates + ops.stop_gradient(count / DT - rates), [voltage - count]


class PlainLowpass(keras.layers.Layer):
    """Lowpass filter cell in float32."""

    parts = 1

    def __init__(self, units):
        super().__init__()
        self.units = units
        self.state_size = [units] * self.parts

    def build(self, _):
        self.level = self.add_weight(shape=(1, self.units), initializer="zeros")
        self.tau = self.add_weight(
            shape=(1, self.units), initializer=keras.initializers.Constant(TAU)
        )

    def get_initial_state(self, batch_size):
        level = ops.tile(self.level, (batch_size, 1))
        return [level, *[ops.zeros_like(level)] * (self.parts - 1)]

    def call(self, x, states):
        decay = ops.exp(-DT / ops.maximum(self.tau, 1e-8))
        y = decay * states[0] + (1 - decay) * x
        return y, [y]


class PlainAlpha(PlainLowpass):
    """Alpha filter cell in float32."""

    parts = 2

    def call(self, x, states):
        y, p = states
        s = DT / ops.maximum(self.tau, 1e-8)
        e = ops.exp(-s)
        out = e * (s * p + (1 + s) * y) + (1 - e * (1 + s)) * x
        return out, [out, e * ((1 - s) * p - s * y + s * x)]


PLAIN = {"spiking": PlainSpiking, "lowpass": PlainLowpass, "alpha": PlainAlpha}
OURS = {
    "spiking": lambda: kspike_tf.SpikingActivation("relu", dt=DT, seed=0),
    "lowpass": lambda: kspike_tf.Lowpass(TAU, dt=DT),
    "alpha": lambda: kspike_tf.Alpha(TAU, dt=DT),
}


def plain(kind, units):
    """Return a plain layer of a kind."""
    return keras.layers.RNN(PLAIN[kind](units), return_sequences=True)


def ours(kind, _units=None):
    """Return the package's layer of a kind."""
    return OURS[kind]()


def inputs(shape):
    """Return firing rates of that shape."""
    return tf.constant(np.random.default_rng(0).uniform(0, 200, shape).astype(np.float32))


def training_step(layer, units, jit_compile=False, signature=None):
    """Return a function that runs a forward and a backward pass on an input."""
    layer(tf.zeros([1, 2, units]))

    @tf.function(jit_compile=jit_compile, input_signature=signature)
    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.square(layer(x)))
        return tape.gradient(loss, [x, *[v.value for v in layer.trainable_variables]])

    return step


def call(step, x):
    """Return a function without arguments that runs one step.

    On a CPU, TensorFlow returns when the step is done. (Reading the result would take as long as a
    fifth of our smallest step.)
    """
    return lambda: step(x)


def classifier(between):
    """Return 784→128→…→10 over time, to train on images that are presented for several steps."""
    model = keras.Sequential(
        [
            keras.Input((None, 784)),
            keras.layers.Dense(128),
            *between,
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    return model


def fit_seconds_a_step(models, batches, rounds, batch=32, steps=10):
    """Return each model's median time of a training step in seconds; epochs take turns."""
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (batch * batches, 1, 784)).astype(np.float32)
    x, y = np.repeat(images, steps, axis=1), rng.integers(0, 10, batch * batches)
    seconds = {name: [] for name in models}
    for turn in range(rounds + 1):
        for name, model in models.items():
            times = StepTimes()
            model.fit(x, y, batch_size=batch, verbose=0, callbacks=[times])
            if turn:  # the first round traces
                seconds[name].extend(np.diff(times.begun))
    return {name: float(np.median(each)) for name, each in seconds.items()}


class ManyLengths(keras.utils.PyDataset):
    """Batches, each of a different length; the last one is partial."""

    def __init__(self, lengths, units, batch=32):
        super().__init__()
        self.shapes = [(batch, steps, units) for steps in lengths]
        self.shapes.append((batch // 3, *self.shapes[-1][1:]))

    def __len__(self):
        return len(self.shapes)

    def __getitem__(self, index):
        x = inputs(self.shapes[index]).numpy()
        return x, x


def epoch_seconds(layer, data):
    """Return the time to the end of the first epoch, compilation included, in seconds."""
    model = keras.Sequential([keras.Input((None, data.shapes[0][2])), layer])
    model.compile("sgd", "mse")
    times, start = StepTimes(), time.perf_counter()
    model.fit(data, verbose=0, shuffle=False, callbacks=[times])
    return times.ended - start


def traces_seconds(layer, data):
    """Return the time of a function that TensorFlow traces anew for every shape, in seconds."""
    step = training_step(layer, data.shapes[0][2])
    start = time.perf_counter()
    for shape in data.shapes:
        call(step, inputs(shape))()
    return time.perf_counter() - start


def peak_over_output(kind, shape):
    """Return the peak memory that a training step adds in a new process, divided by its output."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    code = f"import layers; print(layers._peak_here({kind!r}, {shape!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    return float(done.stdout)


def _peak_here(kind, shape):
    units = shape[2]
    signature = [tf.TensorSpec([None, None, units])]
    step = training_step(OURS[kind](), units, signature=signature)
    x = inputs(shape)
    for _ in range(3):
        call(step, inputs((4, 10, units)))()
    # Reset the peak to what is resident now (Linux).
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    call(step, x)()
    return (_status("VmHWM") - before) / (x.numpy().nbytes / 1024)


def _status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1])
