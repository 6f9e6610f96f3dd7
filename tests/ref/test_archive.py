"""Tests of untrusted files: each fault is an `ArchiveError`, raised soon and in little memory."""

from __future__ import annotations

import io
import json
import os
import struct
import time
import tracemalloc
import zipfile

import archives
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
    input_layer,
    layer,
    sequential,
    tensor,
)

import kspike_ref
from kspike_ref import ArchiveError, load_model
from kspike_ref.saved import hdf5


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.keras"


def refused(path, match):
    """Load a file that must be refused soon."""
    start = time.process_time()
    with pytest.raises(ArchiveError, match=match):
        load_model(path)
    # Only the work of this process counts, so a busy machine does not matter. Nearly all take
    # milliseconds; a model that multiplies, which ends at 10,000 nodes, takes a quarter of this.
    assert time.process_time() - start < SECONDS


def refused_in_little_memory(path, match):
    """Load a file that must be refused without allocating what it claims to hold."""
    tracemalloc.start()
    try:
        refused(path, match)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_a_good_file(path):
    model = load_model(archive(path, *digits()))
    assert [node.name for node in model.nodes] == ["input", "first", "spikes", "filter", "last"]


def test_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model file"):
        load_model(tmp_path / "nothing.keras")


# --- zip -------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, 1, 100, 1000, -1, -30])
def test_truncated_zip(path, keep):
    archive(path, *digits())
    data = path.read_bytes()
    path.write_bytes(data[:keep])
    refused(path, "is cut off, without the list of files" if abs(keep) > 1 else "empty|begins|cut")


def test_what_is_no_zip(path):
    path.write_bytes(b"plain text")
    refused(path, "begins with b'plain text', and not with b'PK'")


def test_damaged_bytes_are_found_by_the_checksum(path):
    archive(path, *digits())
    data = bytearray(path.read_bytes())
    data[data.index(b'"units"') + 1] ^= 1
    path.write_bytes(data)
    refused(path, "CRC")


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "..\\evil", "C:/evil"])
def test_names_that_leave_the_archive(path, name):
    archive(path, *digits(), **{name: b"x"})
    refused(path, "may point outside the archive")


@pytest.mark.parametrize("name", ["config.json", "metadata.json", "model.weights.h5"])
def test_missing_member(path, name):
    archive(path, *digits(), **{name: None})
    refused(path, f"{name} is missing")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_member_twice(path):
    archive(path, *digits())
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("config.json", "{}")
    refused(path, "config.json occurs more than once in the archive")


def test_config_bomb(path):
    archive(path, *digits())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("metadata.json", "{}")
        file.writestr("config.json", b" " * (40 << 20))
        file.writestr("model.weights.h5", b"")
    refused_in_little_memory(path, "claims to expand")


def test_weights_bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("metadata.json", "{}")
        file.writestr("config.json", "{}")
        with file.open("model.weights.h5", "w") as member:
            for _ in range(80):
                member.write(bytes(1 << 20))
    refused_in_little_memory(path, "claims to expand")


def test_size_that_lies(path):
    archive(path, *digits())
    data = path.read_bytes()
    with zipfile.ZipFile(path) as file:
        info = file.getinfo("config.json")
    at = data.rindex(b"PK\1\2", 0, data.rindex(b"config.json"))
    fewer = struct.pack("<I", info.file_size - 5)
    path.write_bytes(data[: at + 24] + fewer + data[at + 28 :])
    refused(path, "truncated|CRC|readable")


def test_too_many_files(path):
    with zipfile.ZipFile(path, "w") as file:
        for i in range(10_001):
            file.writestr(f"{i}", b"")
    refused(path, "too many")


def test_other_compression(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as file:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            file.writestr(name, b"{}")
    refused(path, "compressed in a way")


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "must be a file or a folder")


def test_folder(tmp_path, path):
    archive(path, *digits())
    folder = tmp_path / "folder"
    with zipfile.ZipFile(path) as file:
        file.extractall(folder)
    x = np.ones((2, 5, 4), np.float32)
    np.testing.assert_array_equal(load_model(folder).predict(x), load_model(path).predict(x))
    (folder / "config.json").rename(folder / "elsewhere")
    refused(folder, "config.json is missing")
    (folder / "config.json").symlink_to(folder / "elsewhere")
    refused(folder, "must be a regular file")
    (folder / "config.json").unlink()
    with (folder / "config.json").open("wb") as file:
        file.truncate(1 << 30)
    refused(folder, "more than")


