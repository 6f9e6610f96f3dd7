"""Tests of keras.ops operations: values and types against Keras, streaming, refusals."""

import keras
import numpy as np
import pytest
import versions
from agreement import check, check_mixes, check_streams, normal

import kspike_ref

L = keras.layers
ops = keras.ops

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(9, 2)).astype("float32")
SQUARE = RNG.normal(size=(4, 3)).astype("float32")
FLOATS, NUMBERS, ALL = ("float32",), ("float32", "int32", "uint8"), ("float32", "int32", "bool")

# name -> function of a tensor (batch, 6, 4), types, and whether axis 1 may be time
UNARY = {
    "gelu": (lambda x: ops.gelu(x, approximate=False), FLOATS, True),
    "gelu by tanh": (ops.gelu, FLOATS, True),
    "leaky_relu": (lambda x: ops.leaky_relu(x, 0.3), FLOATS, True),
    "elu": (lambda x: ops.elu(x, 0.5), FLOATS, True),
    "celu": (lambda x: ops.celu(x, 0.3), FLOATS, True),
    "glu": (ops.glu, FLOATS, True),
    "glu of time": (lambda x: ops.glu(x, axis=1), FLOATS, False),
    "hard_tanh": (ops.hard_tanh, FLOATS, True),
    "hard_shrink": (lambda x: ops.hard_shrink(x, 0.2), FLOATS, True),
    "soft_shrink": (ops.soft_shrink, FLOATS, True),
    "threshold": (lambda x: ops.threshold(x, 0.1, 0.3), FLOATS, True),
    "log_softmax": (ops.log_softmax, FLOATS, True),
    "log_softmax of time": (lambda x: ops.log_softmax(x, axis=1), FLOATS, False),
    "sparsemax": (ops.sparsemax, FLOATS, True),
    "squareplus": (lambda x: ops.squareplus(x, 2), FLOATS, True),
    "erf": (ops.erf, FLOATS, True),
    "arctan": (ops.arctan, ALL, True),
    "sinh": (ops.sinh, ALL, True),
    "isnan": (ops.isnan, ALL, True),
    "saturate_cast": (lambda x: ops.saturate_cast(x * 200, "uint8"), ("float32", "int32"), True),
    "where": (lambda x: ops.where(x > 0, x, 0.5), NUMBERS, True),
    "where of constants": (lambda x: ops.where(x > 0, 1, 0), NUMBERS, True),
    "add a row": (lambda x: x + SQUARE[None, None, :, 0], FLOATS, True),
    "where of rows": (lambda x: ops.where(x > 0, x, SQUARE[:, 0]), NUMBERS, True),
    "split": (lambda x: ops.split(x, 2, axis=-1), ALL, True),
    "split at ends": (lambda x: ops.split(x, [1, 1, 4], axis=1), ALL, False),
    "unstack": (lambda x: ops.unstack(x, axis=2), ALL, True),
    "take": (lambda x: ops.take(x, [0, -1, 1], axis=-1), ALL, True),
    "take one": (lambda x: ops.take(x, 2, axis=1), ALL, False),
    "take a table": (lambda x: ops.take(x, [[0, 1], [2, 2]], axis=2), ALL, True),
    "take_along_axis": (
        lambda x: ops.take_along_axis(x, ops.argsort(x, axis=-1), axis=-1), NUMBERS, True,
    ),
    "pad": (lambda x: ops.pad(x, [[0, 0], [0, 0], [1, 2]], constant_values=3), NUMBERS, True),
    "pad time": (lambda x: ops.pad(x, [[0, 0], [2, 0], [0, 0]]), ALL, False),
    "pad by reflection": (lambda x: ops.pad(x, [[0, 0], [2, 1], [0, 3]], "reflect"), ALL, False),
    "pad symmetrically": (lambda x: ops.pad(x, [[0, 0], [2, 1], [0, 4]], "symmetric"), ALL, False),
    "repeat": (lambda x: ops.repeat(x, 3, axis=-1), ALL, True),
    "repeat each": (lambda x: ops.repeat(x, [1, 0, 2, 1], axis=2), ALL, True),
    "repeat time": (lambda x: ops.repeat(x, 2, axis=1), ALL, False),
    "tile": (lambda x: ops.tile(x, [1, 1, 2]), ALL, True),
    "tile short": (lambda x: ops.tile(x, [2]), ALL, True),
    "swapaxes": (lambda x: ops.swapaxes(x, -1, 1), ALL, False),
    "moveaxis": (lambda x: ops.moveaxis(x, 1, 2), ALL, False),
    "flip": (lambda x: ops.flip(x, axis=-1), ALL, True),
    "flip time": (lambda x: ops.flip(x, axis=1), ALL, False),
    "roll": (lambda x: ops.roll(x, -3, axis=2), ALL, True),
    "one_hot": (lambda x: ops.one_hot(ops.cast(x, "int32"), 5), NUMBERS, True),
    "one_hot in front": (
        lambda x: ops.one_hot(ops.cast(x, "int32"), 5, axis=1, dtype="int8"), NUMBERS, False,
    ),
    "multi_hot": (lambda x: ops.multi_hot(ops.cast(x[:, :, 0], "int32"), 5), NUMBERS, False),
    "argmax": (lambda x: ops.argmax(x, axis=-1), NUMBERS, True),
    "argmin": (lambda x: ops.argmin(x, axis=1, keepdims=True), NUMBERS, False),
    "var": (lambda x: ops.var(x, axis=-1), ALL, True),
    "std": (lambda x: ops.std(x, axis=(1, 2), keepdims=True), ALL, False),
    "logsumexp": (lambda x: ops.logsumexp(x, axis=-1, keepdims=True), FLOATS, True),
    "count_nonzero": (lambda x: ops.count_nonzero(x, axis=-1), ALL, True),
    "norm": (lambda x: ops.norm(x, axis=-1), ("float32", "int32"), True),
    "norm 1": (lambda x: ops.norm(x, ord=1, axis=1, keepdims=True), FLOATS, False),
    "norm 3": (lambda x: ops.norm(x, ord=3, axis=2), FLOATS, True),
    "norm inf": (lambda x: ops.norm(x, ord=float("inf"), axis=2), FLOATS, True),
    "norm of matrices": (lambda x: ops.norm(x, ord="fro", axis=(1, 2)), FLOATS, False),
    "normalize": (ops.normalize, FLOATS, True),
    "normalize 1": (lambda x: ops.normalize(x, axis=1, order=1), FLOATS, False),
    "sort": (lambda x: ops.sort(x, axis=-1), NUMBERS, True),
    "cumsum": (lambda x: ops.cumsum(x, axis=-1), NUMBERS, True),
    "cumsum of time": (lambda x: ops.cumsum(x, axis=1), NUMBERS, False),
    "top_k": (lambda x: ops.top_k(x, 2), NUMBERS, True),
    "matmul": (lambda x: ops.matmul(x, SQUARE), FLOATS, True),
    "matmul with a vector": (lambda x: ops.matmul(x, SQUARE[:, 0]), FLOATS, True),
    "matmul of itself": (lambda x: ops.matmul(x, ops.swapaxes(x, 1, 2)), ALL, False),
    "matmul from the left": (lambda x: ops.matmul(np.ones((2, 6), "float32"), x), FLOATS, False),
    "einsum": (lambda x: ops.einsum("bti,btj->bij", x, x), FLOATS, False),
    "einsum within steps": (lambda x: ops.einsum("bti,btj->btij", x, x), FLOATS, True),
    "einsum of a constant": (lambda x: ops.einsum("...i,ij->...j", x, SQUARE), FLOATS, True),
    "einsum from the left": (lambda x: ops.einsum("ij,bti->btj", SQUARE, x), FLOATS, True),
    "einsum of three": (lambda x: ops.einsum("bti,ij,bsj->bst", x, SQUARE[:, :3], x[:, :, :3]),
                        FLOATS, False),
    "einsum that sums": (lambda x: ops.einsum("btc->bc", x), FLOATS, False),
}  # fmt: skip


