"""Tests of layers and operations with sizes and equations that no real model has."""

import time
import tracemalloc

import numpy as np
import pytest
from archives import SECONDS, applied, archive, functional, input_layer, layer, tensor

import kspike_ref
from kspike_ref import load_model

HUGE = 2**40
DIGITS = "9" * 400  # JSON has integers of any length


def operation(class_name, **config):
    return {
        "module": "keras.src.ops.numpy",
        "class_name": class_name,
        "config": {"name": "op", **config},
        "registered_name": class_name,
    }


def model(path, item, *more, shape=(6, 4), dtype="float32", **keywords):
    first = input_layer(*shape)
    first["config"]["dtype"] = dtype
    entry = applied(first)
    entry["inbound_nodes"] = []
    items = [entry, applied(item, [tensor("input"), *more], **keywords)]
    name = item["config"]["name"]
    config = functional(items, [["input", 0, 0]], [[name, 0, 0]])
    return archive(path / "m.keras", config, {})


@pytest.mark.parametrize(
    "item",
    [
        operation("OneHot", num_classes=HUGE, axis=-1, sparse=False, dtype="float32"),
        operation("OneHot", num_classes=int(DIGITS), axis=-1, sparse=False, dtype="float32"),
        operation("Pad", pad_width=[[0, 0], [0, HUGE], [0, 0]], mode="constant"),
        operation("Pad", pad_width=[[0, 0], [0, 1 << 24], [0, 1 << 24]], mode="constant"),
        operation("Pad", pad_width=[[0, 0], [0, 1 << 20], [0, 0]], mode="reflect"),
        operation("Tile", repeats=[1, 1 << 24, 1 << 24]),
        operation("Tile", repeats=[1, 1, int(DIGITS)]),
        operation("Repeat", repeats=HUGE, axis=1),
        operation("Roll", shift=HUGE, axis=1),
        operation("Split", indices_or_sections=[1] * 5000, axis=1),
        operation("Split", indices_or_sections=[-1], axis=1),
        operation("TopK", k=HUGE, sorted=True),
        operation("Einsum", subscripts="b" * 100_000),
        operation("Einsum", subscripts="bij->b; import os"),
        operation("Einsum", subscripts="bij,,,,->bz"),
        operation("Moveaxis", source=[1, 1], destination=[1, 2]),
        operation("Take", axis=7),
        layer("Resizing", "op", height=HUGE, width=4),
        layer("Resizing", "op", height=1 << 16, width=1 << 16),
        layer("Resizing", "op", height=1 << 16, width=1, pad_to_aspect_ratio=True),
        layer("CategoryEncoding", "op", num_tokens=HUGE),
        layer("MultiHeadAttention", "op", num_heads=HUGE, key_dim=HUGE),
        layer("Pipeline", "op", layers=[]),
        layer("AutoContrast", "op", value_range=[1, 1]),
        layer("Discretization", "op", bin_boundaries=[3.0, 1.0]),
    ],
    ids=lambda item: item["class_name"],
)  # fmt: skip
def test_impossible_sizes_are_refused_at_once(item, tmp_path):
    more = [tensor("input")] if item["class_name"] == "MultiHeadAttention" else []
    shape = (2, 1000, 3) if item["class_name"] in ("Resizing", "AutoContrast") else (6, 4)
    path = model(tmp_path, item, *more, shape=shape)
    start = time.process_time()
    with pytest.raises((kspike_ref.ArchiveError, kspike_ref.UnsupportedLayerError)):
        load_model(path)
    assert time.process_time() - start < SECONDS


def test_an_equation_of_too_many_operations_is_refused(tmp_path):
    item = operation("Einsum", subscripts="bij,bkl,bmn->b")
    path = model(tmp_path, item, tensor("input"), tensor("input"), shape=(30_000, 1000))
    with pytest.raises(kspike_ref.ArchiveError, match="needs too many operations"):
        load_model(path)


def test_indices_that_a_file_holds_are_checked(tmp_path):
    loaded = load_model(model(tmp_path, operation("Take", axis=1), [0, 99]))
    with pytest.raises(ValueError, match="layer 'op' takes indices from -6 to 5"):
        loaded.predict(np.zeros((1, 6, 4), np.float32))


def test_an_equation_with_a_huge_product_in_between_is_refused(tmp_path):
    item = operation("Einsum", subscripts="bi,bj,bij->b")
    path = model(tmp_path, item, tensor("input"), tensor("input"), shape=(60_000,))
    with pytest.raises(kspike_ref.ArchiveError):  # the third has too few axes
        load_model(path)
    item = operation("Einsum", subscripts="bik,bjk,bik,bjk->b")
    path = model(tmp_path, item, *[tensor("input")] * 3, shape=(60_000, 2))
    with pytest.raises(kspike_ref.ArchiveError, match="needs too many operations"):
        load_model(path)


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_images_in_between_that_are_huge_are_refused(interpolation, tmp_path):
    """If one axis is stretched first, a single column of pixels becomes a huge image."""
    item = layer("Resizing", "op", height=1, width=1 << 16, interpolation=interpolation)
    path = model(tmp_path, item, shape=(1 << 16, 1, 1))
    if interpolation == "nearest":  # resizes the axes in the order that makes less
        load_model(path)
        return
    with pytest.raises(kspike_ref.ArchiveError, match="to resize"):
        load_model(path)
    loaded = load_model(model(tmp_path, item, shape=(None, 1, 1)))
    with pytest.raises(ValueError, match="to resize"):
        loaded.predict(np.zeros((1, 1 << 16, 1, 1), np.float32))
    with pytest.raises(ValueError, match="needs images with at least one pixel"):
        loaded.predict(np.zeros((1, 0, 1, 1), np.float32))


