"""Tests of every argument of every operation: it has the same effect as in Keras, or is refused."""

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
from kspike_ref.layers.errors import UnsupportedUseError
from kspike_ref.layers.ops.base import function_name
from kspike_ref.layers.registry import _registry, create

SHAPE = (5, 1, 4)  # without the batch axis
TENSORS = {"x", "x1", "x2", "xs", "inputs", "indices", "condition", "operands", "kwargs"}
OPERATIONS = {key: cls for key, cls in _registry.items() if key.startswith("ops:")}
NAMES = sorted(function_name(key[4:]) for key in OPERATIONS)
_MORE_REDUCING = ("var", "std", "logsumexp", "amax", "amin", "argmax", "argmin")
# Arguments that only matter for values that are not tensors yet.
NO_EFFECT = {"convert_to_tensor": {"sparse", "ragged"}}
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
    ("saturate_cast", {"dtype": "uint8"}),
    ("convert_to_tensor", {"dtype": "int32"}),
    ("celu", {"alpha": 0.3}),
    ("elu", {"alpha": 0.3}),
    ("gelu", {"approximate": False}),
    ("hard_shrink", {"threshold": 0.2}),
    ("soft_shrink", {"threshold": 0.2}),
    ("leaky_relu", {"negative_slope": 0.4}),
    ("squareplus", {"b": 2}),
    ("threshold", {"threshold": 0.1, "default_value": 0.7}),
    ("glu", {"axis": 3}),
    ("log_softmax", {"axis": 1}),
    ("sparsemax", {"axis": -1}),
    ("einsum", {"subscripts": "bijk,bijl->bkl"}),
    ("split", {"indices_or_sections": 2, "axis": 3}),
    ("split", {"indices_or_sections": [1, 3], "axis": 1}),
    ("unstack", {"num": 5, "axis": 1}),
    ("take", {"axis": 3}),
    ("take_along_axis", {"axis": 1}),
    ("pad", {"pad_width": ((0, 0), (1, 2), (0, 0), (0, 1)), "constant_values": 3}),
    ("pad", {"pad_width": ((0, 0), (1, 2), (0, 0), (0, 1)), "mode": "reflect"}),
    ("repeat", {"repeats": 2, "axis": 1}),
    ("tile", {"repeats": (1, 2, 3, 1)}),
    ("swapaxes", {"axis1": 1, "axis2": -1}),
    ("moveaxis", {"source": 1, "destination": 3}),
    ("moveaxis", {"source": (1, 2), "destination": (3, 1)}),
    ("flip", {"axis": (1, 3)}),
    ("roll", {"shift": -2, "axis": 1}),
    ("one_hot", {"num_classes": 3, "axis": 1, "dtype": "int8"}),
    ("multi_hot", {"num_classes": 3, "axis": -1, "dtype": "int8"}),
    *((name, {"axis": 1, "keepdims": True}) for name in _MORE_REDUCING),
    ("count_nonzero", {"axis": (1, 3)}),
    ("norm", {"ord": 1, "axis": 3, "keepdims": True}),
    ("norm", {"ord": "fro", "axis": (1, 3)}),
    ("normalize", {"axis": 1, "order": 1}),
    ("normalize", {"axis": (1, 3), "order": 1}),
    ("normalize", {"axis": 3, "epsilon": 0.9}),
    ("sort", {"axis": 1}),
    ("argsort", {"axis": 1}),
    ("cumsum", {"axis": 1}),
    ("cumprod", {"axis": 3}),
    ("cumsum", {"axis": 1, "dtype": "int32"}),
    ("cumprod", {"axis": 1, "dtype": "int32"}),
    ("top_k", {"k": 2}),
]
if not tf.__version__.startswith("2.18."):  # 2.18 crashes for negative axes
    HONOURED.append(("transpose", {"axes": (0, -1, 2, 1)}))