def values(dtype, *shape):
    x = normal(*shape)
    if dtype == "uint8":
        return (np.abs(x) * 2).astype(dtype)
    return x > 0.3 if dtype == "bool" else (x * 2).astype(dtype)


_SINCE = {
    "split at ends": (3, 9, "fails to split at several places"),
    "logsumexp": (3, 11, "takes no single axis in logsumexp"),
}
FAILING = {name for name, (*version, _) in _SINCE.items() if tuple(version) > versions.KERAS}


@pytest.mark.parametrize(
    "name", versions.cases(UNARY, {name: versions.since(*since) for name, since in _SINCE.items()})
)
def test_operation(name, tmp_path):
    function, kinds, streams = UNARY[name]
    for dtype in kinds:
        x = L.Input((6, 4), dtype=dtype)
        check(keras.Model(x, function(x)), tmp_path, values(dtype, 3, 6, 4))
    x = L.Input((None, 4), dtype=kinds[0])
    try:
        model = keras.Model(x, function(x))
    except ValueError:  # Keras needs the length as well
        assert not streams
        return
    model.save(tmp_path / "m.keras")
    try:
        loaded = kspike_ref.load_model(tmp_path / "m.keras")
    except kspike_ref.UnsupportedLayerError:
        assert not streams
        return
    given = values(kinds[0], 2, 6, 4)
    if streams:
        check_streams(loaded, given)
    else:
        check_mixes(loaded)


