"""Nested lists and dicts, the form in which Keras saves inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def leaves(value: Any) -> Iterator[Any]:
    """Yield the items of nested lists and dicts, in Keras' order: keys are sorted."""
    if isinstance(value, list):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, dict):
        for key in sorted(value):
            yield from leaves(value[key])
    else:
        yield value


def map_leaves(value: Any, function: Callable[[Any], Any]) -> Any:
    """Return nested lists and dicts with every item replaced."""
    if isinstance(value, list):
        return [map_leaves(item, function) for item in value]
    if isinstance(value, dict):
        return {key: map_leaves(item, function) for key, item in value.items()}
    return function(value)
