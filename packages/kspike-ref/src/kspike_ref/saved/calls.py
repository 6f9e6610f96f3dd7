"""Arguments of layer calls: conversion from a model file's form to the layer's, and checks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from kspike_ref.layers.base import Layer
from kspike_ref.layers.errors import UnsupportedUseError
from kspike_ref.running.graph import Ref
from kspike_ref.saved.config import Member
from kspike_ref.saved.errors import ArchiveError
from kspike_ref.saved.structure import leaves

_INPUTS = ("inputs", "sequences", "sequence", "x")  # Keras' names for the first argument

Arguments = tuple[tuple[Any, ...], dict[str, Any]]  # positional and keyword arguments


def guarded(name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a layer's function; raise its errors as errors of the file.

    Parameters
    ----------
    name : str
        The layer's name, for messages.
    function : callable
        A method of the layer that depends on the file's configuration.
    *args, **kwargs
        Its arguments.

    Raises
    ------
    ArchiveError
        If the configuration does not fit the arguments.
    UnsupportedUseError
        If the layer raises it.
    """
    try:
        return function(*args, **kwargs)
    except (ArchiveError, UnsupportedUseError):
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        detail = f"{args!r:.200}: {error}"
        raise ArchiveError(f"layer {name!r} does not fit its inputs {detail}") from error


def without_options(member: Member, keywords: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return keyword arguments without ``training`` and without values of None.

    Parameters
    ----------
    member : Member
        The layer or model that is called.
    keywords : dict
        The arguments of the call.

    Returns
    -------
    tuple
        The remaining arguments, and the reasons why the call is not supported, if any.
    """
    reasons = []
    rest = dict(keywords)
    training = rest.pop("training", None)
    if training and not getattr(member.layer, "ignores_training", False):
        given = "a tensor" if isinstance(training, Ref) else "True"
        reasons.append(f"{member.name}: called with training={given}")
    mask = rest.get("mask")
    takes_mask = member.layer is None or member.layer.uses_mask
    masks = leaves(mask) if member.layer is None or isinstance(mask, list) else [mask]
    if not (takes_mask and all(one is None or isinstance(one, Ref) for one in masks)):
        # Older versions of Keras write a None for each of several inputs.
        if any(one is not None for one in leaves(mask)):
            reasons.append(f"{member.name}: called with a mask")
        rest["mask"] = None
    return {key: value for key, value in rest.items() if value is not None}, reasons


def in_keras_form(layer: Layer, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Arguments:
    """Return the arguments of a call; name those that the layer takes by keyword only."""
    if not arguments:  # Keras also accepts inputs by name
        first = next((key for key in _INPUTS if key in keywords), None)
        if first is not None and first not in inspect.signature(layer.call).parameters:
            arguments = (keywords[first],)
            keywords = {key: value for key, value in keywords.items() if key != first}
    count = _positional(type(layer).call)
    if count is None or len(arguments) <= count:
        return arguments, keywords
    names = layer.keras_arguments[count - 1 :]
    extra = arguments[count:]
    if len(extra) > len(names) or set(names[: len(extra)]) & set(keywords):
        raise ArchiveError(f"layer {layer.name!r} is called with {len(arguments)} arguments")
    return arguments[:count], keywords | dict(zip(names, extra, strict=False))


def in_order(layer: Layer, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Arguments:
    """Return the arguments of a call; pass by position those that the layer takes so."""
    rest = dict(keywords)
    for name in layer.argument_names[len(arguments) :]:
        if name not in rest:
            break
        arguments = (*arguments, rest.pop(name))
    return arguments, rest


def tensors_in(structure: Any) -> list[Ref]:
    """Return the tensors that a model is called with; refuse anything else."""
    found = list(leaves(structure))
    for value in found:
        if not isinstance(value, Ref):
            raise ArchiveError(f"a model must be applied to tensors. Received: {value!r:.80}")
    return found


def check_call(layer: Layer, shapes: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Refuse arguments that a layer does not take.

    Parameters
    ----------
    layer : Layer
        The layer.
    shapes, named
        The arguments of the call, with shapes in place of tensors.

    Raises
    ------
    ArchiveError
        If there are too many or too few.
    UnsupportedUseError
        If some have unknown names.
    """
    count = _positional(type(layer).call)
    if count is not None and len(shapes) > count:
        raise ArchiveError(
            f"layer {layer.name!r} takes {count} arguments. "
            f"Received: {len(shapes)}, {shapes!r:.200}"
        )
    signature = inspect.signature(layer.call)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    ours = {"tally": None} if layer.takes_tally else {}  # a file must not set it
    known = [key for key in signature.parameters if key not in ours]
    unknown = [key for key in named if key in ours or (key not in known and not takes_any)]
    if unknown:
        options = ", ".join(unknown)
        raise UnsupportedUseError(f"called with arguments that kspike_ref does not know: {options}")
    guarded(layer.name, signature.bind, *shapes, **named, **ours)


@lru_cache(maxsize=512)
def _positional(call: Callable[..., Any]) -> int | None:
    """Return the number of positional arguments of a layer's call; None for any number."""
    parameters = [p for p in inspect.signature(call).parameters.values() if p.name != "mask"]
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters[1:])