# --- JSON ------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"a": 1', "\xff"])
def test_unreadable_json(path, text):
    archive(path, *digits(), config_json=text.encode("latin-1"))
    refused(path, "config.json is not readable JSON")


def test_json_that_is_no_object(path):
    archive(path, *digits(), config_json=b"[]")
    refused(path, "config.json must hold an object")


# --- HDF5 ------------------------------------------------------------------------------------


def _set(path, values):
    def write(h5):
        del h5[path]
        h5[path] = values

    return write


def _link(path, target):
    def write(h5):
        del h5[path]
        h5[path] = target

    return write


KERNEL = "layers/dense/vars/0"


@pytest.mark.parametrize(
    ("write", "match"),
    [
        (lambda h5: h5.__delitem__(KERNEL), "must have 2 weights .kernel, bias."),
        (lambda h5: h5.__delitem__("layers/dense"), "must have 2 weights"),
        (
            lambda h5: h5.__setitem__("layers/dense/vars/2", np.zeros(3, "f4")),
            "must have 2 weights",
        ),
        (lambda h5: h5.move(KERNEL, "layers/dense/vars/7"), "vars/0 is missing"),
        (_set(KERNEL, np.zeros((4, 7), "f4")), r"must have shape \(4, 6\).*Received: \(4, 7\)"),
        (_set(KERNEL, np.full((4, 6), np.nan, "f4")), "holds NaN"),
        (_set(KERNEL, np.full((4, 6), np.inf, "f4")), "infinite"),
        (_set(KERNEL, np.full((4, 6), "a", h5py.string_dtype())), "not plain numbers"),
        (_set(KERNEL, np.full((4, 6), 1j, "c8")), "not plain numbers"),
        (_link(KERNEL, h5py.SoftLink("/layers/dense/vars/1")), "soft link"),
        (_link(KERNEL, h5py.ExternalLink("/etc/passwd", "/x")), "links that Keras does not write"),
        (_link("layers/dense", h5py.SoftLink("/layers")), "soft link"),
        (lambda h5: h5[KERNEL].attrs.__setitem__("x", np.zeros(9)), None),  # harmless
    ],
)
def test_weights_that_are_wrong(path, write, match):
    archive(path, *digits(), write=write)
    if match is None:
        load_model(path)
    else:
        refused(path, match)


def test_datasets_that_reach_beyond(path, tmp_path):
    def external(h5):
        del h5[KERNEL]
        place = [(str(tmp_path / "secret"), 0, h5py.h5f.UNLIMITED)]
        h5.create_dataset(KERNEL, (4, 6), "f4", external=place)

    archive(path, *digits(), write=external)
    refused(path, "another file")


def test_chunked_datasets(path):
    def compressed(h5):
        del h5[KERNEL]
        h5.create_dataset(KERNEL, (4, 6), "f4", compression="gzip")

    archive(path, *digits(), write=compressed)
    refused_in_little_memory(path, "behind a filter")

    def bomb(h5):
        del h5[KERNEL]
        h5.create_dataset(KERNEL, (1 << 40, 1 << 20), "f4", chunks=(1, 1))

    archive(path, *digits(), write=bomb)
    refused_in_little_memory(path, "chunked")


def test_virtual_datasets(path):
    def virtual(h5):
        del h5[KERNEL]
        layout = h5py.VirtualLayout((4, 6), "f4")
        layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4, 6))
        h5.create_virtual_dataset(KERNEL, layout)

    archive(path, *digits(), write=virtual)
    refused(path, "HDF5|chunked or virtual|does not write")


def test_new_file_format(path):
    file = io.BytesIO()
    with h5py.File(file, "w", libver="latest") as h5:
        h5["x"] = 1
    archive(path, digits()[0], file.getvalue())
    refused(path, "superblock that Keras does not write")


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.9])
def test_truncated_weights(path, share):
    data = archives.hdf5(digits()[1])
    size = int(share * len(data))
    archive(path, digits()[0], data[:size])
    refused(path, f"truncated: (bytes|the header states {len(data)} bytes, the file has {size})")


def test_group_that_contains_itself(path):
    def loop(h5):
        h5["layers/dense/vars/loop"] = h5["layers"]  # a hard link

    archive(path, *digits(), write=loop)
    refused(path, "must have 2 weights")


def test_object_header_in_many_pieces():
    """Each piece has 24 bytes: a pointer to the next one."""
    data = archives.hdf5({})
    first = len(data) + 16
    header = struct.pack("<BBHII4x", 1, 0, 1000, 1, 24)
    places = range(first + 24, first + 24 * 1001, 24)
    pieces = b"".join(struct.pack("<HHB3xQQ", 0x10, 16, 0, place, 24) for place in places)
    with pytest.raises(hdf5.FormatError, match="with too many continuation blocks"):
        hdf5.File(data + header + pieces).dataset(len(data))


