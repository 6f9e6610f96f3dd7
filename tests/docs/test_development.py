"""Tests that the code on the developers' page works at the places that the page names."""

import os
import shutil
import subprocess
import sys

import doc_blocks

ROOT = doc_blocks.ROOT
BLOCKS = [
    block.text
    for block in doc_blocks.blocks((doc_blocks.DOCS / "development.md").read_text())
    if block.language == "python"
]
NEW_MODULE = """
from typing import Any, ClassVar

import keras
import tensorflow as tf

Tensor = Any
"""

# Spikes of the new layer in every mode, and in kspike_ref; its kernel refuses unfit arrays.
PROGRAM = """
import keras
import numpy as np
import tensorflow as tf

import kspike_ref
import kspike_tf
from kspike_energy import ModelEnergy
from kspike_ref import warm_up
from kspike_ref.kernels import time
from kspike_tf.layers.leaky import LeakySpiking
from kspike_tf.tracing import plain_operations

layer = LeakySpiking("relu", 0.05, dt=0.001, seed=3, name="leaky")
model = keras.Sequential([keras.Input((400, 6)), layer])
x = np.random.default_rng(0).uniform(-50, 300, (3, 400, 6)).astype("float32")
spikes = layer(x).numpy()
assert spikes.any()
assert not np.array_equal(spikes, kspike_tf.SpikingActivation("relu", dt=0.001, seed=3)(x))

graph = tf.function(lambda x: layer(x))
assert np.array_equal(graph(x), spikes)
compiled = tf.function(lambda x: layer(x), jit_compile=True)
assert np.array_equal(compiled(x), spikes)
with plain_operations():
    plain = tf.function(lambda x: layer(x)).get_concrete_function(tf.TensorSpec(x.shape))
assert np.array_equal(plain(tf.constant(x)), spikes)

model.save("leaky.keras")
loaded = keras.models.load_model("leaky.keras")
assert np.array_equal(loaded.predict(x, verbose=0), spikes)
reference = kspike_ref.load_model("leaky.keras")
assert np.array_equal(reference.predict(x), spikes)
calls = [kernel for kernel, _ in warm_up._over_time(np.float32)]
assert time.leaky in calls

for version in (model, reference):
    network = ModelEnergy(version, x).network
    assert network.neurons == 2 * 6, network.neurons
"""


def append(path, text):
    path.write_text(path.read_text() + "\n\n" + text)


def replace(path, old, new):
    text = path.read_text()
    assert old in text, (path, old)
    path.write_text(text.replace(old, new, 1))


def test_a_layer_in_all_packages(tmp_path):
    for name in ("kspike-ref", "kspike-tf", "kspike-energy"):
        source = ROOT / "packages" / name / "src"
        shutil.copytree(
            source, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    loop, entry, call, layer, kernel, cell, leaky, rule = BLOCKS
    ref, tf, energy = (tmp_path / name for name in ("kspike_ref", "kspike_tf", "kspike_energy"))

    append(ref / "kernels" / "time.py", loop + "\n\n" + entry)
    replace(ref / "warm_up.py", "    yield time.spike, {", call + "    yield time.spike, {")
    append(ref / "layers" / "temporal.py", layer)

    (tf / "layers" / "leaky.py").write_text("\n\n".join([NEW_MODULE, kernel, cell, leaky]))

    append(energy / "counting" / "rules" / "units.py", rule)
    time_axis = energy / "counting" / "time_axis.py"
    replace(time_axis, "kspike_tf>TimeFolded\n", "kspike_tf>TimeFolded kspike_tf>LeakySpiking\n")

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
