"""Tests of the cost of importing: no TensorFlow, and no compilation in a second process."""

from processes import run

import kspike_ref

PUBLIC = [
    "ArchiveError",
    "FewSpikesWarning",
    "Layer",
    "Model",
    "Recording",
    "StatefulLayer",
    "UnsupportedLayerError",
    "alpha",
    "initial_voltage",
    "load_model",
    "lowpass",
    "register_layer",
    "spiking_activation",
]

RUN = """
import numpy as np, kspike_ref
from kspike_ref.kernels import time as loops
for dtype in ("f4", "f8"):
    for steps in (3, 300):
        x = np.ones((2, steps, 300), dtype)
        kspike_ref.spiking_activation(x, seed=0)
        kspike_ref.lowpass(np.broadcast_to(x[:, :1], x.shape), 0.1)
        kspike_ref.alpha(x, 0.1, time_major=True)
for name in ("spike", "lowpass", "alpha"):
    stats = getattr(loops, name + "_loop").stats
    print(name, sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""

BLOCKED = """
import sys
sys.modules["tensorflow"] = sys.modules["keras"] = sys.modules["scipy"] = None
import numpy as np, kspike_ref
from kspike_ref import activations
kspike_ref.spiking_activation(np.ones((1, 2, 3)))
activations.gelu(np.ones(3))
sys.modules.pop("tensorflow"), sys.modules.pop("keras")
found = [name for name in sys.modules if name.split(".")[0] in ("tensorflow", "keras", "kspike_tf")]
assert not found, found
"""


def test_public_names():
    assert kspike_ref.__all__ == PUBLIC
    assert all(hasattr(kspike_ref, name) for name in kspike_ref.__all__)


def test_neither_tensorflow_nor_keras_nor_scipy_is_imported():
    run(BLOCKED)


def test_a_second_process_compiles_nothing(tmp_path):
    first = run(RUN, NUMBA_CACHE_DIR=str(tmp_path)).splitlines()
    second = run(RUN, NUMBA_CACHE_DIR=str(tmp_path)).splitlines()
    # One variant for float32 and one for float64, whatever the layout of the input.
    assert first == ["spike 0 2", "lowpass 0 2", "alpha 0 2"]
    assert second == ["spike 2 0", "lowpass 2 0", "alpha 2 0"]