def test_reader_agrees_with_h5py():
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.integers(0, 100, shape).astype(kind)
        for name, shape, kind in [
            ("a", (3, 4), "f4"), ("b", (), "f8"), ("c", (0, 3), "f4"), ("d", (2, 1, 5), ">f4"),
            ("e", (7,), "i8"), ("f", (7,), "u1"), ("g", (5,), "f2"), ("h", (3,), "bool"),
        ]
    }  # fmt: skip
    many = {f"n{i}": np.float32(i) for i in range(300)}  # a group with many leaves

    def write(h5):
        for name, values in (arrays | many).items():
            h5[f"x/y/{name}"] = values

    file = hdf5.File(archives.hdf5({}, write))
    assert file.children("x/z") is None
    members = file.children("x/y")
    assert set(members) == set(arrays) | set(many)
    for name, values in (arrays | many).items():
        got = file.read(file.dataset(members[name]))
        assert got.dtype.isnative
        np.testing.assert_array_equal(got, values)


def test_reader_knows_bfloat16():
    def write(h5):
        kind = h5py.h5t.IEEE_F16LE.copy()
        kind.set_fields(15, 7, 8, 0, 7)
        kind.set_ebias(127)
        space = h5py.h5s.create_simple((2,))
        data = h5py.h5d.create(h5.id, b"x", kind, space)
        data.write(space, space, np.array([0x3FC0, 0xC000], "<u2").view("<f2"), mtype=kind)

    file = hdf5.File(archives.hdf5({}, write))
    np.testing.assert_array_equal(file.read(file.dataset(file.children("")["x"])), [1.5, -2.0])


# --- configuration -----------------------------------------------------------------------------


def _changed(**values):
    config, weights = digits()
    config["config"]["layers"][1]["config"] |= values
    return config, weights


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"units": 7}, r"must have shape \(4, 7\)"),
        ({"units": -1}, "non-negative integer"),
        ({"units": "6"}, "non-negative integer"),
        ({"units": 10**30}, "invalid output shape"),
        ({"units": None}, "non-negative integer"),
        ({"use_bias": False}, "must have 1 weights"),
    ],
)
def test_configurations_without_sense(path, values, match):
    archive(path, *_changed(**values))
    refused(path, match)


@pytest.mark.parametrize(
    ("name", "key", "value", "match"),
    [
        ("spikes", "dt", 0.0, "dt must be positive"),
        ("spikes", "dt", float("nan"), "dt must be positive"),
        ("spikes", "dt", "x", "dt must be a number"),
        ("spikes", "dt", {"config": {"value": [1]}}, "dt must be a number"),
        ("spikes", "seed", -1, "seed must be"),
        ("spikes", "seed", 1.5, "seed must be"),
        ("filter", "dt", 1e-60, "dt must be positive"),
    ],
)
def test_dynamics_without_sense(path, name, key, value, match):
    config, weights = digits()
    for item in config["config"]["layers"]:
        if item["config"]["name"] == name:
            item["config"][key] = value
    archive(path, config, weights)
    refused(path, match)


