"""Fuzz tests: altered models on random inputs give Keras' answer or a documented error.

A model that loads must run, or refuse the inputs with `ValueError` or `TypeError`. Its outputs must
be the same in one batch, example by example, step by step, and in Keras, if Keras takes the file.
Loading takes little time and memory, and a run no more memory than `cost` says.
"""

from __future__ import annotations

import json
import re
import time
import tracemalloc
import zipfile
import zlib
from unittest import mock

import fuzz_models
import fuzz_more_models
import fuzz_mutations
import keras
import numpy as np
import pytest

import kspike_ref
from kspike_ref.layers.temporal_cells import SpikingActivationCell

MODELS = [*fuzz_models.MODELS, *fuzz_more_models.MODELS]
KERAS_2 = [f"keras_2_{name}" for name in fuzz_more_models.KERAS_2_NAMES]
NAMES = [*(make.__name__ for make in MODELS), *KERAS_2]
EVERYDAY, SLOW = 30, 720  # altered models per seed model: 840 and 20,160 in all
SECONDS, BYTES = 5, 16 << 20  # limits of a load, far above any need, as in tests/ref/archives.py


def seed_file(name, folder):
    """Return the members of the saved file of a model."""
    path = fuzz_more_models.KERAS_2 / f"{name.removeprefix('keras_2_')}.keras"
    if name not in KERAS_2:
        path = folder / f"{name}.keras"
        fuzz_models.made({make.__name__: make for make in MODELS}[name]).save(path)
    with zipfile.ZipFile(path) as archive:
        return {member: archive.read(member) for member in archive.namelist()}


def flat(value):
    """Return the arrays in nested outputs, in order."""
    if isinstance(value, dict):
        return [array for key in sorted(value) for array in flat(value[key])]
    if isinstance(value, list | tuple):
        return [array for item in value for array in flat(item)]
    return [np.asarray(value)]


def given(arrays):
    """Return the inputs in the structure that `predict` and `step` take."""
    return arrays if len(arrays) > 1 else arrays[0]


# Layers' errors about the shapes of arrays, but not about their values or types.
MISFIT = re.compile("does not take x of shape(?!.*x must hold integers)")


def predicted(model, arrays):
    """Return the outputs, or None if the model refuses the inputs."""
    try:
        return flat(model.predict(given(arrays)))
    except (ValueError, TypeError) as error:
        # A model that loads must run: a layer may refuse only lengths that the file leaves open.
        shapes = [shape for node in model.nodes for shape in node.output_shapes]
        is_open = any(None in shape[1:] for shape in shapes)
        if not is_open and isinstance(error, ValueError) and MISFIT.search(str(error)):
            raise AssertionError("a model that loads refuses inputs of its own shapes") from error
        return None


def agree(ours, theirs, tolerance):
    """Fail unless two lists of outputs agree; without a tolerance, compare shapes and types."""
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        if one.dtype.kind == "f" and tolerance:
            scale = np.abs(other[np.isfinite(other)]).max(initial=1e-30)
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * scale)
        elif tolerance is not None:
            np.testing.assert_array_equal(one, other)


def check_examples(model, arrays, y):
    """Compare a batch with its examples one by one, bit for bit."""
    rows = len(arrays[0])
    if rows < 2 or any(len(array) != rows for array in [*arrays, *y]):
        return  # time comes first, or is folded into the batch
    for row in range(rows):
        alone = predicted(model, [array[row : row + 1] for array in arrays])
        assert alone is not None
        agree(alone, [array[row : row + 1] for array in y], 0)


def check_steps(model, arrays, y):
    """Compare a run with its steps, if the model can stream."""
    try:
        state = model.initial_state(len(arrays[0]))
    except (ValueError, TypeError):
        return
    steps = {array.shape[1] for array in arrays if array.ndim > 1}
    if len(steps) != 1 or not (count := steps.pop()):
        return
    outputs = []
    for t in range(count):
        try:
            made, state = model.step(given([array[:, t] for array in arrays]), state)
        except (ValueError, TypeError):
            return
        outputs.append(flat(made))
    for i, whole in enumerate(y):
        last = outputs[-1][i]
        if last.shape == whole.shape:
            agree([last], [whole], 1e-6)  # a mean over time is summed in another order
        else:
            agree([np.stack([made[i] for made in outputs], 1)], [whole], 1e-6)


