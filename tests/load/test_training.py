"""Tests of training that is killed and resumed, and of training in two processes."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.slow  # takes minutes: many processes start TensorFlow

# Trains four epochs of eight batches, fully seeded. After the batch in the second argument, the
# process kills itself; 0 means never.
TRAINER = """
import json, os, signal, sys
import keras, numpy as np, tensorflow as tf
import kspike_tf

folder, killed_after = sys.argv[1], int(sys.argv[2])
keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
x = rng.uniform(0, 300, (64, 10, 6)).astype("float32")
labels = rng.integers(0, 3, 64)
data = tf.data.Dataset.from_tensor_slices((x, labels)).batch(8)

model = keras.Sequential([
    keras.Input((10, 6)),
    keras.layers.Dense(16),
    kspike_tf.SpikingActivation("relu", dt=0.01, seed=1),
    kspike_tf.Lowpass(0.1, dt=0.01),
    kspike_tf.Alpha(0.05, dt=0.01, return_sequences=False),
    keras.layers.Dense(3),
])
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))

class Log(keras.callbacks.Callback):
    batches = 0
    def on_train_batch_end(self, batch, logs=None):
        Log.batches += 1
        if Log.batches == killed_after:
            os.kill(os.getpid(), signal.SIGKILL)
    def on_epoch_end(self, epoch, logs):
        with open(f"{folder}/losses", "a") as file:
            print(json.dumps([epoch, float(logs["loss"])]), file=file, flush=True)

model.fit(
    data, epochs=4, verbose=0,
    callbacks=[keras.callbacks.BackupAndRestore(f"{folder}/backup"), Log()],
)
np.savez(f"{folder}/weights.npz", *model.get_weights())
"""


def train(folder, killed_after=0):
    """Run the trainer; return its exit status."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", TRAINER, str(folder), str(killed_after)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr[-3000:]
    return done.returncode


def losses(folder):
    return [json.loads(line) for line in (folder / "losses").read_text().splitlines()]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
def test_a_trainer_killed_in_mid_epoch_goes_on(tmp_path):
    """The losses equal those of an undisturbed run: the interrupted epoch runs again."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train(whole) == 0
    assert train(cut, killed_after=2 * 8 + 5) == -signal.SIGKILL
    assert [epoch for epoch, _ in losses(cut)] == [0, 1]
    assert train(cut) == 0
    assert losses(cut) == losses(whole)
    with np.load(whole / "weights.npz") as one, np.load(cut / "weights.npz") as other:
        assert all(np.array_equal(one[name], other[name]) for name in one)


WORKER = """
import json, os, sys
import keras, numpy as np, tensorflow as tf
import kspike_tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()
spiking = [
    kspike_tf.SpikingActivation("relu", dt=0.01, seed=1),
    kspike_tf.Lowpass(0.1, dt=0.01, return_sequences=False),
]
with strategy.scope():
    inner = spiking if sys.argv[1] == "spiking" else [keras.layers.Flatten()]
    model = keras.Sequential([keras.Input((10, 6)), *inner, keras.layers.Dense(3)])
    model.compile("sgd", "mse")
x = np.random.default_rng(0).uniform(0, 300, (16, 10, 6)).astype("float32")
model.fit(x, np.zeros((16, 3), "float32"), batch_size=8, epochs=1, verbose=0)
print("trained", strategy.num_replicas_in_sync, flush=True)
"""


def free_ports(count):
    """Return free ports below the ephemeral range, from which others might take them first.

    That range starts at 32768 on Linux and at 49152 elsewhere. TensorFlow takes no open socket.
    """
    found = []
    for port in random.SystemRandom().sample(range(20_000, 30_000), 200):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"of 200 ports, fewer than {count} are free")


@pytest.mark.parametrize("model", ["spiking", "plain"])
def test_two_workers(model):
    """Keras 3 on TensorFlow does not train in several processes, whatever the layers are.

    If this test fails because training works, the limit is gone: see docs/guides/scaling.md.
    """
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    processes = []
    for index in range(2):
        task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        environment = os.environ | {"TF_CONFIG": json.dumps(task), "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, "-c", WORKER, model]
        options = {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        processes.append(subprocess.Popen(command, text=True, **options))
    try:
        ends = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (out, errors) in zip(processes, ends, strict=True):
        assert process.returncode == 1, (out, errors[-2000:])
        assert "ValueError: Attempt to convert a value (PerReplica" in errors
        assert "unsupported type" in errors