def test_take_from_a_table(tmp_path):
    x = L.Input((5,), dtype="int32")
    model = keras.Model(x, ops.take(TABLE, x, axis=0))
    loaded = check(model, tmp_path, np.array([[0, 8, 3, -1, 2]], "int32"))
    with pytest.raises(ValueError, match=r"takes indices from -9 to 8. Received: 0 to 9"):
        loaded.predict(np.array([[0, 9, 1, 1, 1]]))


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: ops.flip(x, axis=0), "axis=0 mixes the examples"),
        (lambda x: ops.argmax(x), "axis=None mixes the examples"),
        (lambda x: ops.pad(x, 1), "pad_width=1 mixes the examples"),
        (lambda x: ops.tile(x, [2, 1, 1]), "mixes the examples"),
        (lambda x: ops.einsum("bti->ti", x), "mixes the examples"),
        (lambda x: ops.matmul(x[:, 0], ops.transpose(x[:, 0])), "mixes the examples"),
        (lambda x: ops.einsum("btt->b", x[:, :4]), "an axis named twice"),
        (lambda x: ops.norm(x, ord="nuc", axis=(1, 2)), "ord='nuc'"),
        (lambda x: ops.top_k(x, 2, sorted=False), "sorted=False"),
    ],
)
def test_refusals_say_why(function, reason, tmp_path):
    x = L.Input((6, 4))
    keras.Model(x, function(x)).save(tmp_path / "m.keras")
    with pytest.raises(kspike_ref.UnsupportedLayerError, match=reason):
        kspike_ref.load_model(tmp_path / "m.keras")


@pytest.mark.parametrize("indices", [1.7, [1.7, 2.2], np.array([1.0, 2.0]), [True, False]])
def test_indices_of_take_are_integers(indices, tmp_path):
    x = keras.Input((6,))
    keras.Model(x, ops.take(x, indices, axis=1)).save(tmp_path / "m.keras")
    with pytest.raises(Exception, match=r"Tindices|bool"):  # TensorFlow refuses them as well
        keras.saving.load_model(tmp_path / "m.keras")(np.ones((2, 6), "f4"))
    with pytest.raises(kspike_ref.ArchiveError, match=r"indices must be integers. Received: "):
        kspike_ref.load_model(tmp_path / "m.keras")
