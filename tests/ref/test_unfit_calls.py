"""Tests that models load only if masks, states and dtype policies fit their calls."""

import numpy as np
import pytest
from archives import applied, archive, functional, input_layer, layer, sequential, tensor

import kspike_ref


def model(path, entries, output, weights=None):
    """Return the path of a model of these applied layers, with inputs x, q and m."""
    first = []
    for name, shape, dtype in (("x", (3, 4), "float32"), ("m", (3,), "bool"), ("q", (2,), "f4")):
        item = input_layer(*shape, name=name)
        item["config"]["dtype"] = "float32" if dtype == "f4" else dtype
        entry = applied(item)
        entry["inbound_nodes"] = []
        first.append(entry)
    inputs = [[name, 0, 0] for name in ("x", "m", "q")]
    config = functional([*first, *entries], inputs, [[output, 0, 0]])
    return archive(path / "m.keras", config, weights or {})


def call(item, *args, **kwargs):
    return applied(item, list(args), **kwargs)


ADD = {"module": "keras.src.ops.numpy", "class_name": "Add", "registered_name": "Add"}
HEADS = layer("MultiHeadAttention", "y", num_heads=1, key_dim=2)


def recurrent(name, **options):
    return layer("LSTM", name, units=2, **options)


@pytest.mark.parametrize("name", ["query_mask", "value_mask", "attention_mask"])
@pytest.mark.parametrize("mask", [tensor("q"), [None, None, 3], True])
def test_masks_of_heads(tmp_path, name, mask):
    """A mask with fewer axes would align the examples of a batch with another axis."""
    entry = call(HEADS, tensor("x"), tensor("x"), **{name: mask})
    with pytest.raises(kspike_ref.ArchiveError, match=f"needs {name} of"):
        kspike_ref.load_model(model(tmp_path, [entry], "y"))


def test_too_few_masks(tmp_path):
    item = layer("AdditiveAttention", "y", use_scale=False)
    entry = call(item, [tensor("x"), tensor("x")], mask=[tensor("m")])
    with pytest.raises(kspike_ref.ArchiveError, match="needs masks of query and value"):
        kspike_ref.load_model(model(tmp_path, [entry], "y"))


def test_no_states(tmp_path):
    entry = call(recurrent("y"), tensor("x"), initial_state=[])
    with pytest.raises(kspike_ref.ArchiveError, match="needs states"):
        kspike_ref.load_model(model(tmp_path, [entry], "y"))


@pytest.mark.parametrize(
    "options",
    [{"go_backwards": False}, {"go_backwards": True, "return_sequences": True},
     {"go_backwards": True, "return_state": True}],
)  # fmt: skip
def test_backward_layers(tmp_path, options):
    item = layer(
        "Bidirectional", "y", layer=recurrent("f"), backward_layer=recurrent("b", **options)
    )
    with pytest.raises(kspike_ref.ArchiveError, match="must run in the other direction"):
        kspike_ref.load_model(model(tmp_path, [call(item, tensor("x"))], "y"))


def test_too_many_axes_for_a_cell(tmp_path):
    reshape = layer("Reshape", "r", target_shape=[3, 2, 2])
    entries = [call(reshape, tensor("x")), call(recurrent("y"), tensor("r"))]
    with pytest.raises(kspike_ref.ArchiveError, match=r"takes \(batch, units\) a step"):
        kspike_ref.load_model(model(tmp_path, entries, "y"))


@pytest.mark.parametrize("policy", ["int32", "bool", "uint8"])
@pytest.mark.parametrize("kind", ["LSTM", "Dense", "Rescaling"])
def test_policies_of_integers(tmp_path, kind, policy):
    """Keras would cast weights and incoming floats to integers."""
    options = {"LSTM": {"units": 2}, "Dense": {"units": 2}, "Rescaling": {"scale": 0.5}}
    item = layer(kind, "y", dtype=policy, **options.get(kind, {}))
    with pytest.raises(kspike_ref.UnsupportedLayerError, match=f"with dtype='{policy}'"):
        kspike_ref.load_model(model(tmp_path, [call(item, tensor("x"))], "y"))


