"""Every argument of every operation: it has the effect that it has in Keras, or is refused."""

from __future__ import annotations

import inspect
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
import versions
from keras import ops

import kspike_ref
from kspike_ref.layers.base import UnsupportedUseError
from kspike_ref.layers.operation import function_name
from kspike_ref.layers.registry import _registry, create

SHAPE = (5, 1, 4)  # without the batch
TENSORS = {"x", "x1", "x2", "xs"}
OPERATIONS = {key: cls for key, cls in _registry.items() if key.startswith("ops:")}
HERE = ("arithmetic", "casting", "operations")  # modules; test_more_operations has the others
NAMES = sorted(
    function_name(key[4:])
    for key, cls in OPERATIONS.items()
    if cls.__module__.split(".")[-1] in HERE
)
_REDUCING = ("mean", "sum", "max", "min", "prod", "any", "all")

HONOURED = [
    *((name, {"axis": axis}) for name in _REDUCING for axis in (1, -1, (1, 2), (-1, 1), [3])),
    *((name, {"axis": -1, "keepdims": True}) for name in _REDUCING),
    ("max", {"axis": 1, "initial": 1.5}),
    ("max", {"axis": (1, 3), "keepdims": True, "initial": 9}),
    ("min", {"axis": 1, "initial": -0.5}),
    ("ones_like", {"dtype": "int8"}),
    ("zeros_like", {"dtype": "bool"}),
    ("reshape", {"newshape": (-1, 20)}),
    ("reshape", {"newshape": (-1, 2, 10)}),
    ("reshape", {"newshape": (-1, 4, 5, 1)}),
    ("transpose", {"axes": (0, 3, 1, 2)}),
    ("expand_dims", {"axis": 1}),
    ("expand_dims", {"axis": -1}),
    ("expand_dims", {"axis": (1, -1)}),
    ("squeeze", {"axis": 2}),
    ("squeeze", {"axis": -2}),
    ("squeeze", {"axis": (2,)}),
    ("squeeze", {"axis": None}),
    ("concatenate", {"axis": 1}),
    ("concatenate", {"axis": -1}),
    ("stack", {"axis": 1}),
    ("stack", {"axis": -1}),
    ("clip", {"x_min": -0.5, "x_max": 1}),
    ("clip", {"x_min": 1, "x_max": -1}),
    ("softmax", {"axis": 1}),
    ("softmax", {"axis": -1}),
    *(
        ("get_item", {"key": key})
        for key in (np.s_[:, 1], np.s_[..., 0], np.s_[:, None], np.s_[:, ::-2], np.s_[:, -2:, :, 1])
    ),
    ("cast", {"dtype": "int32"}),
]
if not tf.__version__.startswith("2.18."):  # which ends the process for negative axes
    HONOURED.append(("transpose", {"axes": (0, -1, 2, 1)}))
REFUSED = [
    *((name, {"axis": axis}, "axis") for name in _REDUCING for axis in (None, 0, -4, (0, 1))),
    ("prod", {"axis": 1, "dtype": "float64"}, "dtype"),  # Keras takes it and does nothing
    ("reshape", {"newshape": (-1, 4)}, "newshape"),
    ("reshape", {"newshape": (20, -1)}, "newshape"),
    ("transpose", {"axes": None}, "axes"),
    ("transpose", {"axes": (1, 0, 2, 3)}, "axes"),
    ("expand_dims", {"axis": 0}, "axis"),
    ("expand_dims", {"axis": -5}, "axis"),
    ("concatenate", {"axis": 0}, "axis"),
    ("concatenate", {}, "axis"),
    ("stack", {"axis": 0}, "axis"),
    ("stack", {}, "axis"),
    ("softmax", {"axis": None}, "axis"),
    ("softmax", {"axis": 0}, "axis"),
    ("softmax", {"axis": (1, 3)}, "axis"),
    *(
        ("get_item", {"key": key}, "index")
        for key in (0, np.s_[1:, :], np.s_[::2, 1], np.s_[None, :])
    ),
]


def _apply(name, x, options):
    if name == "get_item":
        return x[options["key"]]
    several = name in ("concatenate", "stack")
    return getattr(ops, name)([x, x * 2.0] if several else x, **options)


@versions.whole_table
def test_the_table_holds_every_argument():
    for name in NAMES:
        wanted = set(inspect.signature(getattr(ops, name)).parameters) - TENSORS
        held = [options for one, options, *_ in (*HONOURED, *REFUSED) if one == name]
        assert wanted == set().union(*held), name


def test_no_operation_drops_an_argument_that_it_does_not_know():
    for key in OPERATIONS:
        config = {"name": "it", "surprise": 1}
        serialised = {"module": "keras.src.ops.numpy", "class_name": key[4:], "config": config}
        with pytest.raises(UnsupportedUseError, match=r"it: keras.ops.* 'surprise' is not supp"):
            create(serialised)


def test_arguments_have_the_effect_of_keras(tmp_path):
    x = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)
    tensor = keras.Input(SHAPE)
    model = keras.Model(tensor, [_apply(name, tensor, options) for name, options in HONOURED])
    model.save(tmp_path / "m.keras")
    ours = kspike_ref.load_model(tmp_path / "m.keras").predict(x)
    for y, theirs, case in zip(ours, model(x), HONOURED, strict=True):
        assert y.dtype == theirs.dtype.name, case
        # float32 sums of twenty terms, in another order
        np.testing.assert_allclose(y, theirs, rtol=1e-5, atol=1e-6, err_msg=str(case))


@pytest.mark.parametrize(("name", "options", "argument"), REFUSED)
def test_arguments_without_effect_here_are_refused_by_name(name, options, argument, tmp_path):
    tensor = keras.Input(SHAPE)
    output = _apply(name, tensor, options)
    keras.Model(tensor, [output, tensor]).save(tmp_path / "m.keras")
    layer = output._keras_history.operation.name
    with pytest.raises(kspike_ref.UnsupportedLayerError) as caught:
        kspike_ref.load_model(tmp_path / "m.keras")
    (line,) = caught.value.layers
    assert re.match(f"{layer}: keras.ops.{name} with .*{argument}", line)


def test_what_follows_a_refused_operation_is_no_damage(tmp_path):
    tensor = keras.Input((5, 4))
    shorter = ops.mean(tensor, axis=0)  # without the batch
    keras.Model(tensor, ops.reshape(shorter, (-1, 10))).save(tmp_path / "m.keras")
    with pytest.raises(kspike_ref.UnsupportedLayerError, match="mixes the examples of a batch"):
        kspike_ref.load_model(tmp_path / "m.keras")


def test_squeeze_of_unknown_lengths_asks_for_an_axis(tmp_path):
    tensor = keras.Input((None, 1))
    keras.Model(tensor, ops.squeeze(tensor)).save(tmp_path / "m.keras")
    with pytest.raises(kspike_ref.UnsupportedLayerError, match="without axis"):
        kspike_ref.load_model(tmp_path / "m.keras")
