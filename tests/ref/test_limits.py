"""Tests of a load's limits: each value up to the limit loads, the next one is refused."""

from __future__ import annotations

import json
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from archives import (
    SECONDS,
    applied,
    archive,
    dense,
    digits,
    functional,
    hdf5,
    input_layer,
    layer,
    sequential,
    tensor,
)

from kspike_ref import ArchiveError, UnsupportedLayerError, load_model
from kspike_ref.saved import build, limits
from kspike_ref.saved import hdf5 as _hdf5


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.keras"


def refused(path, match, megabytes=40):
    """Check that a file is refused within a few seconds of work and little memory."""
    tracemalloc.start()
    start = time.process_time()
    try:
        with pytest.raises(ArchiveError, match=match):
            load_model(path)
        assert time.process_time() - start < SECONDS
        assert tracemalloc.get_traced_memory()[1] < megabytes << 20
    finally:
        tracemalloc.stop()


def as_folder(path, tmp_path):
    """Return a folder with the unzipped contents of a file."""
    with zipfile.ZipFile(path) as file:
        file.extractall(tmp_path / "folder")
    return tmp_path / "folder"


# --- weights ---------------------------------------------------------------------------------


def linked(count, width=100):
    """Return a model of equal layers, whose weights are hard links to one array."""
    config = sequential(input_layer(width), *(dense(f"d{i}", width) for i in range(count)))

    def write(h5):
        h5["kernel"], h5["bias"] = np.eye(width, dtype="f4"), np.zeros(width, "f4")
        for i in range(count):
            place = h5.create_group(f"layers/dense{f'_{i}' if i else ''}/vars")
            place["0"], place["1"] = h5["kernel"], h5["bias"]

    return config, {}, write


def test_weights_that_share_their_bytes(path, tmp_path):
    archive(path, *linked(1))
    assert len(load_model(path).layers) == 2
    archive(path, *linked(30))
    refused(path, "values overlap: they need more than")
    refused(as_folder(path, tmp_path), "values overlap: they need more than")


def test_each_byte_of_values_is_read_once():
    file = _hdf5.File(hdf5({"x": [np.zeros(1000, "f4")]}))
    dataset = file.dataset(file.children("x/vars")["0"])
    file._left["values"] = dataset.size
    file.read(dataset)
    with pytest.raises(_hdf5.FormatError, match="values overlap"):
        file.read(dataset)


def test_names_that_overlap():
    """The heap has one long name, and 400 entries start at one of its letters."""
    name, entries = 500, 400

    def write(h5):
        for i in range(entries):
            h5[f"many/{i:0{name if i == 0 else 4}d}"] = np.int8(0)

    data = bytearray(hdf5({}, write))
    assert len(_hdf5.File(bytes(data)).children("many")) == entries
    heap = data.rindex(b"HEAP")
    start = int.from_bytes(data[heap + 24 : heap + 32], "little")
    long = data.index(b"0" * name, start) - start
    at, seen = data.find(b"SNOD"), 0
    while at >= 0:
        (used,) = struct.unpack_from("<H", data, at + 6)
        for i in range(used):
            place = at + 8 + 40 * i
            if int.from_bytes(data[place : place + 8], "little") > 8:
                struct.pack_into("<Q", data, place, long + seen % name)
                seen += 1
        at = data.find(b"SNOD", at + 1)
    file = _hdf5.File(bytes(data))
    file._left["names"] = 10_000
    with pytest.raises(_hdf5.FormatError, match="names overlap: they need more than"):
        file.children("many")


def test_entries_and_headers_are_read_a_few_times_only():
    data = hdf5({"x": [np.zeros(3, "f4")]})
    for what in ("entries", "headers"):
        file = _hdf5.File(data)
        file._left[what] = 16
        with pytest.raises(_hdf5.FormatError, match=f"{what} overlap: they need more than"):
            file.children("x/vars")