REFUSED = [
    *((name, {"axis": 0}, "axis") for name in ("glu", "sort", "cumsum", "argmax", "var", "flip")),
    ("one_hot", {"num_classes": 3, "sparse": True}, "sparse"),
    ("multi_hot", {"num_classes": 3, "sparse": True}, "sparse"),
    ("top_k", {"k": 2, "sorted": False}, "sorted"),
    ("normalize", {"axis": (1, 3), "order": 3}, "order"),  # Keras has no norm of order 3
    *((name, {"axis": axis}, "axis") for name in _REDUCING for axis in (None, 0, -4, (0, 1))),
    ("prod", {"axis": 1, "dtype": "float64"}, "dtype"),  # Keras accepts it and ignores it
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
if versions.KERAS > (3, 8):  # 3.8 and older fail before the model is saved
    REFUSED.append(("argmax", {"axis": [1, 3]}, "axis"))


def _apply(name, x, options):
    if name == "get_item":
        return x[options["key"]]
    if name == "einsum":
        return ops.einsum(options["subscripts"], x, x)
    if name in ("one_hot", "multi_hot"):
        x = ops.cast(ops.abs(x if name == "one_hot" else x[:, :, 0, 0]), "int32")
    if name in ("take", "take_along_axis"):
        indices = [0, 2] if name == "take" else ops.argsort(x, axis=options["axis"])
        return getattr(ops, name)(x, indices, **options)
    several = name in ("concatenate", "stack")
    return getattr(ops, name)([x, x * 2.0] if several else x, **options)


@versions.whole_table
def test_the_table_holds_every_argument():
    for name in NAMES:
        wanted = set(inspect.signature(getattr(ops, name)).parameters) - TENSORS
        held = [options for one, options, *_ in (*HONOURED, *REFUSED) if one == name]
        assert wanted - NO_EFFECT.get(name, set()) == set().union(*held), name


def test_no_operation_drops_an_argument_that_it_does_not_know():
    for key in OPERATIONS:
        config = {"name": "it", "surprise": 1}
        serialised = {"module": "keras.src.ops.numpy", "class_name": key[4:], "config": config}
        with pytest.raises(UnsupportedUseError, match=r"it: keras.ops.* 'surprise' is not supp"):
            create(serialised)


@versions.whole_table
def test_arguments_have_the_effect_of_keras(tmp_path):
    x = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)
    tensor = keras.Input(SHAPE)
    made = [keras.tree.flatten(_apply(name, tensor, options)) for name, options in HONOURED]
    cases = [case for case, several in zip(HONOURED, made, strict=True) for _ in several]
    model = keras.Model(tensor, keras.tree.flatten(made))
    model.save(tmp_path / "m.keras")
    ours = kspike_ref.load_model(tmp_path / "m.keras").predict(x)
    for y, theirs, case in zip(ours, model(x), cases, strict=True):
        assert y.dtype == theirs.dtype.name, case
        # float32 sums of twenty terms, in another order
        np.testing.assert_allclose(y, theirs, rtol=1e-5, atol=1e-6, err_msg=str(case))


@pytest.mark.parametrize(("name", "options", "argument"), REFUSED)
def test_arguments_without_effect_here_are_refused_by_name(name, options, argument, tmp_path):
    tensor = keras.Input(SHAPE)
    output = keras.tree.flatten(_apply(name, tensor, options))[0]
    keras.Model(tensor, [output, tensor]).save(tmp_path / "m.keras")
    layer = output._keras_history.operation.name
    with pytest.raises(kspike_ref.UnsupportedLayerError) as caught:
        kspike_ref.load_model(tmp_path / "m.keras")
    (line,) = caught.value.layers
    assert re.match(f"{layer}: keras.ops.{name} with .*{argument}", line)


def test_what_follows_a_refused_operation_is_no_damage(tmp_path):
    tensor = keras.Input((5, 4))
    shorter = ops.mean(tensor, axis=0)  # without the batch axis
    keras.Model(tensor, ops.reshape(shorter, (-1, 10))).save(tmp_path / "m.keras")
    with pytest.raises(kspike_ref.UnsupportedLayerError, match="mixes the examples of a batch"):
        kspike_ref.load_model(tmp_path / "m.keras")


def test_squeeze_of_unknown_lengths_asks_for_an_axis(tmp_path):
    tensor = keras.Input((None, 1))
    keras.Model(tensor, ops.squeeze(tensor)).save(tmp_path / "m.keras")
    with pytest.raises(kspike_ref.UnsupportedLayerError, match="without axis"):
        kspike_ref.load_model(tmp_path / "m.keras")