def test_dt_that_is_a_serialised_variable(path):
    config, weights = digits()
    for item in config["config"]["layers"][2:4]:
        item["config"]["dt"] = {"class_name": "Variable", "config": {"value": 0.01}}
    model = load_model(archive(path, config, weights))
    expected = load_model(archive(path, *digits()))
    x = np.ones((1, 9, 4), np.float32)
    np.testing.assert_array_equal(model.predict(x), expected.predict(x))


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({}, "nothing"),
        (sequential(), "list of layers"),
        (sequential(input_layer(4), 3), "serialised object"),
        (sequential(input_layer(4), {"config": 3}), "serialised object"),
        (sequential(input_layer(4), dense("a", 3), dense("a", 3)), "two layers are named 'a'"),
        (sequential(layer("InputLayer", "x", batch_shape="abc")), "batch_shape must be a list"),
        (sequential(layer("InputLayer", "x", batch_shape=[None, -3])), "batch_shape must hold"),
        (sequential(dense("a", 3)), "must have been built"),
        (sequential(input_layer(4), layer("Reshape", "r", target_shape=[3])), "cannot be reshaped"),
        (sequential(input_layer(4), layer("Reshape", "r", target_shape=[-1, -1])), "-1 at most"),
        (sequential(input_layer(4), layer("Reshape", "r")), "invalid configuration"),
        (sequential(input_layer(4), layer("RepeatVector", "r", n=10**12)), "invalid output"),
        (sequential(input_layer(4), layer("Permute", "p", dims=[1, 1])), "dims must be"),
        (sequential(input_layer(4, 4), layer("Permute", "p", dims=[1])), "dims must hold 2 axes"),
        (
            sequential(input_layer(8, 8, 3), layer("Conv2D", "c", filters=2, kernel_size=[9, 9])),
            "does not fit into 8",
        ),
        (
            sequential(input_layer(8, 8, 3), layer("Conv2D", "c", filters=2, kernel_size=[0, 1])),
            "kernel_size must be 2 positive",
        ),
        (
            sequential(input_layer(8, 3), layer("Conv1D", "c", filters=2, kernel_size=2, groups=2)),
            "groups must divide 3 channels",
        ),
        (
            sequential(
                input_layer(8, 3), layer("Conv1D", "c", filters=2, kernel_size=2, padding="odd")
            ),
            "padding must be",
        ),
        (sequential(input_layer(4, 3), layer("Cropping1D", "c", cropping=[3, 3])), "invalid"),
        (
            sequential(input_layer(4, 3), layer("ZeroPadding1D", "c", padding=[1 << 30, 0])),
            "small integers",
        ),
        (
            sequential(input_layer(4, 3), layer("BatchNormalization", "b", axis=7)),
            "axis must be valid",
        ),
    ],
)
def test_models_without_sense(path, config, match):
    archive(path, config, {"layers/x": []})
    if match == "nothing":
        with pytest.raises(kspike_ref.UnsupportedLayerError, match="subclassed model"):
            load_model(path)
    else:
        refused(path, match)


def _two(first, second, outputs=("b", 0, 0)):
    """Return a model of two layers with these nodes."""
    return functional(
        [applied(input_layer(4), name="x"), first, second], [["input", 0, 0]], list(outputs)
    )


IDENTITY = layer("Dropout", "a"), layer("Dropout", "b")


@pytest.mark.parametrize(
    ("config", "match"),
    [
        (_two(applied(IDENTITY[0], [tensor("b")]), applied(IDENTITY[1], [tensor("a")])), "cycle"),
        (
            _two(applied(IDENTITY[0], [tensor("input")]), applied(IDENTITY[1], [tensor("b")])),
            "cycle",
        ),
        (
            _two(applied(IDENTITY[0], [tensor("input")]), applied(IDENTITY[1], [tensor("c")])),
            "does not exist",
        ),
        (
            _two(applied(IDENTITY[0], [tensor("input")]), applied(IDENTITY[1], [tensor("a", 3)])),
            "does not exist",
        ),
        (
            _two(
                applied(IDENTITY[0], [tensor("input")]), applied(IDENTITY[1], [tensor("a", 0, 2)])
            ),
            "does not exist",
        ),
        (
            _two(applied(IDENTITY[0], [tensor("input")]), applied(IDENTITY[1], [tensor("a", -1)])),
            "not a tensor",
        ),
        (
            _two(applied(IDENTITY[0]), applied(IDENTITY[1], [tensor("a")])),
            "does not exist",
        ),
        (
            _two(applied(IDENTITY[0], [3]), applied(IDENTITY[1], [tensor("a")])),
            "takes one tensor",
        ),
        (
            _two(
                applied(IDENTITY[0], [tensor("input")]),
                applied(IDENTITY[1], [tensor("a")]),
                ("z", 0, 0),
            ),
            "does not exist",
        ),
        (
            _two({**applied(IDENTITY[0]), "inbound_nodes": 3}, applied(IDENTITY[1], [tensor("a")])),
            "inbound_nodes must be a list",
        ),
        (
            _two(
                {**applied(IDENTITY[0]), "inbound_nodes": [3]}, applied(IDENTITY[1], [tensor("a")])
            ),
            "inbound node must be an object",
        ),
        (functional([input_layer(4)], [["a", 0, 0]], [["a", 0, 0]]), "is not an InputLayer"),
        (functional([input_layer(4)], [], []), "must have inputs and outputs"),
    ],
)
def test_graphs_without_sense(path, config, match):
    archive(path, config, {"layers/x": []})
    refused(path, match)


