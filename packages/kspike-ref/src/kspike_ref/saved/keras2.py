"""Conversion of Keras 2 configurations to the form that Keras 3 writes.

Three things differ. Arguments of a layer's applications are lists of ``[layer, node, tensor,
keywords]``, and the nodes of nested models are counted from 1. Options have other names. And
``hard_sigmoid`` is ``clip(0.2·x + 0.5, 0, 1)`` in Keras 2, not ``clip(x/6 + 0.5, 0, 1)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kspike_ref.saved.config import MODELS
from kspike_ref.saved.errors import ArchiveError

_RECURRENT = ("RNN", "SimpleRNN", "LSTM", "GRU", "Bidirectional")
_LISTED = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot")
_OWN_MODULES = ("keras", "tf_keras", "tensorflow")
_HARD_SIGMOID = {"class_name": "function", "config": "keras2>hard_sigmoid"}
# Options that choose an algorithm, and values with which an option has no effect. An option with
# another value stays, and is refused because the layer does not know it.
_WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {
    "implementation": (0, 1, 2),
    "virtual_batch_size": (None,),
    "fused": (None, True, False),
    "adjustment": (None,),
    "num_constants": (None, 0),
    "groups": (1,),
}
_RENAMED = {
    "LeakyReLU": {"alpha": "negative_slope"},
    "ThresholdedReLU": {"theta": "threshold"},
    "InputLayer": {"batch_input_shape": "batch_shape"},
}
_CLASSES = {
    "ThresholdedReLU": "ReLU",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    "Model": "Functional",
}
_OPERATORS = {
    "math.add": "Add", "__operators__.add": "Add", "math.subtract": "Subtract",
    "math.multiply": "Multiply", "math.truediv": "TrueDivide", "math.divide": "TrueDivide",
}  # fmt: skip


def upgrade(item: Any) -> dict[str, Any]:
    """Return a serialised model or layer of Keras 2 as Keras 3 would write it.

    Parameters
    ----------
    item : dict
        An object with ``class_name`` and ``config``.

    Returns
    -------
    dict
        The object, with ``module`` and ``registered_name`` as well.

    Raises
    ------
    ArchiveError
        If it is not a serialised object.
    """
    if not isinstance(item, Mapping) or not isinstance(item.get("class_name"), str):
        raise ArchiveError(f"a layer must be a serialised object. Received: {item!r:.80}")
    result, kind = dict(item), item["class_name"]
    config = item.get("config")
    if kind == "Sequential" and isinstance(config, list):  # before Keras 2.2.3
        config = {"name": "sequential", "layers": config}
    if not isinstance(config, Mapping):
        raise ArchiveError(f"a layer must have a configuration. Received: {item!r:.80}")
    rewrite = _model if kind in MODELS else _layer
    result["config"] = rewrite(kind, config)
    module = str(item.get("module") or "keras.layers")
    if ">" in kind or ">" in str(item.get("registered_name")):  # the user's own
        result["registered_name"] = item.get("registered_name") or kind
    elif module.split(".")[0] in _OWN_MODULES:
        result["module"] = "keras" if kind in MODELS else "keras.layers"
        result["class_name"] = _CLASSES.get(kind, kind.rsplit(".", 1)[-1])
    return result


def _model(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of a model, with its layers and their applications."""
    items = config.get("layers")
    if not isinstance(items, list) or not items:
        raise ArchiveError("a model must hold a list of layers")
    new = [upgrade(item) for item in items]
    if kind == "Sequential":
        return {**config, "layers": _with_input(items, new)}
    names = {_name(item) for item in new}
    from_one = {_name(item) for item in new if _counts_from_one(item)}
    functional = {_name(item) for item in new if item["class_name"] == "Functional"}
    for item in new:
        nodes = item.get("inbound_nodes") or []
        if not isinstance(nodes, list):
            raise ArchiveError(f"layer {_name(item)!r}: inbound_nodes must be a list")
        reader = _Nodes(names, from_one)
        item["inbound_nodes"] = [reader.node(node, item["class_name"]) for node in nodes]
        if item["class_name"] == "TFOpLambda":
            _operator(item)
    return {
        **config,
        "layers": new,
        "input_layers": _single(config.get("input_layers")),
        # In this one place, Keras 3 counts the nodes of Functional models from 1 as well.
        "output_layers": _shifted(_single(config.get("output_layers")), from_one - functional),
    }


