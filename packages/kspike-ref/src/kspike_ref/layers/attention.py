# ruff: noqa: D102 (methods are documented in base.Layer)
"""Attention without projections: `Attention` and `AdditiveAttention`.

The softmax of the scores of all queries and keys weights the values [1]_ [2]_.

References
----------
.. [1] T. Luong, H. Pham, C. D. Manning, "Effective approaches to attention-based neural machine
   translation", EMNLP 2015.
.. [2] D. Bahdanau, K. Cho, Y. Bengio, "Neural machine translation by jointly learning to align and
   translate", ICLR 2015.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kspike_ref import dtypes
from kspike_ref.layers.attention_masks import check_masks
from kspike_ref.layers.base import Layer
from kspike_ref.layers.errors import Array
from kspike_ref.layers.ops.products import factors
from kspike_ref.layers.registry import known
from kspike_ref.running.counts import Tally
from kspike_ref.saved.archive import ArchiveError
from kspike_ref.softmax import softmax


def query_value_key(shapes: Sequence[Any]) -> tuple[Any, Any, Any]:
    """Return the shapes of query, value and key; without a key, the value is the key."""
    shapes = [shape for shape in shapes if shape is not None]
    if not 2 <= len(shapes) <= 3 or not all(isinstance(shape, tuple) for shape in shapes):
        raise ArchiveError(f"attention takes query, value and optionally key. Received: {shapes}")
    query, value, *key = shapes
    return query, value, key[0] if key else value


@known("Attention")
class Attention(Layer):
    """Attention whose scores are products of queries and keys."""

    uses_mask = True
    takes_tally = True
    score_mode: str

    def setup(self) -> None:
        self.use_scale = self.boolean("use_scale", False)
        self.score_mode = self.text("score_mode", "dot", ("dot", "concat"))
        self.kinds = "biuf" if self.score_mode == "dot" else "iuf"

    def weight_shapes(self, shapes: Any) -> dict[str, tuple[int, ...]]:
        names = ["scale"] if self.use_scale else []
        names += ["concat_score_weight"] if self.score_mode == "concat" else []
        return dict.fromkeys(names, ())

    def output_shape(self, *arguments: Any, **options: Any) -> Any:
        (shapes,) = arguments
        if not isinstance(shapes, list):
            raise ArchiveError(f"layer {self.name!r} needs a list of inputs. Received: {shapes}")
        query, value, key = query_value_key(shapes)
        if len({len(query), len(value), len(key)}) > 1 or len(query) < 3:
            raise ArchiveError(
                f"layer {self.name!r} needs inputs of the same rank, 3 or more. Received: {shapes}"
            )
        pairs = [(query[-1], key[-1]), (value[-2], key[-2])]
        pairs += zip(query[1:-2], value[1:-2], strict=True)
        if any(None not in pair and pair[0] != pair[1] for pair in pairs):
            raise ArchiveError(f"layer {self.name!r}: incompatible shapes: {shapes}")
        y = (*query[:-1], value[-1])
        return [y, (*query[:-1], key[-2])] if options.get("return_attention_scores") else y

    def pointwise(self, shapes: Any) -> bool:
        return len({shape[1] for shape in shapes}) == 1 and len(shapes[0]) > 3

    def mask_axes(self, given: Any, *shapes: Any) -> int | None:
        masks = given[0] or [None]
        if given[0] and not 2 <= len(masks) <= len(shapes[0]):
            raise ArchiveError(
                f"layer {self.name!r} needs masks of query and value. Received: {len(masks)} masks"
            )
        check_masks(masks, shapes[0][0])
        axes: int | None = masks[0]
        return axes

    def mask(self, given: Any, *inputs: Any) -> Any:
        return given[0][0]

    def multiply_adds(self, given: list[Any], made: list[Any]) -> int:
        return math.prod(given[0][:-1]) * given[1][-2] * (given[0][-1] + given[1][-1])

    def temporaries(self, given: list[Any], made: list[Any]) -> int:
        scores = math.prod(given[0][:-1]) * given[1][-2]
        return 5 * scores + 4 * math.prod(given[-1][:-1]) * given[0][-1]

    def scores(self, query: Array, key: Array) -> Array:
        """Return the score of each query and key, ``(batch, queries, keys)``."""
        scale = self.weights.get("scale")
        if self.score_mode == "concat":
            weight = self.weights["concat_score_weight"]
            return weight * self.tanh_scores(query, key, inner=scale)
        scores: Array = np.matmul(*factors(query, key.swapaxes(-1, -2)))
        if scale is not None:
            scores, scale = dtypes.promoted(scores, scale)
            scores = scores * scale
        return scores

    def tanh_scores(self, query: Array, key: Array, inner: Any = None, outer: Any = None) -> Array:
        """Return ``Σ outer·tanh(inner·(query + key))`` for each query and key.

        It takes one query at a time, because the sums of all pairs would need much memory.
        """
        if query.dtype != key.dtype:  # TensorFlow does not add them
            self.refuse(key.dtype, f"only keys of the same type as the queries, {query.dtype}")
        real = dtypes.float_type(query.dtype)
        out = np.empty((*query.shape[:-1], key.shape[-2]), real)
        for t in range(query.shape[-2]):
            total = (query[..., t : t + 1, :] + key).astype(real, copy=False)
            y = np.tanh(total if inner is None else inner * total)
            out[..., t, :] = (y if outer is None else outer * y).sum(axis=-1)
        return out

    def call(
        self,
        inputs: list[Array],
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
        mask: Any = None,
        *,
        tally: Tally,
    ) -> Any:
        query, value, *rest = inputs
        key = rest[0] if rest else value
        query_mask, value_mask = (mask[0], mask[1]) if mask else (None, None)
        scores = self.scores(query, key)
        tally.add(scores.size * (query.shape[-1] + value.shape[-1]))
        allowed = None if value_mask is None else value_mask[..., None, :]
        if use_causal_mask:
            causal = np.tri(scores.shape[-2], scores.shape[-1], dtype=bool)[None]
            allowed = causal if allowed is None else allowed & causal
        if allowed is not None:
            scores = scores.astype(dtypes.float_type(scores.dtype), copy=False)
            scores = np.where(allowed, scores, scores - scores.dtype.type(1e9))
        if scores.dtype.kind != "f":  # TensorFlow's softmax takes only floats
            self.refuse(query.dtype, "only floats unless the scores are scaled or masked")
        weights = softmax(scores, axis=-1)
        y = np.matmul(*dtypes.promoted(weights, value))
        if query_mask is not None:
            y = np.where(query_mask[..., None], y, y.dtype.type(0))
        return [y, weights] if return_attention_scores else y


@known("AdditiveAttention")
class AdditiveAttention(Attention):
    """Attention whose scores are a trained sum of ``tanh(query + key)``."""

    def setup(self) -> None:
        self.use_scale = self.boolean("use_scale", True)
        self.score_mode = "additive"
        self.kinds = "iuf"

    def weight_shapes(self, shapes: Any) -> dict[str, tuple[int, ...]]:
        size: Any = (shapes[0][-1],)
        return {"scale": size} if self.use_scale else {}

    def scores(self, query: Array, key: Array) -> Array:
        return self.tanh_scores(query, key, outer=self.weights.get("scale"))
