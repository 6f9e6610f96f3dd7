"""Parser of serialised models: layers, nested models, and the paths of their weights."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kspike_ref.layers.base import Layer
from kspike_ref.layers.configured import policy_name
from kspike_ref.layers.errors import UnsupportedLayerError, UnsupportedUseError
from kspike_ref.layers.registry import create, is_integral, key_of, saved_name
from kspike_ref.layers.wrapper import OVER_TIME
from kspike_ref.saved.errors import ArchiveError
from kspike_ref.saved.limits import MAX_NESTING, budget
from kspike_ref.saved.shared import AmbiguousError
from kspike_ref.saved.structure import map_leaves

MODELS = ("Sequential", "Functional", "Model")

# In paths of weights stored by name: a replacement for "/", and a separator of a layer's names.
SLASH, ALIAS = "\\", "\0"

Leaf = tuple[str, int, int]  # a tensor: layer, number of its application, number of the output


@dataclass
class Member:
    """A layer or a nested model within a model.

    Attributes
    ----------
    name : str
        Its name in the model.
    path : str
        The group of its weights.
    applications : list
        Keras' ``inbound_nodes``.
    layer, model : Layer or ModelSpec, optional
        The layer or the model.
    folds : bool
        Whether time is folded into the batch around the model, as in TimeDistributed.
    """

    name: str
    path: str
    applications: list[Any]
    layer: Layer | None = None
    model: ModelSpec | None = None
    folds: bool = False


@dataclass
class ModelSpec:
    """A serialised model.

    Attributes
    ----------
    name : str
        Its name.
    members : dict of str to Member
        In the order of the configuration.
    inputs, outputs : Leaf, list or dict
        The input and output tensors, in the model's own structure.
    order : list, optional
        The applications in execution order, once it is known.
    """

    name: str
    members: dict[str, Member] = field(default_factory=dict)
    inputs: Any = None
    outputs: Any = None
    order: list[tuple[str, int]] | None = None


def parse(config: Mapping[str, Any], by_name: bool = False) -> ModelSpec:
    """Parse the configuration of a whole model.

    Parameters
    ----------
    config : dict
        The contents of ``config.json``.
    by_name : bool
        Whether weights are stored under the names of the layers, not by class and number.

    Returns
    -------
    ModelSpec
        The model, with layers in place of their configurations.

    Raises
    ------
    UnsupportedLayerError
        If there are unknown layers; the error lists all of them.
    ArchiveError
        If the configuration is invalid.
    """
    if key_of(config) not in MODELS:
        raise UnsupportedLayerError(
            [
                f"{config.get('class_name')}: a subclassed model is Python code, which the file "
                "does not hold; build it as a Functional model"
            ]
        )
    parser = _Parser(by_name)
    spec = parser.model(config, "", "")
    if parser.unsupported:
        raise UnsupportedLayerError(parser.unsupported)
    return spec


class _Parser:
    """The shared members so far, and the reasons why layers are not supported."""

    def __init__(self, by_name: bool) -> None:
        self.by_name = by_name
        self.unsupported: list[str] = []
        self.shared: dict[int, Member] = {}  # by Keras' identity of shared objects

    def model(self, config: Mapping[str, Any], path: str, prefix: str) -> ModelSpec:
        """Parse a model whose weights are at ``path``."""
        own = config["config"] if isinstance(config.get("config"), Mapping) else {}
        items = own.get("layers")
        if not isinstance(items, list) or not items:
            raise ArchiveError("a model must hold a list of layers")
        spec = ModelSpec(str(own.get("name", "model")))
        sequential = key_of(config) == "Sequential"
        if sequential and key_of(_serialised(items[0])) != "InputLayer":
            items = [_input_layer(own.get("build_input_shape"), items[0]), *items]
        used: dict[str, int] = {}
        for item in items:
            key = key_of(_serialised(item))
            name = str(item.get("name") or item["config"].get("name"))
            if name in spec.members:
                raise ArchiveError(f"two layers are named {name!r}")
            saved = not key.startswith("ops:") and not (sequential and key == "InputLayer")
            place = saved_name(str(item.get("class_name")), used) if saved else "-"
            if self.by_name:
                place = ALIAS.join(_names_of(item, name)).replace("/", SLASH)
            inner = f"{path}/layers/{place}" if path else f"layers/{place}"
            spec.members[name] = self.member(item, name, inner, prefix)
        if sequential:
            _chain(spec)
        else:
            spec.inputs = _leaves_of(own.get("input_layers"))
            outputs = _leaves_of(own.get("output_layers"))
            models = {
                name for name, item in zip(spec.members, items, strict=True)
                if key_of(item) in MODELS[1:]
            }  # fmt: skip
            spec.outputs = map_leaves(outputs, lambda leaf: _from_zero(leaf, models))
        return spec

    def nested(self, config: Mapping[str, Any], path: str, prefix: str) -> ModelSpec:
        """Parse a nested model; return the same specification again if the model is shared."""
        shared = budget().models_made
        try:
            spec: ModelSpec | None = shared.find(config)
        except AmbiguousError as error:
            raise UnsupportedUseError(f"{prefix.rstrip('/')}: {error}") from None
        if spec is None:
            spec = self.model(config, path, prefix)
            shared.add(config, spec)
        return spec

    def member(self, item: Mapping[str, Any], name: str, path: str, prefix: str) -> Member:
        """Parse one entry of a model's list of layers."""
        applications = item.get("inbound_nodes") or []
        if not isinstance(applications, list):
            raise ArchiveError(f"layer {name!r}: inbound_nodes must be a list")
        identity = item.get("shared_object_id")
        if isinstance(identity, int) and identity in self.shared:
            first = self.shared[identity]
            return Member(name, first.path, applications, first.layer, first.model, first.folds)
        member = Member(name, path, applications)
        try:
            if key_of(item) in MODELS:
                member.model = self.nested(item, path, f"{prefix}{name}/")
            elif _is_distributed_model(item):
                inner = item["config"]["layer"]
                _check_floats(item, name)
                member.model = self.nested(inner, f"{path}/layer", f"{prefix}{name}/")
                member.folds = True
            else:
                member.layer = create(item, f"{prefix}{name}")
                member.layer.name = f"{prefix}{name}"  # even if an earlier layer holds it
        except UnsupportedUseError as error:
            self.unsupported.append(str(error))
        if isinstance(identity, int):
            self.shared[identity] = member
        return member