def check_keras(path, config, arrays, y, tolerance):
    """Compare with Keras, if Keras takes the file and the inputs; return whether it did."""
    try:
        model = keras.models.load_model(path, compile=False)
        theirs = flat(model(given([keras.ops.convert_to_tensor(array) for array in arrays])))
    except Exception:
        return False
    if any("float16" in str(name) for key in ("name", "dtype") for name in settings(config, key)):
        # Keras computes in half precision, kspike_ref in float32: spikes differ.
        halves = ("float16", "bfloat16")
        theirs = [y.astype("float32") if y.dtype.name in halves else y for y in theirs]
        tolerance = None
    agree(y, theirs, tolerance)
    return True


def settings(config, key):
    """Return all values of a key in a configuration, at any depth."""
    paths = [path for path in fuzz_mutations.paths(config) if path and path[-1] == key]
    return [fuzz_mutations.at(config, path) for path in paths]


class StillVoltages:
    """Initial voltages of zero for cells without a seed, whose draws differ in each run.

    Attributes
    ----------
    used : bool
        Whether a cell asked for a voltage. Keras then draws different ones.
    """

    def __init__(self):
        self.used = False

    def patch(self):
        """Return a context in which cells start from these voltages."""
        usual = SpikingActivationCell.initial

        def initial(cell, batch, shape):
            if cell.seed is not None:
                return usual(cell, batch, shape)
            self.used = True
            return [np.zeros((batch, *cell.size))]

        return mock.patch.object(SpikingActivationCell, "initial", initial)


def loaded(path):
    """Return a model, or None if it is refused; fail if that takes long or much memory."""
    tracemalloc.start()
    start = time.process_time()
    try:
        return kspike_ref.load_model(path)
    except (kspike_ref.ArchiveError, kspike_ref.UnsupportedLayerError):
        return None
    finally:
        seconds, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert seconds < SECONDS
        assert peak < BYTES


def check_memory(model, arrays):
    """Fail if a run needs more memory than `cost` says."""
    try:
        cost = model.cost(given([array.shape for array in arrays]))
    except ValueError:  # a layer cannot infer its output shape
        return
    tracemalloc.start()
    try:
        model.predict(given(arrays))
        assert tracemalloc.get_traced_memory()[1] <= cost.bytes
    finally:
        tracemalloc.stop()


def run(path, config, members, rng):
    """Load and run an altered model; return how far it got."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, json.dumps(config) if name == "config.json" else data)
    model = loaded(path)
    if model is None:
        return "refused"
    layers = [node.layer for node in model.nodes if node.name in model.inputs]
    arrays = fuzz_mutations.inputs(layers, rng)
    if any(node.layer.class_name == "Embedding" for node in model.nodes):
        arrays = [np.abs(array) for array in arrays]  # an embedding has no rows below 0
    voltages = StillVoltages()
    with voltages.patch():
        y = predicted(model, arrays)
        if y is None:
            return "inputs refused"
        if True not in settings(config, "time_major"):
            check_examples(model, arrays, y)
        check_steps(model, arrays, y)
        check_memory(model, arrays)
    # Float32 sums in another order, and different exponentials in TensorFlow and NumPy.
    tolerance = None if voltages.used else 2e-5
    return "as in Keras" if check_keras(path, config, arrays, y, tolerance) else "ran"


def check(name, members, path, count, first=0):
    """Alter a model many times; fail at the first wrong answer."""
    config = json.loads(members["config.json"])
    seen = {}
    for number in range(first, first + count):
        rng = np.random.default_rng([zlib.crc32(name.encode()), number])
        changed = config if number % 20 == 0 else fuzz_mutations.altered(config, rng)
        try:
            how = run(path, changed, members, rng)
        except BaseException as error:
            error.add_note(f"model {name}, case {number}")
            raise
        seen[how] = seen.get(how, 0) + 1
    return seen


@pytest.mark.parametrize("name", NAMES)
def test_altered_models(name, tmp_path):
    seen = check(name, seed_file(name, tmp_path), tmp_path / "m.keras", EVERYDAY)
    # At least some of the unaltered ones; Keras 3 does not read Keras 2 models.
    assert seen["ran" if name in KERAS_2 else "as in Keras"] > EVERYDAY // 50


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_many_altered_models(name, tmp_path):
    check(name, seed_file(name, tmp_path), tmp_path / "m.keras", SLOW, EVERYDAY)