def test_policies_of_integers_without_arithmetic(tmp_path):
    """Layers that only move numbers take integers, and refuse floats, which Keras would cut."""
    flat = layer("Flatten", "y", dtype="int32")
    for name in ("x", "m"):
        path = model(tmp_path, [call(flat, tensor(name))], "y")
        x = [np.ones((1, 3, 4), "f4"), np.ones((1, 3), bool), np.ones((1, 2), "f4")]
        if name == "m":
            assert kspike_ref.load_model(path).predict(x).dtype == bool
            continue
        with pytest.raises(TypeError, match="no floats with dtype='int32'"):
            kspike_ref.load_model(path).predict(x)


@pytest.mark.parametrize("other", [tensor("q"), tensor("m"), [[[1.0] * 4] * 3] * 2])
def test_operands_of_another_rank(tmp_path, other):
    """NumPy would align the batch of one operand with another axis of the other."""
    entries = [call({**ADD, "config": {"name": "y"}}, tensor("x"), other)]
    if isinstance(other, list):
        constant = {"class_name": "__numpy__", "config": {"value": other, "dtype": "float32"}}
        entries = [call({**ADD, "config": {"name": "y"}}, tensor("x"), constant)]
    with pytest.raises(kspike_ref.UnsupportedLayerError, match="mixes the examples"):
        kspike_ref.load_model(model(tmp_path, entries, "y"))


@pytest.mark.parametrize(
    "other", [{"class_name": float("nan"), "config": {}}, {"config": {}}, "text", {}, [None]]
)
def test_operands_that_are_no_numbers(tmp_path, other):
    """An operand that is neither tensor nor number is refused at load, not when the model runs."""
    where = {**ADD, "class_name": "Where", "config": {"name": "y"}}
    entries = [call(where, tensor("x"), tensor("x"), other)]
    with pytest.raises(kspike_ref.ArchiveError, match="tensor"):
        kspike_ref.load_model(model(tmp_path, entries, "y"))


def test_unsupported_layers_are_told_although_later_arguments_are_unfit(tmp_path):
    policy = {"module": "keras", "class_name": "DTypePolicy", "config": {}}
    last = call(layer("Dropout", "y"), tensor("s"), policy=policy)
    entries = [call(layer("Softmax", "s", axis=0), tensor("x")), last]
    with pytest.raises(kspike_ref.UnsupportedLayerError, match="s: Softmax with axis=0 mixes"):
        kspike_ref.load_model(model(tmp_path, entries, "y"))
    entries[0] = call(layer("Softmax", "s", axis=1), tensor("x"))
    with pytest.raises(kspike_ref.ArchiveError, match="an argument is neither tensor nor number"):
        kspike_ref.load_model(model(tmp_path, entries, "y"))


POLICY = {"module": "keras", "class_name": "DTypePolicy", "registered_name": None}


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("posit16", "d: dtype='posit16' is not a dtype policy of Keras"),
        ({**POLICY, "config": {"name": "float31"}}, "d: dtype='float31' is not a dtype policy"),
        ({**POLICY, "class_name": "Mine", "config": {}}, "d: a dtype policy of class 'Mine'"),
        ({**POLICY, "config": {"name": 32}}, "d: dtype=32 is not a dtype policy"),
    ],
)
def test_unknown_dtype_policies(tmp_path, policy, message):
    """It would be computed in float32, whatever it stands for."""
    item = layer("Dense", "d", units=2, dtype=policy)
    path = archive(tmp_path / "m.keras", sequential(input_layer(4), item), {})
    with pytest.raises(kspike_ref.UnsupportedLayerError, match=message):
        kspike_ref.load_model(path)


@pytest.mark.parametrize("name", ["float32", "float64", "mixed_bfloat16", "float16", None])
def test_known_dtype_policies(tmp_path, name):
    item = layer("Dense", "d", units=2, dtype={**POLICY, "config": {"name": name}})
    weights = {"layers/dense": [np.ones((4, 2), "f4"), np.zeros(2, "f4")]}
    path = archive(tmp_path / "m.keras", sequential(input_layer(4), item), weights)
    assert (kspike_ref.load_model(path).predict(np.ones((1, 4), "f4")) == 4).all()
