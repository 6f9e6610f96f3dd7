"""Fuzz tests of archives: a clear error or a correct model, never a crash or a wrong answer.

The tests mutate four small models saved by Keras 5,100 times: the bytes of the archive, the
weights inside a valid archive, and the configuration inside a valid archive.
"""

import copy
import io
import json
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from archives import SECONDS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kspike_ref

MODELS = Path(__file__).parents[1] / "golden" / "models"
RNG = np.random.default_rng(0)
INPUTS = {
    "spiking": RNG.normal(size=(2, 7, 4)).astype(np.float32),
    "convolutional": RNG.normal(size=(2, 6, 6, 2)).astype(np.float32),
    "recurrent": np.arange(10).reshape(2, 5) % 7,
    "masked": RNG.normal(size=(2, 7, 4)).astype(np.float32) * [[[1]], [[0]]],
}
DATA = {name: (MODELS / f"{name}.keras").read_bytes() for name in INPUTS}
# The everyday run takes two models; the others only add errors in rarer layers.
NAMES = [
    "spiking",
    "convolutional",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("recurrent", "masked")),
]
# Values that a configuration may not expect.
ODD = [
    None, True, -1, 0, 1, 3, 2**31, 2**63, 10**30, 1e308, -1.5, 0.5, float("nan"), float("inf"),
    "", "x", "relu", "float64", "mixed_float16", "../../etc/passwd", "a" * 1000,
    [], [1], [[]], [None] * 3, [2**40] * 4, {}, {"a": 1},
]  # fmt: skip

FUZZ = settings(
    deadline=None,  # the time is checked below, for this process alone
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    database=None,
    derandomize=True,
)


def outputs(path, name):
    """Return the outputs of a model as a list."""
    y = kspike_ref.load_model(path).predict(INPUTS[name])
    return y if isinstance(y, list | tuple) else [y]


@pytest.fixture(scope="module")
def answers():
    """Return the outputs of the undamaged models."""
    return {name: outputs(MODELS / f"{name}.keras", name) for name in DATA}


def outcome(tmp_path, data, name):
    """Load and run an archive; return the outputs, or None after a clear error.

    Any other error fails the test, and so does a load of more than a few seconds of work, or of
    more memory than a few times that of the archive and its model.
    """
    path = tmp_path / "model.keras"
    path.write_bytes(data)
    tracemalloc.start()
    start = time.process_time()
    try:
        model = kspike_ref.load_model(path)
    except (kspike_ref.ArchiveError, kspike_ref.UnsupportedLayerError):
        return None
    finally:
        seconds, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert seconds < SECONDS
        assert peak < 16 << 20
    try:
        y = model.predict(INPUTS[name])
    except ValueError:  # a model with inputs of another shape
        return None
    return y if isinstance(y, list | tuple) else [y]


def members(name):
    """Return the files in an archive."""
    with zipfile.ZipFile(io.BytesIO(DATA[name])) as archive:
        return {member: archive.read(member) for member in archive.namelist()}


def zipped(files):
    """Return an archive of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@st.composite
def damaged(draw, data, places):
    """Draw bytes with one to four changes at some of the places."""
    damaged_bytes = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(places) % max(1, len(damaged_bytes))
        kind = draw(st.sampled_from(["set", "set", "flip", "word", "cut", "insert", "end"]))
        if kind == "set":
            damaged_bytes[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif kind == "flip" and damaged_bytes:
            damaged_bytes[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "word":
            word = draw(st.sampled_from([0, 1, 2**63, 2**64 - 1]) | st.integers(0, len(data)))
            damaged_bytes[at - at % 8 : at - at % 8 + 8] = word.to_bytes(8, "little")
        elif kind == "cut":
            del damaged_bytes[at : at + draw(st.integers(1, 50))]
        elif kind == "insert":
            damaged_bytes[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif draw(st.booleans()):
            del damaged_bytes[at:]
    return bytes(damaged_bytes)


def structure(data):
    """Return a strategy for the places of non-zero bytes, which hold most of the structure."""
    return st.sampled_from([i for i, byte in enumerate(data) if byte])


@pytest.mark.parametrize("name", NAMES)
@settings(FUZZ, max_examples=525)
@given(draw=st.data())
def test_damaged_archives(tmp_path, answers, name, draw):
    """Because of the zip's checksums, only the saved model can load."""
    data = DATA[name]
    places = structure(data) | st.integers(len(data) - 400, len(data) - 1)
    y = outcome(tmp_path, draw.draw(damaged(data, places)), name)
    if y is not None:
        assert len(y) == len(answers[name])
        for ours, saved in zip(y, answers[name], strict=True):
            np.testing.assert_array_equal(ours, saved)


