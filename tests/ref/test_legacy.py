"""Tests of Keras 2 files, whole-model `.h5` files, and files that hold no Keras model."""

from __future__ import annotations

import json
import struct
import time
import tracemalloc
import zipfile
from pathlib import Path

import h5py
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
    tensor,
)

from kspike_ref import (
    ArchiveError,
    UnsupportedLayerError,
    load_model,
)
from kspike_ref.saved import hdf5 as _hdf5
from kspike_ref.saved import keras2, legacy_h5

GOLDEN = Path(__file__).parents[1] / "golden" / "keras2"
NAMES = ["recurrent", "time_major", "convolutional", "nested", "embedded"]


@pytest.fixture(scope="module")
def answers():
    """Return inputs and outputs of Keras 2 (tf_keras 2.21), by model."""
    with np.load(GOLDEN / "answers.npz") as file:
        kept = {key: file[key] for key in sorted(file)}
    return {
        name: tuple([kept[k] for k in kept if k.startswith(f"{name}/{c}")] for c in "xy")
        for name in NAMES
    }


def check(path, inputs, outputs):
    """Load a file, and compare its outputs."""
    y = load_model(path).predict(inputs if len(inputs) > 1 else inputs[0])
    got = y if isinstance(y, list) else [y]
    assert len(got) == len(outputs)
    for ours, theirs in zip(got, outputs, strict=True):
        # Float32 sums in another order: a few units in the last place of values around 10.
        np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("form", ["keras", "h5"])
@pytest.mark.parametrize("name", NAMES)
def test_models_of_keras_2(answers, name, form):
    check(GOLDEN / f"{name}.{form}", *answers[name])


def _changed(path, name, change):
    """Return a copy of a golden `.keras` file with another configuration."""
    with zipfile.ZipFile(GOLDEN / f"{name}.keras") as file:
        members = {member: file.read(member) for member in file.namelist()}
    config = json.loads(members["config.json"])
    change({item["class_name"]: item["config"] for item in config["config"]["layers"]})
    members["config.json"] = json.dumps(config)
    with zipfile.ZipFile(path, "w") as file:
        for member, data in members.items():
            file.writestr(member, data)
    return path


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("LeakyReLU", {"alpha": 0.3}),
        ("LSTM", {"recurrent_activation": "sigmoid"}),
        ("GRU", {"activation": "sigmoid"}),
        ("ThresholdedReLU", {"theta": 0.1}),
    ],
)
def test_every_old_option_counts(tmp_path, answers, kind, change):
    """Each option changes the outputs, so the comparison above would notice if it were ignored."""
    path = _changed(tmp_path / "m.keras", "recurrent", lambda layers: layers[kind].update(change))
    (x,), (y,) = answers["recurrent"]
    assert np.abs(load_model(path).predict(x) - y).max() > 1e-4


def test_options_without_effect_only(tmp_path):
    path = _changed(
        tmp_path / "m.keras",
        "convolutional",
        lambda layers: layers["BatchNormalization"].update(virtual_batch_size=2),
    )
    with pytest.raises(UnsupportedLayerError, match="does not know: virtual_batch_size=2"):
        load_model(path)


def test_old_sequential_configurations():
    """A list of layers, with the input's shape in the first one."""
    first = {"class_name": "Dense", "config": {"name": "d", "batch_input_shape": [None, 4]}}
    config = keras2.upgrade({"class_name": "Sequential", "config": [first]})
    shapes = [item["config"].get("batch_shape") for item in config["config"]["layers"]]
    assert shapes == [[None, 4], None]
    assert keras2.upgrade({"class_name": "GRU", "config": {}})["config"]["reset_after"] is False