def _with_input(old: list[Any], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the layers of a Sequential model, an InputLayer first if the shape is known."""
    shape = old[0]["config"].get("batch_input_shape") if isinstance(old[0], Mapping) else None
    if new[0]["class_name"] == "InputLayer" or shape is None:
        return new
    config = {"name": f"{_name(new[0])}_input", "batch_shape": shape}
    dtype = old[0]["config"].get("dtype")
    if new[0]["class_name"] == "Embedding":
        dtype = "int32"
    first = {"class_name": "InputLayer", "config": {**config, "dtype": dtype}}
    return [{**first, "module": "keras.layers", "registered_name": None}, *new]


def _layer(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of a layer with the options under their new names."""
    renamed = _RENAMED.get(kind, {})
    result: dict[str, Any] = {}
    for key, value in config.items():
        if kind != "InputLayer" and key in ("batch_input_shape", "input_length"):
            continue
        if key in _WITHOUT_EFFECT and value in _WITHOUT_EFFECT[key]:
            is_conv = kind.startswith("Conv") and not kind.endswith("Transpose")
            if key != "groups" or not is_conv:
                continue
        if key.endswith("activation"):
            value = _activation(value)
        elif key in ("layer", "backward_layer", "cell") and isinstance(value, Mapping):
            value = upgrade(value)
        elif key == "cells" and isinstance(value, list):
            value = [upgrade(cell) for cell in value]
        result[renamed.get(key, key)] = value
    if kind in _LISTED[:6]:  # Keras 2 combines the masks of elementwise merges in another way
        result["of_keras_2"] = True
    if kind in ("GRU", "GRUCell"):
        result.setdefault("reset_after", False)  # the only variant before Keras 2.2
    return result


def _activation(value: Any) -> Any:
    """Return an activation, with Keras 2's own function for hard_sigmoid."""
    if isinstance(value, Mapping):
        if value.get("class_name") == "function":
            return _activation(value.get("config"))
        return upgrade(value)
    return _HARD_SIGMOID if value == "hard_sigmoid" else value


def _name(item: Mapping[str, Any]) -> str:
    return str(item.get("name") or item["config"].get("name"))


def _counts_from_one(item: Mapping[str, Any]) -> bool:
    """Return whether the applications of a model are counted from 1."""
    if item["class_name"] == "Functional":
        return True
    if item["class_name"] != "Sequential":
        return False
    first: Mapping[str, Any] = item["config"]["layers"][0]
    return first["class_name"] == "InputLayer"


def _single(value: Any) -> Any:
    """Unwrap a list of one tensor, which is how Keras 2 writes a single tensor."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        return value[0]
    return value


def _is_leaf(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and type(value[1]) is int
    )


def _shifted(value: Any, from_one: set[str]) -> Any:
    """Return nested outputs with the nodes of some layers counted from 0."""
    if _is_leaf(value):
        return [value[0], value[1] - (value[0] in from_one), *value[2:]]
    if isinstance(value, list):
        return [_shifted(item, from_one) for item in value]
    if isinstance(value, dict):
        return {key: _shifted(item, from_one) for key, item in value.items()}
    return value


class _Nodes:
    """A reader for the applications of a model's layers.

    Parameters
    ----------
    names, from_one : set of str
        The names of the layers, and of those whose applications are counted from 1.
    """

    def __init__(self, names: set[str], from_one: set[str]) -> None:
        self.names = names
        self.from_one = from_one

    def node(self, node: Any, kind: str) -> dict[str, Any]:
        """Return the arguments of one application of a layer of class ``kind``."""
        if _is_leaf(node):
            node = [node]
        if isinstance(node, dict):
            given: list[Any] = [{key: self.tensors(value) for key, value in node.items()}]
            return {"args": given, "kwargs": {}}
        if not isinstance(node, list) or not all(isinstance(entry, list) for entry in node):
            raise ArchiveError(f"an inbound node must be a list. Received: {node!r:.80}")
        keywords: dict[str, Any] = {}
        for entry in node:
            if _is_leaf(entry) and len(entry) == 4 and isinstance(entry[3], dict):
                keywords |= {key: self.tensors(value) for key, value in entry[3].items()}
        keywords.pop("name", None)
        inputs = [self.tensors(entry) for entry in node]
        if kind in _RECURRENT and len(inputs) > 1:
            return {"args": inputs[:1], "kwargs": {**keywords, "initial_state": inputs[1:]}}
        first = inputs if len(inputs) != 1 or kind in _LISTED else inputs[0]
        return {"args": [first], "kwargs": keywords}

    def tensors(self, value: Any) -> Any:
        """Return nested arguments with every tensor in the form of Keras 3."""
        if _is_leaf(value):
            name, node, output = value[:3]
            if name == "_CONSTANT_VALUE" and node == -1:
                return output
            if name in self.names:
                history = [name, node - (name in self.from_one), output]
                return {"class_name": "__keras_tensor__", "config": {"keras_history": history}}
        if isinstance(value, list):
            return [self.tensors(item) for item in value]
        if isinstance(value, dict):
            return {key: self.tensors(item) for key, item in value.items()}
        return value


def _operator(item: dict[str, Any]) -> None:
    """Turn an operator such as ``x + y``, which is a layer in Keras 2, into an operation."""
    operation = _OPERATORS.get(str(item["config"].get("function")))
    fits = all(set(node["kwargs"]) == {"y"} for node in item["inbound_nodes"])
    if operation is None or not fits:
        return
    item |= {"class_name": operation, "module": "keras.src.ops.numpy"}
    item["config"] = {"name": item["config"].get("name")}
    item["inbound_nodes"] = [
        {"args": [*node["args"], node["kwargs"]["y"]], "kwargs": {}}
        for node in item["inbound_nodes"]
    ]
