"""Altered models on random inputs: the answer of Keras, or an error of the contract.

What loads must run, or refuse the inputs with `ValueError` or `TypeError`. What runs must answer
the same in one batch, example by example, step by step, and in Keras, where Keras takes the file.
"""

from __future__ import annotations

import json
import zipfile
import zlib

import fuzz_models
import fuzz_mutations
import keras
import numpy as np
import pytest

import kspike_ref

EVERYDAY, SLOW = 220, 1500  # altered models for each of the seeds


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return the members of the files that Keras saved, by the name of the model."""
    folder = tmp_path_factory.mktemp("seeds")
    found = {}
    for make in fuzz_models.MODELS:
        path = folder / f"{make.__name__}.keras"
        fuzz_models.made(make).save(path)
        with zipfile.ZipFile(path) as archive:
            found[make.__name__] = {name: archive.read(name) for name in archive.namelist()}
    return found


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


def predicted(model, arrays):
    """Return the outputs, or None after a refusal of the inputs."""
    try:
        return flat(model.predict(given(arrays)))
    except (ValueError, TypeError):
        return None


def agree(ours, theirs, tolerance):
    """Fail unless two lists of outputs agree."""
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        if one.dtype.kind == "f" and tolerance:
            scale = np.abs(other[np.isfinite(other)]).max(initial=1e-30)
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * scale)
        else:
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
    """Compare a run with its steps, where the model can be streamed."""
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


def check_keras(path, arrays, y):
    """Compare with Keras, where it takes the file and the inputs."""
    try:
        model = keras.models.load_model(path, compile=False)
        theirs = flat(model(given([keras.ops.convert_to_tensor(array) for array in arrays])))
    except Exception:
        return False
    # Float32 sums in another order; exponentials of TensorFlow and of NumPy.
    agree(y, theirs, 2e-5)
    return True


def settings(config, key):
    """Return what a configuration says under a key, wherever it is."""
    paths = [path for path in fuzz_mutations.paths(config) if path and path[-1] == key]
    return [fuzz_mutations.at(config, path) for path in paths]


def draws(config):
    """Return whether spiking layers draw their voltages anew in each call."""
    spiking = settings(config, "class_name").count("SpikingActivation")
    seeds = [seed for seed in settings(config, "seed") if type(seed) is int]
    return len(seeds) < spiking


def run(path, config, members, rng):
    """Load and run an altered model; return how far it came."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, json.dumps(config) if name == "config.json" else data)
    try:
        model = kspike_ref.load_model(path)
    except (kspike_ref.ArchiveError, kspike_ref.UnsupportedLayerError):
        return "refused"
    layers = [node.layer for node in model.nodes if not node.inputs]
    arrays = fuzz_mutations.inputs(layers, rng)
    y = predicted(model, arrays)
    if y is None:
        return "inputs refused"
    if "v" not in model.inputs and draws(config):
        return "drew voltages"
    if True not in settings(config, "time_major"):
        check_examples(model, arrays, y)
    check_steps(model, arrays, y)
    return "as in Keras" if check_keras(path, arrays, y) else "ran"


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


@pytest.mark.parametrize("name", [make.__name__ for make in fuzz_models.MODELS])
def test_altered_models(name, files, tmp_path):
    seen = check(name, files[name], tmp_path / "m.keras", EVERYDAY)
    assert seen["as in Keras"] > EVERYDAY // 50  # at least some of those that were not altered


@pytest.mark.slow
@pytest.mark.parametrize("name", [make.__name__ for make in fuzz_models.MODELS])
def test_many_altered_models(name, files, tmp_path):
    check(name, files[name], tmp_path / "m.keras", SLOW, EVERYDAY)
