"""Tests of every layer and operation on every number type: values and types, against Keras."""

from __future__ import annotations

import pickle
import warnings

import agreement
import keras
import ml_dtypes
import numpy as np
import pytest
import versions
from entries import ENTRIES, USES

import kspike_ref
from kspike_ref import dtypes
from kspike_ref.layers.registry import _registry
from kspike_ref.running.graph import substitute

# Types that saved files use. The others take the same code paths.
EVERYDAY = ("bool", "uint8", "int32", "float32")
TYPES = [
    pytest.param(name, marks=() if name in EVERYDAY else pytest.mark.slow)
    for name in (*EVERYDAY, *sorted(set(dtypes.NAMES) - set(EVERYDAY)))
]
# Relative to the largest value: two units in the last place if Keras may compute in half precision
# and kspike_ref in float32; and sums in another order.
HALVES = {"float16": 2 * 2.0**-10, "bfloat16": 2 * 2.0**-7}
SUMS = {"float32": 1e-5, "float64": 1e-13}


@versions.whole_table
def test_the_table_holds_every_layer_and_operation():
    missing = {
        key
        for key, cls in _registry.items()
        if cls.__module__.startswith("kspike_ref.") and key not in ENTRIES
        # A Lambda's function belongs to the user and gets the raw input; test_strings has strings.
        if key not in ("Lambda", "Hashing", "StringLookup", "TextVectorization")
    }
    assert not missing
    assert set(ENTRIES) <= set(_registry)


def _values(dtype, shape, within, rng):
    """Draw numbers that suit a type: integers reach near the limits of a byte."""
    shape = (2, *shape)
    if within is not None:
        x = rng.integers(within[0], within[1] + 1, shape)
    elif dtype == "bool":
        x = rng.integers(0, 2, shape)
    elif dtype in dtypes.FLOATS:
        x = rng.normal(0, 2, shape)
    else:
        x = rng.integers(0, 201, shape) if dtype[0] == "u" else rng.integers(-100, 101, shape)
    return x.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