@pytest.mark.parametrize("name", NAMES)
@settings(FUZZ, max_examples=375)
@given(draw=st.data())
def test_damaged_weights(tmp_path, answers, name, draw):
    """In a valid archive, damaged weights give another model of the same shapes and types."""
    files = members(name)
    data = files["model.weights.h5"]
    files["model.weights.h5"] = draw.draw(damaged(data, structure(data)))
    y = outcome(tmp_path, zipped(files), name)
    if y is not None:
        assert [a.shape for a in y] == [a.shape for a in answers[name]]
        assert [a.dtype for a in y] == [a.dtype for a in answers[name]]


def paths(value, path=()):
    """Yield the path of every element in a nested value."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from paths(value[key], (*path, key))


def at(value, path):
    """Return the element at a path."""
    for key in path:
        value = value[key]
    return value


@st.composite
def altered(draw, config):
    """Draw a configuration with one to three elements replaced, deleted, moved or doubled."""
    config = copy.deepcopy(config)
    for _ in range(draw(st.integers(1, 3))):
        places = list(paths(config))[1:]
        if not places:
            break
        path = draw(st.sampled_from(places))
        parent, key = at(config, path[:-1]), path[-1]
        kind = draw(st.sampled_from(["odd", "odd", "delete", "move", "double", "near"]))
        if kind == "odd":
            parent[key] = copy.deepcopy(draw(st.sampled_from(ODD)))
        elif kind == "delete":
            del parent[key]
        elif kind == "move":
            parent[key] = copy.deepcopy(at(config, draw(st.sampled_from(places))))
        elif kind == "double" and isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        elif kind == "near" and type(parent[key]) is int:
            parent[key] += draw(st.sampled_from([-1, 1, 2, 100]))
    return config


@pytest.mark.memory  # configurations decide which shapes reach compiled loops
@pytest.mark.parametrize("name", NAMES)
@settings(FUZZ, max_examples=375)
@given(draw=st.data())
def test_altered_configurations(tmp_path, name, draw):
    """In a valid archive, a model that loads also runs, or refuses the input."""
    files = members(name)
    config = draw.draw(altered(json.loads(files["config.json"])))
    files["config.json"] = json.dumps(config)
    y = outcome(tmp_path, zipped(files), name)
    if y is not None:
        assert all(isinstance(a, np.ndarray) for a in y)


def test_every_byte_of_the_directory(tmp_path, answers):
    """Damage one byte after the other: the directory at the end holds most of a zip's structure."""
    data = DATA["spiking"]
    for place in range(data.rfind(b"PK\1\2", 0, data.find(b"PK\1\2") + 4), len(data)):
        changed = bytearray(data)
        changed[place] ^= 0xFF
        y = outcome(tmp_path, bytes(changed), "spiking")
        if y is not None:
            np.testing.assert_array_equal(y[0], answers["spiking"][0])


def test_names_that_overlap(tmp_path):
    """A group whose names are all suffixes of one: a megabyte of them would fill the memory."""
    files = members("spiking")
    data = bytearray(files["model.weights.h5"])
    heap = data.find(b"HEAP")
    start = len(data)
    data += b"a" * (1 << 20)
    data[heap + 8 : heap + 16] = (1 << 20).to_bytes(8, "little")
    data[heap + 24 : heap + 32] = start.to_bytes(8, "little")
    files["model.weights.h5"] = bytes(data)
    path = tmp_path / "model.keras"
    path.write_bytes(zipped(files))
    with pytest.raises(kspike_ref.ArchiveError, match="a name that is too long, or outside"):
        kspike_ref.load_model(path)
