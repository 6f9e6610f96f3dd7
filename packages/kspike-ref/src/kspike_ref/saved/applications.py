"""Keras' inbound nodes: the serialised arguments of a layer's applications, and their order."""

from __future__ import annotations

import graphlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kspike_ref.saved.config import Leaf, ModelSpec, leaf_of
from kspike_ref.saved.errors import ArchiveError
from kspike_ref.saved.structure import leaves

CONSTANT_TYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "bfloat16", "float32", "float64",
)  # fmt: skip


def arguments_of(application: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return the serialised positional and keyword arguments of one application."""
    if not isinstance(application, Mapping):
        raise ArchiveError(f"an inbound node must be an object. Received: {application!r:.80}")
    arguments, keywords = application.get("args"), application.get("kwargs")
    if not isinstance(arguments, list) or not isinstance(keywords, dict):
        raise ArchiveError("an inbound node must hold args and kwargs")
    return arguments, keywords


def _history(value: Any) -> Leaf | None:
    """Return the tensor that a serialised argument stands for, or None for other arguments."""
    if not isinstance(value, dict) or value.get("class_name") != "__keras_tensor__":
        return None
    config = value.get("config")
    leaf = leaf_of(config.get("keras_history")) if isinstance(config, Mapping) else None
    if leaf is None:
        raise ArchiveError(f"a tensor has no history: {value!r:.80}")
    return leaf


def constant(value: Any, dtype: Any) -> np.ndarray[Any, Any]:
    """Return an array from a configuration.

    Parameters
    ----------
    value : number or list
        Its values.
    dtype : str
        A name in `CONSTANT_TYPES`; other NumPy types, such as text of any length, are refused.

    Returns
    -------
    ndarray
        The array; bfloat16 as float32.

    Raises
    ------
    ArchiveError
        If the values are not an array of that type.
    """
    if dtype not in CONSTANT_TYPES:
        names = ", ".join(CONSTANT_TYPES)
        raise ArchiveError(f"a constant's dtype must be one of {names}. Received: {dtype!r:.80}")
    try:
        return np.asarray(value, dtype="float32" if dtype == "bfloat16" else dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise ArchiveError(f"a constant is not an array: {error}") from None


def resolve(value: Any, find: Callable[[Leaf], Any]) -> Any:
    """Return serialised arguments as Python values, with ``find(tensor)`` for every tensor."""
    leaf = _history(value)
    if leaf is not None:
        return find(leaf)
    if isinstance(value, list):
        return [resolve(item, find) for item in value]
    if not isinstance(value, dict):
        return value
    kind, config = value.get("class_name"), value.get("config")
    if kind == "__slice__" and isinstance(config, Mapping):
        return slice(config.get("start"), config.get("stop"), config.get("step"))
    if kind == "__ellipsis__":
        return Ellipsis
    if kind in ("__tensor__", "__numpy__") and isinstance(config, Mapping):
        return constant(config.get("value"), config.get("dtype"))
    if kind is not None and ("module" in value or "config" in value):
        raise ArchiveError(f"an argument is neither tensor nor number: {value!r:.80}")
    return {key: resolve(item, find) for key, item in value.items()}


def order_of(spec: ModelSpec) -> list[tuple[str, int]]:
    """Return the applications that the outputs need, in execution order."""
    if spec.order is not None:
        return spec.order
    given = {(leaf[0], 0) for leaf in leaves(spec.inputs)}
    needs: dict[tuple[str, int], list[tuple[str, int]]] = {}
    pending = [leaf[:2] for leaf in leaves(spec.outputs)]
    while pending:
        at = pending.pop()
        if at in needs or at in given:
            continue
        member = spec.members.get(at[0])
        if member is None or at[1] >= len(member.applications):
            raise ArchiveError(f"the model needs {at}, which does not exist")
        taken: list[Leaf] = []
        resolve(list(arguments_of(member.applications[at[1]])), taken.append)
        needs[at] = list(dict.fromkeys(leaf[:2] for leaf in taken))
        pending += needs[at]
    position = {name: i for i, name in enumerate(spec.members)}
    in_order = sorted(needs, key=lambda at: (position[at[0]], at[1]))
    # Add all applications first, so that those that are ready together keep this order.
    sorter = graphlib.TopologicalSorter(dict.fromkeys(in_order, ()))
    for at in in_order:
        sorter.add(at, *(need for need in needs[at] if need not in given))
    try:
        spec.order = list(sorter.static_order())
    except graphlib.CycleError as error:
        name, _ = error.args[1][0]
        raise ArchiveError(f"the model's graph has a cycle through {name!r}") from None
    return spec.order
