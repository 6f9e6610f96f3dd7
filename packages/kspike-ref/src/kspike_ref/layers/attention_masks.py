"""Checks of attention masks, and their effect on the scores."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kspike_ref.layers.errors import Array, UnsupportedUseError, check_mask
from kspike_ref.saved.archive import ArchiveError
from kspike_ref.softmax import softmax

MASKS = ("query_mask", "value_mask", "key_mask", "attention_mask")
_LARGE = -1e9  # replaces masked scores in Keras' Softmax layer
_FUSED_LARGE = -0.7 * 3.38953e38  # replaces masked scores in Keras' fused attention


def check_masks(masks: Sequence[int | None], query: Any) -> bool:
    """Refuse masks of inputs that are not sequences of vectors; return whether there is a mask."""
    for axes in masks:
        check_mask(axes, 2)
    is_masked = any(axes is not None for axes in masks)
    if is_masked and len(query) != 3:
        raise UnsupportedUseError("a mask for inputs with more than 3 axes")
    return is_masked


def masks_heads(attention_mask: Any, rank: int) -> bool:
    """Return whether a mask, or its shape, has an axis for heads, as scores of ``rank`` axes do."""
    shape = getattr(attention_mask, "shape", attention_mask)
    return isinstance(shape, tuple) and len(shape) == rank


def check_mask_shapes(
    name: str, masks: Mapping[str, Any], wanted: Sequence[Any], scores: Any
) -> None:
    """Refuse masks of the wrong shape; NumPy might broadcast their batch along another axis.

    A mask is the shape of one in the call, or an array from the file. ``wanted`` are the shapes of
    `MASKS`; ``attention_mask`` may also have the shape of the scores of all heads.
    """
    shapes = dict(zip(MASKS, wanted, strict=True))
    is_for_heads = masks_heads(masks.get("attention_mask"), len(scores))
    if is_for_heads:
        shapes["attention_mask"] = scores
    for key, mask in masks.items():
        if not _fits(mask, shapes[key]):
            raise ArchiveError(
                f"layer {name!r} needs {key} of shape {shapes[key]}. Received: {mask!r:.80}"
            )
    if is_for_heads and len(masks) > 1:
        raise UnsupportedUseError("an attention_mask per head together with another mask")


def _fits(mask: Any, wanted: tuple[Any, ...]) -> bool:
    """Return whether the known axes of a mask have the wanted lengths or 1.

    An array from the file has no batch axis, and may have fewer axes.
    """
    shape = mask.shape if isinstance(mask, np.ndarray) else mask
    if isinstance(mask, np.ndarray) and 0 < len(shape) < len(wanted):
        wanted = wanted[-len(shape) :]
    return (
        isinstance(shape, tuple)
        and len(shape) == len(wanted)
        and all(n in (None, 1, m) or m is None for n, m in zip(shape, wanted, strict=True))
    )


def allowed_keys(
    masks: Sequence[Any], lengths: tuple[int, int], causal: bool, window: int | None
) -> Any:
    """Return which keys each query may attend to; None means all.

    ``lengths`` are the numbers of queries and keys. With a window, queries attend to keys that are
    nearer than this many steps.
    """
    spread: Any = ((..., None), (..., None, slice(None)), (..., None, slice(None)), ...)
    found = [
        np.asarray(mask).astype(bool)[axes]
        for mask, axes in zip(masks, spread, strict=True)
        if mask is not None
    ]
    distance = np.arange(lengths[0])[:, None] - np.arange(lengths[1])
    if causal:
        found.append((distance >= 0)[None])
    if window is not None:
        found.append((np.abs(distance) < window)[None])
    return functools.reduce(np.logical_and, found) if found else None


def masked_softmax(scores: Array, allowed: Array | None, is_fused: bool) -> Array:
    """Return the softmax of the scores over the allowed keys.

    A query without allowed keys weights all keys equally in Keras' fused attention, and gives them
    weight 0 otherwise.
    """
    if allowed is None:
        return softmax(scores, axis=-1)
    large = scores.dtype.type(_FUSED_LARGE if is_fused else _LARGE)
    weights = softmax(np.where(allowed, scores, large), axis=-1)
    return weights if is_fused else np.where(allowed, weights, weights.dtype.type(0))