@pytest.mark.parametrize("kind", ["U500000000", "S9", "O", "c8", "M8[s]", "f4,f4", None, 3])
def test_types_of_constants(path, kind):
    constant = {"class_name": "__numpy__", "config": {"value": [1, 2, 3], "dtype": kind}}
    add = {**layer("Add", "op"), "module": "keras.src.ops.numpy"}
    config = functional(
        [applied(input_layer(3)), applied(add, [tensor("input"), constant])],
        [["input", 0, 0]],
        ["op", 0, 0],
    )
    archive(path, config, {"layers/x": []})
    refused(path, "dtype must be one of bool, int8")


def test_arrays_that_the_configuration_alone_asks_for(path):
    size = limits.MAX_MADE // 8

    def model(length):
        mean = layer("Normalization", "n", axis=-1, mean=0.0, variance=1.0)
        return sequential(input_layer(length), mean)

    archive(path, model(size + 1), {"layers/x": []})
    refused(path, "a model may make")
    limits.Budget().make(limits.MAX_MADE, "this")
    with pytest.raises(ArchiveError, match="a model may make"):
        limits.Budget().make(limits.MAX_MADE + 1, "this")


@pytest.mark.parametrize(
    "item",
    [
        layer("SpikingActivation", "s", "kspike_tf", activation="relu", seed=3),
        layer("GlobalAveragePooling1D", "s"),
    ],
)
def test_states_of_many_units_are_not_made_at_load(path, item):
    """The file has a kilobyte of configuration; the states of 2²⁸ units would be 2 GB."""
    config = sequential(input_layer(None, 1 << 28), item)
    tracemalloc.start()
    try:
        load_model(archive(path, config, {"layers/x": []}))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


# --- JSON ------------------------------------------------------------------------------------


def test_json_tokens(path, tmp_path, monkeypatch):
    config, weights = digits()
    text = json.dumps(config).encode()
    count = sum(text.count(mark) for mark in (b"{", b"[", b",", b":"))
    archive(path, config, weights)
    monkeypatch.setattr(limits, "MAX_TOKENS", count)
    load_model(path)
    monkeypatch.setattr(limits, "MAX_TOKENS", count - 1)
    refused(path, f"config.json holds {count} lists, objects and values; at most {count - 1}")
    refused(as_folder(path, tmp_path), f"at most {count - 1} are read")


@pytest.mark.parametrize("form", ["zip", "folder"])
def test_bytes_of_json(path, tmp_path, monkeypatch, form):
    config, weights = digits()
    archive(path, config, weights)
    monkeypatch.setattr(limits, "MAX_JSON", len(json.dumps(config)))
    place = path if form == "zip" else as_folder(path, tmp_path)
    load_model(place)
    monkeypatch.setattr(limits, "MAX_JSON", len(json.dumps(config)) - 1)
    refused(place, "config.json (has|claims to expand)")


