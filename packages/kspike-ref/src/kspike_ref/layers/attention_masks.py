"""Masks of attention: which there may be, and their effect on the scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kspike_ref.layers.base import Array, UnsupportedUseError, check_mask
from kspike_ref.softmax import softmax

_LARGE = -1e9  # Keras' Softmax layer puts it in place of masked scores,
_FUSED_LARGE = -0.7 * 3.38953e38  # and Keras' fused attention this


def check_masks(masks: Sequence[int | None], query: Any) -> bool:
    """Refuse masks of other inputs than sequences of vectors; return whether there is one."""
    for axes in masks:
        check_mask(axes, 2)
    is_masked = any(axes is not None for axes in masks)
    if is_masked and len(query) != 3:
        raise UnsupportedUseError("a mask of inputs of more than 3 axes")
    return is_masked


def mask_fits(mask: Any, wanted: tuple[Any, ...]) -> bool:
    """Return whether a mask has axes of these lengths or 1, as far as they are known.

    An array of the file holds no batch, and may have fewer axes.
    """
    shape = mask.shape if isinstance(mask, np.ndarray) else mask
    if isinstance(mask, np.ndarray) and 0 < len(shape) < len(wanted):
        wanted = wanted[-len(shape) :]
    return (
        isinstance(shape, tuple)
        and len(shape) == len(wanted)
        and all(n in (None, 1, m) or m is None for n, m in zip(shape, wanted, strict=True))
    )


def masked_softmax(scores: Array, allowed: Array | None, is_fused: bool) -> Array:
    """Return the softmax of scores where keys may be seen.

    A query that may see no key looks at all alike in Keras' fused attention, and at none otherwise.
    """
    if allowed is None:
        return softmax(scores, axis=-1)
    large = scores.dtype.type(_FUSED_LARGE if is_fused else _LARGE)
    weights = softmax(np.where(allowed, scores, large), axis=-1)
    return weights if is_fused else np.where(allowed, weights, weights.dtype.type(0))