def _names_of(item: Mapping[str, Any], name: str) -> list[str]:
    """Return the names under which weights of a layer and of wrapped layers may be stored."""
    names, inside, depth = [name], [item], 0
    while inside and depth < MAX_NESTING:
        config, depth = inside.pop().get("config"), depth + 1
        for key in ("layer", "backward_layer"):
            inner = config.get(key) if isinstance(config, Mapping) else None
            if isinstance(inner, Mapping) and isinstance(inner.get("config"), Mapping):
                inside.append(inner)
                own = str(inner["config"].get("name"))
                plain = own.removeprefix("forward_")  # Bidirectional adds this prefix
                names += [own, f"forward_{plain}", f"backward_{plain}"]
    return names


def _check_floats(item: Any, name: str) -> None:
    """Refuse a wrapper with a dtype policy of integers or bools."""
    policy = policy_name(item["config"].get("dtype"))
    if is_integral(policy):
        raise UnsupportedUseError(f"{name}: {key_of(item)} with dtype={policy!r}")


def _is_distributed_model(item: Mapping[str, Any]) -> bool:
    inner = item["config"].get("layer")
    return key_of(item) in OVER_TIME and isinstance(inner, Mapping) and key_of(inner) in MODELS


def _serialised(item: Any) -> Mapping[str, Any]:
    if not isinstance(item, Mapping) or not isinstance(item.get("config"), Mapping):
        raise ArchiveError(f"a layer must be a serialised object. Received: {item!r:.80}")
    return item


def _input_layer(shape: Any, first: Any) -> dict[str, Any]:
    """Return the input layer that Keras puts before a Sequential model's first layer."""
    if not isinstance(shape, list):
        raise ArchiveError("a Sequential model must have been built before it was saved")
    config = {"name": "input", "batch_shape": shape}
    if key_of(first) in _OF_STRINGS:
        config["dtype"] = "string"
    return {"module": "keras.layers", "class_name": "InputLayer", "config": config}


_OF_STRINGS = ("StringLookup", "TextVectorization")


def _chain(spec: ModelSpec) -> None:
    """Connect the members of a Sequential model one after another."""
    names = list(spec.members)
    for before, name in itertools.pairwise(names):
        tensor = {"class_name": "__keras_tensor__", "config": {"keras_history": [before, 0, 0]}}
        spec.members[name].applications = [{"args": [tensor], "kwargs": {}}]
    spec.inputs, spec.outputs = (names[0], 0, 0), (names[-1], 0, 0)


def leaf_of(value: Any) -> Leaf | None:
    """Return ``[name, application, output]`` as a tuple, or None for other values."""
    if not isinstance(value, list | tuple) or len(value) != 3 or not isinstance(value[0], str):
        return None
    if not all(type(number) is int and number >= 0 for number in value[1:]):
        raise ArchiveError(f"not a tensor of the model: {value!r:.80}")
    return (value[0], value[1], value[2])


def _leaves_of(value: Any) -> Any:
    """Return nested inputs or outputs with a `Leaf` for every tensor."""
    leaf = leaf_of(value)
    if leaf is not None:
        return leaf
    if isinstance(value, list) and value:
        return [_leaves_of(item) for item in value]
    if isinstance(value, dict) and value:
        return {key: _leaves_of(item) for key, item in value.items()}
    raise ArchiveError(f"a model must have inputs and outputs. Received: {value!r:.80}")


def _from_zero(leaf: Leaf, models: set[str]) -> Leaf:
    """Return an output with its application counted from 0; Keras counts models' from 1."""
    if leaf[0] not in models:
        return leaf
    if leaf[1] == 0:
        raise ArchiveError(f"the model needs {leaf}, which does not exist")
    return (leaf[0], leaf[1] - 1, leaf[2])