@pytest.mark.parametrize(
    ("version", "error", "match"),
    [
        ("3.15.1", None, None),
        ("3.99.0.dev2", None, None),
        ("4.0.0", UnsupportedLayerError, "a file of Keras 4.0.0"),
        ("x", ArchiveError, "must state the version of Keras"),
        (None, ArchiveError, "must state the version of Keras"),
    ],
)
def test_versions(tmp_path, version, error, match):
    text = json.dumps({"keras_version": version} if version else {}).encode()
    path = archive(tmp_path / "m.keras", *digits(), metadata_json=text)
    if error is None:
        load_model(path)
    else:
        with pytest.raises(error, match=match):
            load_model(path)


def test_damaged_configurations_of_keras_2(tmp_path):
    deep = {"class_name": "Dense", "config": {"name": "d"}}
    for _ in range(60):
        deep = {"class_name": "TimeDistributed", "config": {"name": "t", "layer": deep}}
    text = b'{"keras_version": "2.9.0"}'
    for config in ({}, {"class_name": "Sequential"}, {"class_name": "Functional", "config": {}},
                   {"class_name": "Sequential", "config": [3]},
                   {"class_name": "Sequential", "config": {"layers": [deep]}}):  # fmt: skip
        path = archive(tmp_path / "m.keras", config, {}, metadata_json=text)
        with pytest.raises(ArchiveError):
            load_model(path)
    node = [["input", 0, 0, {}], 3]
    wrong = functional([{**input_layer(4), "name": "input"},
                        {**dense("d", 2), "name": "d", "inbound_nodes": [node]}],
                       [["input", 0, 0]], [["d", 0, 0]])  # fmt: skip
    path = archive(tmp_path / "m.keras", wrong, {}, metadata_json=text)
    with pytest.raises(ArchiveError, match="an inbound node must be a list"):
        load_model(path)


def test_merged_masks_of_keras_2(tmp_path):
    """Keras 2 joins masks by "and", Keras 3 by "or", as kspike_ref does: so it refuses these."""
    items = [
        layer("InputLayer", "x", batch_input_shape=[None, 3, 2]),
        {**layer("Masking", "m", mask_value=0.0), "inbound_nodes": [[["x", 0, 0, {}]]]},
        {**layer("Add", "a"), "inbound_nodes": [[["m", 0, 0, {}], ["m", 0, 0, {}]]]},
    ]
    for item in items:
        item["name"] = item["config"]["name"]
    config = functional(items, [["x", 0, 0]], [["a", 0, 0]])
    text = b'{"keras_version": "2.15.0"}'
    path = archive(tmp_path / "m.keras", config, {"layers/x": []}, metadata_json=text)
    with pytest.raises(UnsupportedLayerError, match="masks of merged inputs"):
        load_model(path)
    items[2]["inbound_nodes"] = [[["x", 0, 0, {}], ["x", 0, 0, {}]]]
    path = archive(tmp_path / "m.keras", config, {"layers/x": []}, metadata_json=text)
    x = np.ones((1, 3, 2), "f4")
    np.testing.assert_array_equal(load_model(path).predict(x), 2 * x)


# --- HDF5 ------------------------------------------------------------------------------------


def test_attributes_agree_with_h5py(tmp_path):
    path = tmp_path / "a.h5"
    wanted = {
        "text": ["x" * 70_000],
        "one": ["é"],
        "fixed": ["a", "bcd"],
        "many": [f"layer_{i}" for i in range(300)],
        "none": [],
    }
    with h5py.File(path, "w") as file:
        file.attrs["text"] = wanted["text"][0]
        file.attrs["one"] = "é"
        file.attrs["fixed"] = np.array([b"a", b"bcd"])
        file.attrs["many"] = wanted["many"]
        file.attrs.create("none", [], dtype=h5py.string_dtype())
        file.attrs["number"] = np.arange(3.0)
    file = _hdf5.File(path.read_bytes())
    assert file.attributes(file.root) == {**wanted, "number": None}


