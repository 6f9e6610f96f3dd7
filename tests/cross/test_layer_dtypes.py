"""Every layer and operation on every type of numbers: values and types, against Keras."""

from __future__ import annotations

import warnings

import keras
import ml_dtypes
import numpy as np
import pytest
from entries import ENTRIES, USES

import kspike_ref
from kspike_ref import dtypes
from kspike_ref.graph import substitute
from kspike_ref.layers.registry import _registry

# Everyday: what files hold. The others take the same ways through the code.
EVERYDAY = ("bool", "uint8", "int32", "float32")
TYPES = [
    pytest.param(name, marks=() if name in EVERYDAY else pytest.mark.slow)
    for name in (*EVERYDAY, *sorted(set(dtypes.NAMES) - set(EVERYDAY)))
]
# Of the largest value: float32 sums in another order; two units in the last place where Keras may
# compute in half precision and kspike_ref in float32.
HALVES = {"float16": 2 * 2.0**-10, "bfloat16": 2 * 2.0**-7}
SUMS = {"float32": 1e-5, "float64": 1e-13}


def test_the_table_holds_every_layer_and_operation():
    own = {key for key in _registry if not key.startswith("custom:")}
    own |= {key for key in _registry if key.startswith("custom:kspike_tf>")}
    assert set(ENTRIES) == own | {"custom:LayerScale"}


def _values(dtype, shape, within, rng):
    """Draw numbers that a type is good for: integers near the ends of bytes."""
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
    """Entries applied to inputs of given types, in Keras."""

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
            answer = model([keras.ops.convert_to_tensor(self.values[key]) for key in given])
        except Exception:  # noqa: BLE001 (TensorFlow has many, for types that it does not take)
            self.refused[name] = output
        else:
            self.answers[name] = (output, np.asarray(answer))

    def loaded(self, path, outputs):
        keras.Model(list(self.inputs.values()), outputs).save(path)
        return kspike_ref.load_model(path)

    def compare(self, path):
        """Predict what Keras answers, in one model."""
        outputs = [output for output, _ in self.answers.values()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model = self.loaded(path, outputs)
        ours = model.predict(list(self.values.values()))
        problems = []
        for (name, (_, theirs)), y in zip(self.answers.items(), ours, strict=True):
            problem = _problem(y, theirs, self.entries[name].is_cut, self.tolerance)
            if problem:
                problems.append(f"{name}: {problem}")
        assert not problems, "\n".join(problems)

    def refuse(self, path):
        """Refuse, in words, what Keras refuses."""
        if not self.refused:
            return
        model = self.loaded(path, list(self.refused.values()))
        values = dict(zip([node.name for node in model.nodes], self.values.values(), strict=False))
        entry_of = {y._keras_history.operation.name: name for name, y in self.refused.items()}
        problems = []
        made = {}
        for i, node in enumerate(model.nodes):
            if not node.inputs:
                made[i] = dtypes.real(values[node.name])
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
    """Say in what an answer differs from Keras', in type or in values."""
    wanted = dtypes.computed(theirs.dtype)
    if ours.dtype != wanted or ours.shape != theirs.shape:
        return f"{ours.dtype} {ours.shape} instead of {wanted} {theirs.shape}"
    if is_cut:  # what TensorFlow makes of numbers beyond a type depends on the processor
        ours, theirs = ours[ours > 0], theirs[ours > 0]
        assert ours.size
    if wanted.kind != "f":
        return "" if (ours == theirs).all() else f"{ours.ravel()[:9]} instead of {theirs.ravel()[:9]}"
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
