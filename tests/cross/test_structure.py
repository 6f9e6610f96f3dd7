"""Tests that model inputs and outputs have Keras' structure, before and after saving."""

from __future__ import annotations

import json
import zipfile

import keras
import numpy as np
import pytest
import versions

from kspike_ref import load_model


def _model(structure):
    """Return a model of two inputs, whose outputs y and w are in a structure."""
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    merged = keras.layers.Add()([a, b])
    y = keras.layers.Dense(2, name="y")(merged)
    w = keras.layers.Dense(3, name="w")(merged)
    return keras.Model([a, b], structure(y, w))


STRUCTURES = {
    "one": lambda y, w: y,
    "list of one": lambda y, w: [y],
    "list": lambda y, w: [y, w],
    "tuple of one": lambda y, w: (y,),
    "tuple": lambda y, w: (y, w),
    "dict of one": lambda y, w: {"o": y},
    "dict": lambda y, w: {"z": y, "b": w},
    "nested": lambda y, w: [y, {"k": (w, y)}],
    "list in a list": lambda y, w: [[y]],
    "lists in a dict": lambda y, w: {"p": [y], "q": (w,)},
    "twice": lambda y, w: [y, y],
}


def _same(got, wanted):
    """Compare outputs and the structure that holds them."""
    assert type(got) is type(wanted)
    if isinstance(wanted, dict):
        assert list(got) == list(wanted)
        for key in wanted:
            _same(got[key], wanted[key])
    elif isinstance(wanted, list):
        assert len(got) == len(wanted)
        for one, other in zip(got, wanted, strict=True):
            _same(one, other)
    else:
        assert got.dtype == wanted.dtype
        # float32 products of four numbers, added in another order
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


UNLISTED = {"list in a list": versions.since(3, 11, "loses the outer list in a file")}


@pytest.mark.parametrize("name", versions.cases(STRUCTURES, UNLISTED))
def test_outputs(name, tmp_path):
    path = tmp_path / "m.keras"
    _model(STRUCTURES[name]).save(path)
    again = keras.models.load_model(path)
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(3, 4)).astype("f4") for _ in range(2)]
    wanted = again.predict(x, verbose=0)
    model = load_model(path)
    _same(model.predict(x), wanted)
    _same(model(x), wanted)
    _same(model.predict(tuple(x), batch_size=2), wanted)
    _same(model.predict({"a": x[0], "b": x[1]}), wanted)
    again.save(path)  # saving again turns tuples into lists
    _same(load_model(path).predict(x), wanted)


@pytest.mark.parametrize("layers", [["y", 0, 0], [["y", 0, 0]], [["y", 0, 0], ["w", 0, 0]]])
def test_flat_output_layers_of_older_files(layers, tmp_path):
    path = tmp_path / "m.keras"
    _model(STRUCTURES["list"]).save(path)
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    config = json.loads(members["config.json"])
    config["config"]["output_layers"] = layers
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    x = [np.ones((3, 4), "f4")] * 2
    _same(load_model(path).predict(x), keras.models.load_model(path).predict(x, verbose=0))


INPUTS = {
    "one": (lambda a, b: a, [lambda x, y: x, lambda x, y: [x], lambda x, y: {"a": x}]),
    "list of one": (lambda a, b: [a], [lambda x, y: x, lambda x, y: (x,), lambda x, y: {"a": x}]),
    "dict of one": (lambda a, b: {"k": a}, [lambda x, y: {"k": x}, lambda x, y: [x]]),
    "tuple": (lambda a, b: (a, b), [lambda x, y: [x, y], lambda x, y: {"b": y, "a": x, "c": x}]),
    "dict": (lambda a, b: {"q": a, "p": b}, [lambda x, y: {"p": y, "q": x}]),
    "nested": (lambda a, b: [a, {"q": b}], [lambda x, y: [x, {"q": y}], lambda x, y: [x, y]]),
}


@pytest.mark.parametrize("name", INPUTS)
def test_inputs(name, tmp_path):
    structure, ways = INPUTS[name]
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    inputs = structure(a, b)
    flat = keras.tree.flatten(inputs)
    weighed = [keras.layers.Rescaling(i + 2.0)(t) for i, t in enumerate([a, b][: len(flat)])]
    model = keras.Model(inputs, keras.layers.Add()([*weighed, weighed[0]]))
    model.save(tmp_path / "m.keras")
    ours = load_model(tmp_path / "m.keras")
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(3, 4)).astype("f4") for _ in range(2))
    for way in ways:
        _same(ours.predict(way(x, y)), model.predict(way(x, y), verbose=0))


def test_unequal_batches_are_refused_by_both(tmp_path):
    model = _model(STRUCTURES["one"])
    model.save(tmp_path / "m.keras")
    x = [np.ones((16, 4), "f4"), np.ones((1, 4), "f4")]
    with pytest.raises(ValueError, match="cardinality"):
        model.predict(x, verbose=0)
    with pytest.raises(ValueError, match="Received: 16 at 'a', 1 at 'b'"):
        load_model(tmp_path / "m.keras").predict(x)


@pytest.mark.parametrize("lengths", [(5, 7), (7, 1), (1, 7)])
@pytest.mark.parametrize("kind", ["Add", "Concatenate"])
def test_different_lengths(kind, lengths, tmp_path):
    """Different lengths are refused, unless Keras repeats a single step."""
    a, b = keras.Input((None, 4), name="a"), keras.Input((None, 4), name="b")
    model = keras.Model([a, b], getattr(keras.layers, kind)()([a, b]))
    model.save(tmp_path / "m.keras")
    ours = load_model(tmp_path / "m.keras")
    x = [np.ones((2, n, 4), "f4") for n in lengths]
    try:
        wanted = model.predict(x, verbose=0)
    except Exception:
        with pytest.raises(ValueError, match=r"time steps|does not take"):
            ours.predict(x)
    else:
        _same(ours.predict(x), wanted)