def test_json_of_empty_lists(path):
    """16 million lists of 56 bytes each, compressed to a few kilobytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("metadata.json", "{}")
        file.writestr("config.json", b"[" + b"[]," * (8 << 20) + b"0]")
        file.writestr("model.weights.h5", hdf5({}))
    refused(path, "lists, objects and values", megabytes=60)  # twice the text


# --- zip -------------------------------------------------------------------------------------


def test_zip64_locator(path):
    """A reader would believe the second file list, whatever the first one says."""
    archive(path, *digits())
    data = path.read_bytes()
    end = data.rindex(b"PK\5\6")
    count, _, size, start = struct.unpack_from("<HHII", data, end + 8)
    record = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, start)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
    path.write_bytes(data[:end] + record + locator + data[end:])
    with zipfile.ZipFile(path) as file:
        assert len(file.namelist()) == 3
    refused(path, "uses zip64.*unzip it and load the folder")


def test_bytes_of_the_list_of_files(path, monkeypatch):
    archive(path, *digits())
    data = path.read_bytes()
    (size,) = struct.unpack_from("<I", data, data.rindex(b"PK\5\6") + 12)
    monkeypatch.setattr(limits, "MAX_DIRECTORY", size)
    load_model(path)
    monkeypatch.setattr(limits, "MAX_DIRECTORY", size - 1)
    refused(path, f"their list {size} bytes: too many")


def test_weights_that_expand(path, monkeypatch):
    config, weights = digits()
    data = hdf5(weights)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("metadata.json", '{"keras_version": "3.15.1"}')
        file.writestr("config.json", json.dumps(config))
        file.writestr("model.weights.h5", data)
    monkeypatch.setattr(limits, "MAX_RATIO", 1)
    monkeypatch.setattr(limits, "MAX_EXPANDED", len(data))
    load_model(path)
    monkeypatch.setattr(limits, "MAX_EXPANDED", len(data) - 1)
    refused(path, "model.weights.h5 claims to expand")


def test_applications_of_layers(path, monkeypatch):
    archive(path, *digits())
    monkeypatch.setattr(build, "MAX_NODES", 5)
    assert len(load_model(path).nodes) == 5
    monkeypatch.setattr(build, "MAX_NODES", 4)
    refused(path, "more than 4 nodes")


def test_elements_of_an_output(path):
    """Nothing of that size is allocated at load."""
    for steps in (1 << 15, (1 << 15) + 1):
        repeat = layer("RepeatVector", "repeat", n=steps)
        archive(path, sequential(input_layer(1 << 16), repeat), {"layers/x": []})
        if steps * (1 << 16) <= limits.MAX_ELEMENTS:
            load_model(path)
        else:
            refused(path, "elements")


@pytest.mark.parametrize("extra", [0, 1])
def test_members(path, monkeypatch, extra):
    monkeypatch.setattr(limits, "MAX_MEMBERS", 10)
    archive(path, *digits(), **{f"asset{i}": b"" for i in range(7 + extra)})
    if extra:
        refused(path, "holds 11 files")
        data = bytearray(path.read_bytes())
        end = data.rindex(b"PK\5\6")
        data[end + 8 : end + 12] = struct.pack("<HH", 3, 3)  # claims to hold three files
        path.write_bytes(data)
        refused(path, "holds 11 files: too many")
    else:
        load_model(path)


# --- layers ----------------------------------------------------------------------------------


def test_layers(path, monkeypatch):
    config = sequential(input_layer(4), layer("Dropout", "a"), layer("Dropout", "b"))
    archive(path, config, {"layers/x": []})
    monkeypatch.setattr(limits, "MAX_LAYERS", 3)
    load_model(path)
    monkeypatch.setattr(limits, "MAX_LAYERS", 2)
    refused(path, "the model has more than 2 layers")


def nested(depth):
    """Return a model of nested TimeDistributed layers, ``depth`` levels in all."""
    inner = layer("Dropout", "d")
    for i in range(depth - 1):
        inner = layer("TimeDistributed", f"t{i}", layer=inner)
    return sequential(input_layer(*[1] * (depth + 1)), inner)


def test_layers_within_layers(path):
    archive(path, nested(limits.MAX_NESTING), {"layers/x": []})
    load_model(path)
    for depth in (limits.MAX_NESTING + 1, 300):
        archive(path, nested(depth), {"layers/x": []})
        refused(path, "nested too deeply|not readable JSON")


def test_levels_of_json(path):
    """There are five levels around the option, and an empty list within it."""
    for depth in (limits.MAX_DEPTH, limits.MAX_DEPTH + 1, 500):
        value = []
        for i in range(depth - 6):
            value = {"a": value} if i % 2 else [value]
        config = sequential(input_layer(4), layer("Dropout", "d", seed=value))
        archive(path, config, {"layers/x": []})
        if depth > limits.MAX_DEPTH:
            refused(path, "config.json is nested too deeply: more than 140 levels")
        else:
            load_model(path)


def test_bidirectional_within_bidirectional_does_not_double(path):
    inner = layer("LSTM", "l", units=1)
    for i in range(30):
        inner = layer("Bidirectional", f"b{i}", layer=inner)
    archive(path, sequential(input_layer(3, 1), inner), {"layers/x": []})
    refused(path, "layer must be a recurrent layer")


def work(path, count):
    """Return the number of function calls that load a chain of ``count`` small layers."""
    import cProfile
    import pstats

    ones = [np.ones((1, 1), "f4"), np.ones(1, "f4")]
    weights = {f"layers/dense{f'_{i}' if i else ''}": ones for i in range(count)}
    archive(path, sequential(input_layer(None, 1), *(dense(f"d{i}", 1) for i in range(count))),
            weights)  # fmt: skip
    with cProfile.Profile() as profile:
        load_model(path)
    return pstats.Stats(profile).total_calls


def test_many_small_layers_take_linear_work(path):
    """Counts calls instead of time: four times the layers, four times the calls."""
    work(path, 50)  # loads what is loaded once
    assert work(path, 800) < 4.5 * work(path, 200)


def test_unsupported_layers_are_not_called_hostile(path):
    """After an unsupported operation, shapes are unknown and so not checked."""
    squeeze = {**layer("Squeeze", "squeeze", axis=0), "module": "keras.src.ops.numpy"}
    mean = {**layer("Mean", "mean", axis=0), "module": "keras.src.ops.numpy"}
    for operation, words in ((squeeze, "axis=0 mixes the examples"), (mean, "axis=0 mixes the ex")):
        name = operation["config"]["name"]
        config = functional(
            [
                applied(input_layer(4, 1)),
                applied(operation, [tensor("input")]),
                applied(dense("last", 3), [tensor(name)]),
            ],
            [["input", 0, 0]],
            ["last", 0, 0],
        )
        archive(path, config, {"layers/dense": [np.ones((4, 3), "f4"), np.ones(3, "f4")]})
        with pytest.raises(UnsupportedLayerError, match=words) as error:
            load_model(path)
        assert len(error.value.layers) == 1


# --- numbers that a file may not hold ------------------------------------------------------------


def test_a_variable_dt_that_was_not_set_when_the_model_was_saved(path):
    config, weights = digits()
    for item in config["config"]["layers"][2:4]:
        item["config"]["dt"] = 0.0
    archive(path, config, weights)
    refused(path, "saved before its variable dt was set; pass dt=... to load_model")
    assert np.isfinite(load_model(path, dt=0.01).predict(np.ones((1, 5, 4), "f4"))).all()


def test_values_too_large_for_float32(path):
    config, weights = digits()
    weights["layers/dense"][1] = np.full(6, 1e300)
    archive(path, config, weights)
    refused(path, "'first' computes in float32, which cannot hold bias of size 1e.300")


@pytest.mark.parametrize("dt", [1e-45, 1e-38, 1.2e-38])
def test_dt_whose_inverse_is_infinite(path, dt):
    config, weights = digits()
    for item in config["config"]["layers"][2:4]:
        item["config"]["dt"] = dt
    archive(path, config, weights)
    if dt < 1.1e-38:
        refused(path, "dt must be positive and finite")
    else:
        assert np.isfinite(load_model(path).predict(np.ones((1, 5, 4), "f4"))).all()


def test_names_are_printed_without_escapes(path):
    name = "a\x1b[2Jb\u202ec\nd"
    config, weights = digits()
    config["config"]["layers"][1]["config"]["name"] = name
    archive(path, config, weights)
    model = load_model(path)
    assert name in model.activity(np.ones((1, 2, 4), "f4"))
    assert r"a\x1b[2Jb\u202ec\nd" in str(model)
    config["config"]["layers"][1]["class_name"] = name
    archive(path, config, weights)
    with pytest.raises(UnsupportedLayerError) as error:
        load_model(path)
    text = str(error.value)
    assert r"\x1b[2J" in text
    assert "\x1b" not in text + "".join(error.value.layers)
    with pytest.raises(ArchiveError) as error:
        raise ArchiveError(f"a layer named {name}")
    assert str(error.value).isprintable()
