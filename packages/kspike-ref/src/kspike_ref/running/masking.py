"""Calls of layers whose inputs or outputs carry masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kspike_ref.running.graph import Ref, refs, substitute
from kspike_ref.running.tasks import Task

Scan = Callable[[tuple[Any, ...], dict[str, Any]], Any]


def call_masked(
    task: Task,
    value: Callable[[Ref], Any],
    full: Callable[[Ref], Any],
    masks: dict[Ref, Any],
    options: dict[str, Any],
    is_step: bool,
    scan: Scan | None,
) -> Any:
    """Call a layer with the masks of its inputs, and store the mask of its output.

    Parameters
    ----------
    task : Task
        The layer's application.
    value, full : callable
        Return the array of a tensor: as the layer takes it, and with all time steps.
    masks : dict of Ref to ndarray
        The masks of this run, updated in place.
    options : dict
        Further keyword arguments of the call.
    is_step : bool
        Whether the layer takes one time step.
    scan : callable, optional
        Runs the layer from its carried state.

    Returns
    -------
    ndarray, or list or tuple of ndarray
        The outputs.
    """
    node, layer = task.node, task.node.layer
    arguments = substitute(node.arguments, value)
    keywords = substitute(node.keywords, value)
    given = substitute(node.arguments, masks.get)
    if "mask" in keywords:
        given = (_as_bools(keywords.pop("mask")), *given[1:])
    if task.listens:
        options = {**options, "mask": given if layer.takes_all_masks else given[0]}
    if layer.drops_masks:
        for ref in refs(list(node.arguments)):
            masks.pop(ref, None)
    if task.makes_mask:
        mask = layer.mask(given, *substitute(node.arguments, full))
        masks |= {Ref(task.index, i): mask for i in range(layer.masked_outputs)}
    if scan is not None:
        return scan(arguments, options)
    if is_step:
        return layer.call_step(*layer.received(arguments), **keywords, **options)
    return layer(*arguments, **keywords, **options)


def _as_bools(mask: Any) -> Any:
    """Return a mask, or a list of masks, as arrays of bools."""
    if isinstance(mask, list):
        return [_as_bools(one) for one in mask]
    return None if mask is None else mask.astype(bool)
