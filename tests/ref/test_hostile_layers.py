"""Sizes and equations that no real model has, in layers and operations that make arrays of them."""

import time

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
    shape = (6, 4, 3) if item["class_name"] in ("Resizing", "AutoContrast") else (6, 4)
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
    with pytest.raises(ValueError, match="indices must be from -6 to 5 at 'op'"):
        loaded.predict(np.zeros((1, 6, 4), np.float32))