class Table:
    """Entries applied in Keras to inputs of specified types."""

    def __init__(self, entries, *types):
        rng = np.random.default_rng(0)
        self.entries = entries
        self.tolerance = max(HALVES.get(name, 0) for name in types)
        self.inputs, self.values, self.answers, self.refused = {}, {}, {}, {}
        for name, entry in entries.items():
            if not set(entry.left_out).isdisjoint(types):
                continue
            given = []
            for i, shape in enumerate(entry.shapes):
                dtype = types[i % len(types)]
                key = (dtype, shape, entry.within, i)
                if key not in self.inputs:
                    self.inputs[key] = keras.Input(shape, dtype=dtype)
                    self.values[key] = _values(*key[:3], rng)
                given.append(key)
            self._apply(name, entry, given)

    def _apply(self, name, entry, given):
        tensors = [self.inputs[key] for key in given]
        output = entry.build(*tensors)
        model = keras.Model(tensors, output)
        if given[0][0] in entry.refused:
            self.refused[name] = output
            return
        try:
            values = [keras.ops.convert_to_tensor(self.values[key]) for key in given]
            answer = agreement.answers(model, values)
        except Exception:
            self.refused[name] = output
        else:
            self.answers[name] = (output, np.asarray(answer))

    def loaded(self, path, outputs):
        keras.Model(list(self.inputs.values()), outputs).save(path)
        return kspike_ref.load_model(path)

    def compare(self, path):
        """Compare predictions of all entries, in one model, with the answers of Keras."""
        outputs = [output for output, _ in self.answers.values()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model = self.loaded(path, outputs)
        model = pickle.loads(pickle.dumps(model))
        ours = model.predict(list(self.values.values()))
        ours = ours if isinstance(ours, list) else [ours]  # one output comes without a list
        problems = []
        for (name, (_, theirs)), y in zip(self.answers.items(), ours, strict=True):
            problem = _problem(y, theirs, self.entries[name].is_cut, self.tolerance)
            if problem:
                problems.append(f"{name}: {problem}")
        assert not problems, "\n".join(problems)

    def refuse(self, path):
        """Check that kspike_ref refuses, with a message, what Keras refuses."""
        if not self.refused or versions.KERAS < versions.NEWEST:
            return
        model = self.loaded(path, list(self.refused.values()))
        values = dict(zip([node.name for node in model.nodes], self.values.values(), strict=False))
        entry_of = {y._keras_history.operation.name: name for name, y in self.refused.items()}
        problems = []
        made = {}
        for i, node in enumerate(model.nodes):
            if not node.inputs:
                made[i] = dtypes.real(values[node.name], "x must be an array")
                continue
            if any(ref.node not in made for ref in node.inputs):
                continue
            try:
                made[i] = node.layer(*substitute(node.arguments, lambda ref: made[ref.node]))
            except (TypeError, ValueError) as error:
                if node.name not in str(error):
                    problems.append(f"{node.name}: {error}")
            else:
                if node.name in entry_of:
                    problems.append(f"{entry_of[node.name]} is answered")
        assert not problems, "\n".join(problems)
        assert not set(entry_of) & {model.nodes[i].name for i in made}


def _problem(ours, theirs, is_cut, tolerance):
    """Describe how an answer differs from Keras' in type or values; "" if it does not."""
    wanted = dtypes.computed(theirs.dtype)
    if ours.dtype != wanted or ours.shape != theirs.shape:
        return f"{ours.dtype} {ours.shape} instead of {wanted} {theirs.shape}"
    if is_cut:  # TensorFlow's cast of numbers beyond a type's range depends on the processor
        ours, theirs = ours[ours > 0], theirs[ours > 0]
        assert ours.size
    if wanted.kind != "f":
        differs = ours != theirs
        return f"{ours[differs][:9]} instead of {theirs[differs][:9]}" if differs.any() else ""
    tolerance = max(tolerance, SUMS[wanted.name], HALVES.get(theirs.dtype.name, 0))
    theirs = theirs.astype(np.float64)
    scale = np.abs(theirs[np.isfinite(theirs)]).max(initial=1e-30)
    close = np.isclose(ours, theirs, rtol=tolerance, atol=tolerance * scale, equal_nan=True)
    return "" if close.all() else f"{ours[~close][:5]} instead of {theirs[~close][:5]}"


@pytest.mark.parametrize("dtype", TYPES)
def test_layers_and_operations_answer_as_keras_or_refuse(dtype, tmp_path):
    table = Table(ENTRIES | USES, dtype)
    table.compare(tmp_path / "answers.keras")
    table.refuse(tmp_path / "refused.keras")


PAIRS = [
    pytest.param(*pair, marks=() if i < 3 else pytest.mark.slow)
    for i, pair in enumerate(
        [
            ("bool", "float32"), ("uint8", "int8"), ("int64", "float16"), ("bool", "int32"),
            ("float64", "float32"), ("float32", "uint8"), ("int16", "uint16"), ("uint32", "int32"),
            ("uint64", "int8"), ("bfloat16", "float16"), ("int32", "float64"), ("uint8", "bool"),
        ]
    )
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_operands_of_two_types_are_promoted_as_in_keras(one, other, tmp_path):
    table = Table({k: e for k, e in (ENTRIES | USES).items() if len(e.shapes) == 2}, one, other)
    table.compare(tmp_path / "answers.keras")
    table.refuse(tmp_path / "refused.keras")


def test_masked_mean_of_a_boolean_mask(tmp_path):
    e, mask = keras.Input((3, 2)), keras.Input((3, 1), dtype="bool")
    mean = keras.ops.sum(e * mask, 1) / keras.ops.sum(mask, 1)
    keras.Model([e, mask], mean).save(tmp_path / "m.keras")
    x = np.float32([[[1, 1], [1, 1], [1, 1]], [[1, 1], [1, 1], [1, 1]]])
    given = [x, np.array([[[True], [True], [False]], [[True], [True], [True]]])]
    y = kspike_ref.load_model(tmp_path / "m.keras").predict(given)
    assert y.tolist() == [[1, 1], [1, 1]]


def _timed_model(path, dtype):
    """Save a model of integers over any number of steps; its layers keep, count and average."""
    x = keras.Input((None, 3), dtype=dtype)
    outputs = [
        keras.layers.GlobalMaxPooling1D()(x),
        keras.layers.GlobalAveragePooling1D()(x),
        keras.layers.Dense(2)(x),
        keras.ops.sum(x, axis=-1),
        x / 2,
    ]
    model = keras.Model(x, outputs)
    model.save(path)
    return model, kspike_ref.load_model(path)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool"])
def test_integers_are_stepped_and_repeated_as_they_are_predicted(dtype, tmp_path):
    model, loaded = _timed_model(tmp_path / "m.keras", dtype)
    x = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 100, (2, 4, 3)).astype(dtype)
    ours = loaded.predict(x)
    for y, theirs in zip(ours, model(x), strict=True):
        assert not _problem(y, np.asarray(theirs), False, 0)
    state = loaded.initial_state(2)
    for t in range(4):
        y, state = loaded.step(x[:, t], state)
    for stepped, whole in zip(y, ours, strict=True):
        last = whole[:, -1] if whole.ndim > 1 and whole.shape[1] == 4 else whole
        assert stepped.dtype == whole.dtype
        np.testing.assert_array_equal(stepped.reshape(last.shape), last)
    repeated = loaded.predict(x[:, 0], timesteps=3)
    for y, whole in zip(repeated, loaded.predict(np.repeat(x[:, :1], 3, axis=1)), strict=True):
        assert y.dtype == whole.dtype
        np.testing.assert_array_equal(y, whole)


def test_inputs_of_bfloat16_are_taken_as_float32(tmp_path):
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "m.keras")
    loaded = kspike_ref.load_model(tmp_path / "m.keras")
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(ml_dtypes.bfloat16)
    y = loaded.predict(x)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, loaded.predict(x.astype(np.float32)))


@pytest.mark.parametrize(
    ("build", "dtype", "message"),
    [
        (keras.layers.Conv1D(2, 2), "uint8", r"'conv\w*' \(Conv1D\) takes floats.*dtype=uint8"),
        (keras.layers.MaxPooling1D(2), "uint32", r"takes .* except uint32.*dtype=uint32"),
        (lambda x: x + x, "bool", r"'add' \(Add\) takes signed integers and .*dtype=bool"),
        (lambda x: x // 0, "int32", "'floor_divide' divides integers by zero"),
        (lambda x: x**-1, "int32", "'power' raises integers to negative powers"),
    ],
)
def test_errors_name_the_layer_what_it_takes_and_what_came(build, dtype, message, tmp_path):
    keras.backend.clear_session()
    x = keras.Input((4, 3), dtype=dtype)
    keras.Model(x, build(x)).save(tmp_path / "m.keras")
    with pytest.raises((TypeError, ValueError), match=message):
        kspike_ref.load_model(tmp_path / "m.keras").predict(np.ones((2, 4, 3), dtype))