def test_a_vocabulary_that_repeats_itself_is_refused_soon(tmp_path):
    words = [-1] * 200_000 + [7]
    item = layer("IntegerLookup", "op", vocabulary=words, num_oov_indices=1)
    path = model(tmp_path, item, dtype="int32")
    start = time.process_time()
    with pytest.raises(kspike_ref.ArchiveError, match="must not repeat a token"):  # as in Keras
        load_model(path)
    assert time.process_time() - start < SECONDS


def test_categories_do_not_take_memory_for_each_pair(tmp_path):
    """A file of 1 kB asked for 2 GB: every integer of an example times every category."""
    item = layer("CategoryEncoding", "op", num_tokens=1 << 20, output_mode="multi_hot")
    loaded = load_model(model(tmp_path, item, shape=(2000,)))
    assert loaded.cost((1, 2000)).bytes < 64 << 20
    tracemalloc.start()
    y = loaded.predict(np.arange(2000, dtype=np.float32)[None])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20
    np.testing.assert_array_equal(np.flatnonzero(y[0]), np.arange(2000))


@pytest.mark.parametrize("bins", [[float("nan"), 1.0], [1e300]])
def test_bins_that_are_no_numbers_are_refused(bins, tmp_path):
    with pytest.raises(kspike_ref.ArchiveError, match="cannot hold bin_boundaries"):
        load_model(model(tmp_path, layer("Discretization", "op", bin_boundaries=bins)))


@pytest.mark.parametrize(
    "item",
    [
        layer("Resizing", "op", height=2, width=2, antialias="no"),
        layer("Resizing", "op", height=2, width=2, pad_to_aspect_ratio=1),
        layer("Resizing", "op", height=2, width=2, data_format="channels"),
        layer("Resizing", "op", height=2, width=2, fill_value=float("nan")),
        layer("AutoContrast", "op", value_range=[0.0, float("nan")]),
        layer("MultiHeadAttention", "op", num_heads=1, key_dim=1, use_bias="false"),
        layer("ConvLSTM1D", "op", filters=1, kernel_size=[1], use_bias=0),
        layer("UpSampling2D", "op", size=[2.9, 2]),
        layer("Reshape", "op", target_shape=[True, "6000"]),
        operation("Reshape", newshape=[None, 6000.5]),
        operation("Transpose", axes=[0, 2.0, 1, 3]),
        operation("Argmax", axis=1, keepdims="no"),
    ],
    ids=lambda item: item["class_name"],
)
def test_options_of_another_type_are_refused(item, tmp_path):
    """Values that Python takes for true, or rounds to an integer."""
    more = [tensor("input")] if item["class_name"] == "MultiHeadAttention" else []
    with pytest.raises(kspike_ref.ArchiveError, match=r"must (be|hold)"):
        load_model(model(tmp_path, item, *more, shape=(2, 1000, 3)))


@pytest.mark.parametrize(
    "item",
    [
        operation("Argmax", axis=-1),
        operation("OneHot", num_classes=3, axis=-1),
        layer("Identity", "op"),
    ],
    ids=lambda item: item["class_name"],
)
def test_layers_that_are_called_with_numbers_alone_are_refused(item, tmp_path):
    """They would run as inputs of the model."""
    path = tmp_path / "m.keras"
    first = {**applied(input_layer(4)), "inbound_nodes": []}
    config = functional([first, applied(item, [[1, 2]])], [["input", 0, 0]], [["op", 0, 0]])
    with pytest.raises(kspike_ref.ArchiveError, match="tensor"):
        load_model(archive(path, config, {}))


@pytest.mark.parametrize("function", [np.add, np.multiply])
def test_sums_in_pieces_have_the_bits_of_one(monkeypatch, function):
    """A long sum in one NumPy call would delay Ctrl-C."""
    from kspike_ref.layers.ops import along_axis

    x = np.random.default_rng(0).normal(size=(3, 50, 4)).astype(np.float32)
    for piece in (1, 40, 1 << 22):
        monkeypatch.setattr(along_axis, "_PIECE", piece)
        for axis in (1, 2):
            y = along_axis.cumulated(function, x, axis, np.dtype("float32"))
            np.testing.assert_array_equal(y, function.accumulate(x, axis=axis))