def test_damaged_attributes(tmp_path):
    """Change each byte of the strings' heap and of the messages: an error, or other text."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["names"] = ["ab", "cde"]
        file.attrs["fixed"] = np.array([b"a", b"bcd"])
    data = path.read_bytes()
    heap = data.index(b"GCOL")
    outcomes = {"text": 0, "error": 0}
    for at in [*range(96, 700), *range(heap, heap + 64)]:
        for value in (0, 0xFF):
            changed = bytearray(data)
            changed[at] = value
            try:
                file = _hdf5.File(bytes(changed))
                file.attributes(file.root)
                outcomes["text"] += 1
            except _hdf5.FormatError:
                outcomes["error"] += 1
    assert min(outcomes.values()) > 10


def test_strings_that_share_their_bytes(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["names"] = ["a" * 3000] * 20
    data = bytearray(path.read_bytes())
    file = _hdf5.File(bytes(data))
    file._left["strings"] = 30_000
    with pytest.raises(_hdf5.FormatError, match="strings overlap: they need more than"):
        file.attributes(file.root)


def test_references_to_one_long_string_are_counted_before_it_is_copied(tmp_path):
    """An attribute can hold 4,000 references, each of which may lead to the whole file."""
    path, length, count = tmp_path / "a.h5", 200_000, 2000
    with h5py.File(path, "w") as file:
        texts = np.array(["a" * length] + ["b"] * (count - 1), object)
        file.attrs.create("names", texts, dtype=h5py.string_dtype())
    data = bytearray(path.read_bytes())
    first = data.index(struct.pack("<I", length))
    while data[first + 16 : first + 20] != struct.pack("<I", 1):  # find the next reference
        first = data.index(struct.pack("<I", length), first + 1)
    data[first : first + 16 * count] = data[first : first + 16] * count
    file = _hdf5.File(bytes(data))
    tracemalloc.start()
    with pytest.raises(_hdf5.FormatError, match="strings overlap: they need more than"):
        file.attributes(file.root)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * len(data)


def test_weights_of_many_layers_within_one_are_found_in_linear_time():
    layers = [f"layer_{i}" for i in range(30_000)]
    unread = legacy_h5._Unread([f"{name}/{part}" for name in layers for part in ("kernel", "bias")])
    start = time.process_time()
    for name in reversed(layers):
        found = unread.first(2, [name, f"forward_{name}"])
        assert found == [f"{name}/kernel", f"{name}/bias"]
        for one in found:
            unread.take(one)
    assert not unread.left()
    assert time.process_time() - start < SECONDS


def test_weights_are_found_by_the_names_of_layers_around_them():
    names = ["a/b/kernel", "b/kernel", "x/a/b/bias", "ab/kernel"]
    unread = legacy_h5._Unread(names)
    assert unread.first(9, ["b"]) == names[:3]
    assert unread.first(9, ["a/b"]) == [names[0], names[2]]
    assert unread.first(9, ["a", "ab"]) == [names[0], *names[2:]]
    assert unread.first(9, ["kernel"]) == []
    unread.take("b/kernel")
    assert unread.first(2, ["b"]) == [names[0], names[2]]
    assert unread.first(1, []) == names[:1]
    with pytest.raises(ArchiveError, match="a layer name with 9 parts"):
        unread.first(1, ["/".join("abcdefghi")])


def test_weights_that_nobody_takes(tmp_path):
    data = (GOLDEN / "recurrent.h5").read_bytes()
    path = tmp_path / "m.h5"
    path.write_bytes(data.replace(b'"use_bias": true', b'"use_bias":false', 1))
    with pytest.raises(ArchiveError, match="has 1 more weight than its configuration needs"):
        load_model(path)


def test_long_lists_of_names(tmp_path, answers):
    """HDF5 limits an attribute to 64 KB: Keras splits longer lists into several attributes."""
    path = tmp_path / "m.h5"
    path.write_bytes((GOLDEN / "recurrent.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        names = file["model_weights/lstm"].attrs
        for i, name in enumerate(names["weight_names"]):
            names[f"weight_names{i}"] = [name]
        del names["weight_names"]
    check(path, *answers["recurrent"])


# --- files of other kinds ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "match"),
    [
        ("m.h5", b"nothing", "not an HDF5 file despite its name"),
        ("m.weights.h5", hdf5({"layers/dense": [np.ones(3, "f4")]}), "weights without a model"),
        ("m.json", b'{"class_name": "Sequential"}', "a model's configuration without its weights"),
        ("model", b' {"class_name": "Sequential"}', "JSON: a model's configuration"),
        ("m.onnx", b"\x08\x08\x12\x07pytorch", "an ONNX model"),
        ("m.tflite", b"\x1c\0\0\0TFL3", "a LiteRT"),
        ("saved_model.pb", b"\x08\x01\x12", "a TensorFlow graph"),
        ("m.keras", b"", "is empty"),
        ("m.pt", b"\x80\x02", "a PyTorch file"),
    ],
)
def test_what_holds_no_model_of_keras(tmp_path, name, data, match):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ArchiveError, match=match) as error:
        load_model(tmp_path / name)
    assert "model.save('model.keras')" in str(error.value)


def test_a_savedmodel_folder(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(ArchiveError, match=r"is a SavedModel folder.*model.save"):
        load_model(tmp_path)


# --- one contract for errors -------------------------------------------------------------------


def one_layer(item, *inputs, shape=(4,), **kwargs):
    """Return a Functional model of one layer."""
    return functional(
        [applied(input_layer(*shape)), applied(item, *inputs, **kwargs)],
        [["input", 0, 0]],
        [item["config"]["name"], 0, 0],
    )


@pytest.mark.parametrize(
    "config",
    [
        one_layer(layer("Dropout", "a"), [tensor("input")], name="x"),
        one_layer(layer("Dropout", "a"), [tensor("input")], function=3),
        one_layer(layer("Dropout", "a"), [tensor("input")], args=[1], self=2),
        one_layer(layer("Softmax", "a"), [tensor("input"), 3]),
        one_layer(layer("Softmax", "a"), [tensor("input"), tensor("input"), tensor("input")]),
        one_layer(layer("Softmax", "a", axis=3), [tensor("input")]),
        one_layer(layer("Softmax", "a", axis=[1, 1]), [tensor("input")]),
        one_layer(layer("Rescaling", "a", scale=2.0), [[tensor("input"), tensor("input")]]),
        one_layer(layer("Rescaling", "a", scale=[1.0, 2.0, 3.0]), [tensor("input")]),
        one_layer(layer("ReLU", "a", max_value="x"), [tensor("input")]),
        one_layer(layer("LeakyReLU", "a", negative_slope=None), [tensor("input")]),
        one_layer(layer("UnitNormalization", "a", axis=7), [tensor("input")]),
        one_layer(layer("Masking", "a"), [tensor("input")], shape=()),
        one_layer(layer("Dot", "a", axes=[9, 1]), [[tensor("input"), tensor("input")]]),
        one_layer({**layer("Clip", "a"), "module": "keras.ops"}, [tensor("input")]),
        one_layer({**layer("Softmax", "a", axis=9), "module": "keras.ops"}, [tensor("input")]),
        one_layer({**layer("OnesLike", "a"), "module": "keras.ops"}, [[tensor("input")]]),
    ],
)
def test_what_is_wrong_is_refused_at_load(tmp_path, config):
    path = archive(tmp_path / "m.keras", config, {"layers/x": []})
    with pytest.raises((ArchiveError, UnsupportedLayerError)):
        load_model(path)


def test_what_is_no_path():
    with pytest.raises(TypeError, match="PathLike"):
        load_model(3)


def test_a_layer_that_fails_while_the_model_is_built(tmp_path, monkeypatch):
    """Whatever goes wrong, the error is a documented one and keeps its cause."""
    from kspike_ref.saved import load

    def fail(*args):
        raise RecursionError("deep")

    monkeypatch.setattr(load, "build", fail)
    with pytest.raises(ArchiveError, match="cannot be built: RecursionError: deep") as error:
        load_model(archive(tmp_path / "m.keras", *digits()))
    assert isinstance(error.value.__cause__, RecursionError)


def test_a_tensor_as_keywords(tmp_path):
    config = one_layer(layer("Dropout", "a"), [tensor("input")])
    config["config"]["layers"][1]["inbound_nodes"][0]["kwargs"] = tensor("input")
    with pytest.raises((ArchiveError, UnsupportedLayerError)):
        load_model(archive(tmp_path / "m.keras", config, {"layers/x": []}))


def test_arguments_that_keras_takes_by_position_or_name(tmp_path):
    x = np.ones((2, 4), "f4")
    for config in (
        one_layer(layer("Dropout", "a"), [tensor("input"), False]),
        one_layer(layer("Softmax", "a"), [tensor("input"), None]),
        one_layer(layer("BatchNormalization", "a", scale=False, center=False),
                  [tensor("input"), False, None]),
        one_layer(layer("Dropout", "a"), [], inputs=tensor("input")),
    ):  # fmt: skip
        weights = {"layers/batch_normalization": [np.zeros(4, "f4"), np.ones(4, "f4")]}
        assert load_model(archive(tmp_path / "m.keras", config, weights)).predict(x).shape == (2, 4)


@pytest.mark.parametrize(
    ("item", "key"),
    [
        (dense("a", 2), "use_bias"),
        (layer("LSTM", "a", units=2), "return_sequences"),
        (layer("LSTM", "a", units=2), "go_backwards"),
        (layer("GRU", "a", units=2), "reset_after"),
        (layer("Lowpass", "a", "kspike_tf"), "time_major"),
        (layer("Lowpass", "a", "kspike_tf"), "return_state"),
        (layer("Conv1D", "a", filters=2, kernel_size=1), "use_bias"),
        (layer("GlobalMaxPooling1D", "a"), "keepdims"),
        (layer("BatchNormalization", "a"), "center"),
        (layer("LayerNormalization", "a"), "scale"),
        (layer("Embedding", "a", input_dim=2, output_dim=2), "mask_zero"),
        (layer("Normalization", "a"), "invert"),
    ],
)
@pytest.mark.parametrize("value", [1, 0, None, "false", [True]])
def test_booleans_are_booleans(tmp_path, item, key, value):
    item = {**item, "config": {**item["config"], key: value}}
    path = archive(tmp_path / "m.keras", one_layer(item, [tensor("input")], shape=(3, 4)), {})
    with pytest.raises(ArchiveError, match=f"{key} must be true or false"):
        load_model(path)


def test_unknown_options_are_named(tmp_path):
    item = layer("Dense", "a", units=2, sparse_kernel=True, kernel_regularizer={"l2": 1})
    path = archive(tmp_path / "m.keras", one_layer(item, [tensor("input")]), {})
    with pytest.raises(UnsupportedLayerError, match=r"does not know: .*sparse_kernel"):
        load_model(path)


@pytest.mark.parametrize(
    "item",
    [
        layer("BatchNormalization", "a", axis=1, scale=False, center=False),
        layer("Lowpass", "a", "kspike_tf"),
    ],
)
def test_a_second_application_that_does_not_fit(tmp_path, item):
    """The weights are those of the first application."""
    config = functional(
        [
            applied(input_layer(3, 4)),
            applied(input_layer(3, 4, 4, name="other")),
            applied(item, [tensor("input")], [tensor("other")]),
        ],
        [["input", 0, 0], ["other", 0, 0]],
        [["a", 0, 0], ["a", 1, 0]],
    )
    weights = {
        "layers/batch_normalization": [np.zeros(3, "f4"), np.ones(3, "f4")],
        "layers/lowpass/layer/cell": [np.zeros((1, 4), "f4"), np.ones((1, 4), "f4")],
    }
    with pytest.raises(ArchiveError, match="was built for"):
        load_model(archive(tmp_path / "m.keras", config, weights))