@pytest.mark.parametrize(
    ("kind", "keywords", "match"),
    [
        ("rnn", {"initial_state": tensor("input")}, r"needs states of \[\(None, 2\)\]"),
        ("rnn", {"initial_state": [3, 4]}, "needs states of"),
        ("rnn", {"initial_state": [tensor("state")] * 2}, "needs states of"),
        ("both", {"initial_state": tensor("state")}, "needs states of"),
        ("filter", {"initial_state": tensor("state")}, "needs states of"),
        ("filter", {"constants": tensor("state")}, "takes no constants"),
    ],
)
def test_states_that_do_not_fit(path, kind, keywords, match):
    rnn = layer("SimpleRNN", "r", units=2)
    layers = {
        "rnn": rnn,
        "both": layer("Bidirectional", "r", layer=rnn),
        "filter": layer("Lowpass", "r", "kspike_tf"),
    }
    config = functional(
        [
            applied(input_layer(None, 3)),
            applied(input_layer(2, name="state")),
            applied(layers[kind], [tensor("input")], **keywords),
        ],
        [["input", 0, 0], ["state", 0, 0]],
        ["r", 0, 0],
    )
    archive(path, config, {"layers/x": []})
    refused(path, match)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("Add", [tensor("input"), {"a": 1}]),
        ("Add", [tensor("input")]),
        ("LogicalOr", [tensor("input"), "x"]),
        ("Exp", [2.0]),
        ("Sigmoid", [tensor("input")] * 2),
    ],
)
def test_operations_on_what_is_no_number(path, name, given):
    operation = {**layer(name, "op"), "module": "keras.src.ops.numpy"}
    config = functional(
        [applied(input_layer(3)), applied(operation, given)], [["input", 0, 0]], ["op", 0, 0]
    )
    archive(path, config, {"layers/x": []})
    refused(path, "'op' must be called with ([12] tensors or|tensors, arrays and) numbers")


def test_a_mask_that_is_of_no_known_type(path):
    like = {**layer("OnesLike", "like"), "module": "keras.src.ops.numpy"}
    config = functional(
        [applied(input_layer(3)), applied(like, [tensor("input")], dtype="object")],
        [["input", 0, 0]],
        ["like", 0, 0],
    )
    archive(path, config, {"layers/x": []})
    refused(path, "dtype must be one of bool, int8")


def test_models_within_models_without_end(path):
    config = sequential(input_layer(4), dense("d", 2))
    for i in range(60):
        config = sequential(input_layer(4), config, name=f"m{i}")
    archive(path, config, {})
    refused(path, "nested too deeply|not readable JSON")


def test_models_that_multiply(path):
    """Each model applies its inner model twice: 2³⁰ nodes from a few kilobytes."""
    config = {**functional(
        [applied(input_layer(4)), applied(layer("Dropout", "d"), [tensor("input")])],
        [["input", 0, 0]], ["d", 0, 0], name="m0",
    )}  # fmt: skip
    for i in range(30):
        inner = applied(config, [tensor("input")], [tensor(config["config"]["name"])])
        name = inner["name"]
        config = functional(
            [applied(input_layer(4)), inner], [["input", 0, 0]], [name, 2, 0], name=f"m{i + 1}"
        )
    archive(path, config, {})
    refused(path, "more than 10000 nodes")


def test_applications_of_models_count_from_one(path):
    inner = functional([applied(input_layer(4))], [["input", 0, 0]], ["input", 0, 0], name="m")
    for number in (1, 0):
        config = functional(
            [applied(input_layer(4)), applied(inner, [tensor("input")])],
            [["input", 0, 0]],
            ["m", number, 0],
        )
        archive(path, config, {"layers/x": []})
        if number:
            load_model(path)
        else:
            refused(path, "which does not exist")


def test_a_call_with_more_arguments_than_the_layer_takes(path):
    first = applied(IDENTITY[0], [tensor("input")] * 3)
    archive(path, _two(first, applied(IDENTITY[1], [tensor("a")])), {})
    refused(path, "'a' is called with 3 arguments")


def test_arguments_nested_without_end(path):
    value = tensor("input")
    for _ in range(200):
        value = [value]
    first = applied(IDENTITY[0], [value])
    archive(path, _two(first, applied(IDENTITY[1], [tensor("a")])), {})
    refused(path, "nested too deeply")


def test_nothing_in_a_file_is_executed(path):
    code = ["4wEAAAAAAAAA", None, None]
    lambda_ = layer(
        "Lambda", "evil", function={"class_name": "__lambda__", "config": {"value": code}}
    )
    system = {**layer("system", "worse"), "module": "os", "registered_name": "os.system"}
    archive(path, sequential(input_layer(4), lambda_, system), {})
    with pytest.raises(kspike_ref.UnsupportedLayerError) as error:
        load_model(path)
    assert len(error.value.layers) == 2


def test_json_values_survive():
    assert json.loads(json.dumps(digits()[0])) == digits()[0]
