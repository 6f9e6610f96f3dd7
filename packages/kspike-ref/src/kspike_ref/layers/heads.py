# ruff: noqa: D102 (methods are documented in base.Layer)
"""Attention with heads: `MultiHeadAttention` and `GroupedQueryAttention`.

Every head projects queries, keys and values, and weights its values by a softmax of its scores
[1]_. In groups, several query heads share a head of keys and values [2]_.

References
----------
.. [1] A. Vaswani et al., "Attention is all you need", NeurIPS 2017.
.. [2] J. Ainslie et al., "GQA: training generalized multi-query transformer models from multi-head
   checkpoints", EMNLP 2023.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kspike_ref.layers.activation import activation
from kspike_ref.layers.attention import query_value_key
from kspike_ref.layers.attention_masks import (
    MASKS,
    allowed_keys,
    check_mask_shapes,
    check_masks,
    masked_softmax,
    masks_heads,
)
from kspike_ref.layers.base import Layer
from kspike_ref.layers.errors import Array, Shape, UnsupportedUseError
from kspike_ref.layers.product import Product
from kspike_ref.layers.quantized import WholeProduct, check_scales
from kspike_ref.layers.registry import known
from kspike_ref.running.counts import Tally
from kspike_ref.saved.archive import ArchiveError, Weights


class HeadsLayer(Layer):
    """The base class of attention with heads: projections, scores, masks, output projection."""

    passes_mask = True
    uses_mask = True
    casts = "biuf"
    takes_all_masks = True
    mixing_options = ("use_causal_mask", *MASKS)
    takes_tally = True
    argument_names = ("query", "value", "key")
    keras_arguments = (
        "value", "key", "query_mask", "value_mask", "key_mask", "attention_mask",
        "return_attention_scores", "training", "use_causal_mask",
    )  # fmt: skip
    heads: int
    key_heads: int
    key_dim: int
    value_dim: int

    def setup(self) -> None:
        self.use_bias = self.boolean("use_bias", True)
        self.use_gate = self.boolean("use_gate", False)
        window = self.config.get("sliding_window")
        self.window = None if window is None else self.integer("sliding_window")
        self.drops = self.number("dropout", 0.0) > 0
        if 0 in (self.heads, self.key_heads, self.key_dim, self.value_dim):
            raise ArchiveError(
                f"layer {self.name!r} must have positive numbers of heads and dimensions. "
                f"Received: {self.heads}, {self.key_heads}, {self.key_dim}, {self.value_dim}"
            )

    def hears(self, count: int) -> bool:
        return True

    def projected_shape(self, query: Shape) -> tuple[Any, ...]:
        """Return the axes that the output projection makes of the last axis of the queries."""
        return (query[-1],)

    def attended(self, rank: int) -> tuple[int, ...]:
        """Return the axes of an input along which queries attend to keys."""
        return (1,)

    def weight_shapes(self, *shapes: Any) -> dict[str, tuple[int, ...]]:
        query, value, key = query_value_key(shapes)
        widths = {
            "query": ((query[-1],), (self.heads, self.key_dim)),
            "key": ((key[-1],), (self.key_heads, self.key_dim)),
            "value": ((value[-1],), (self.key_heads, self.value_dim)),
            "output": ((self.heads, self.value_dim), self.projected_shape(query)),
        }
        if self.use_gate:
            widths["gate"] = ((query[-1],), (self.heads, self.value_dim))
        found: dict[str, Any] = {}
        for name, (source, made) in widths.items():
            found[f"{name}/kernel"] = (*source, *made)
            if self.use_bias:
                found[f"{name}/bias"] = made
        return found

    def load(self, store: Weights, path: str, *shapes: Any) -> None:
        self.rank = len(shapes[0])
        for name, shape in self.weight_shapes(*shapes).items():
            place, part = name.split("/")
            inner = f"{path}/{place}_dense"  # a property in Keras, or else its attribute
            if not store.holds(inner):
                inner = f"{path}/_{place}_dense"
            number = "0" if part == "kernel" else "1"
            if part == "kernel" and len(store.names(inner)) > 1 + self.use_bias:
                self._load_scale(store, inner, place, shape)
            self.weights[name] = store.read(inner, number, shape, self.name).astype(self.dtype)
        self.prepare()

    def _load_scale(self, store: Weights, inner: str, place: str, kernel: tuple[int, ...]) -> None:
        """Read the scale of an 8-bit kernel; only the weights show that it has 8 bits.

        They do not show whether inputs are rounded: they are, unless they were exempted.
        """
        made = kernel[2:] if place == "output" else kernel[1:]
        shape = (*[1] * (self.rank - 1), *made)
        try:
            is_int8 = store.read(inner, "0", kernel, self.name).dtype == np.int8
            scale = store.read(inner, str(1 + self.use_bias), shape, self.name)
        except ArchiveError:
            is_int8 = False
        if not is_int8 or len(store.names(inner)) > 2 + self.use_bias:
            raise UnsupportedUseError(
                f"weights of {place}_dense with a quantisation other than int8. Save the "
                "model before model.quantize"
            )
        self.weights[f"{place}/scale"] = scale.astype(self.dtype)
        check_scales(self.name, self.weights)

    def prepare(self) -> None:
        self.products: dict[str, Any] = {}
        for name, kernel in self.weights.items():
            if name.endswith("/kernel"):
                depth = math.prod(kernel.shape[: 2 if name == "output/kernel" else 1])
                matrix = np.ascontiguousarray(kernel.reshape(depth, -1))
                place = name.removesuffix("/kernel")
                scale = self.weights.get(f"{place}/scale")
                self.products[place] = (
                    Product(matrix) if scale is None else WholeProduct(matrix, scale.reshape(-1))
                )
        self.gate = activation("sigmoid")

    def _project(self, name: str, x: Array, tally: Tally) -> Array:
        """Return the product of the last axis with a kernel, plus its bias."""
        bias = self.weights.get(f"{name}/bias")
        bias = None if bias is None else bias.reshape(-1)
        y = self.products[name].over_last_axis(x, bias, tally)
        made = self.weights[f"{name}/kernel"].shape[2 if name == "output" else 1 :]
        return y.reshape(*x.shape[:-1], *made)

    def _sides(self, query: Any, value: Any) -> tuple[list[Any], list[Any]]:
        """Return the lengths of the other axes, and of the attended axes of queries and keys."""
        axes = self.attended(len(query))
        alone = [query[i] for i in range(1, len(query) - 1) if i not in axes]
        return alone, [*(query[i] for i in axes), *(value[i] for i in axes)]

    def output_shape(self, *shapes: Any, **options: Any) -> Any:
        query, value, key = query_value_key(shapes)
        rank, axes = len(query), self.attended(len(query))
        if not len(query) == len(value) == len(key) >= 3:
            raise ArchiveError(
                f"layer {self.name!r} needs inputs of the same rank, 3 or more. Received: {shapes}"
            )
        for i in range(1, rank - 1):
            sources = (value, key) if i in axes else (value, key, query)
            if len({shape[i] for shape in sources} - {None}) > 1:
                raise ArchiveError(f"layer {self.name!r}: incompatible shapes: {shapes}")
        alone, seen = self._sides(query, value)
        scores = (query[0], *alone, self.heads, *seen)
        masks = {name: options[name] for name in MASKS if options.get(name) is not None}
        wanted = (query[:-1], value[:-1], value[:-1], (query[0], *alone, *seen))
        check_mask_shapes(self.name, masks, wanted, scores)
        for name, shape in (("query", query), ("value", value), ("key", key)):
            kernel = self.weights.get(f"{name}/kernel")
            if kernel is not None and len(kernel) != shape[-1]:
                raise ArchiveError(f"layer {self.name!r} was not built for inputs of shape {shape}")
        y = (*query[:-1], *self.projected_shape(query))
        return [y, scores] if options.get("return_attention_scores") else y

    def mask_axes(self, given: Any, *shapes: Any, **options: Any) -> int | None:
        is_masked = check_masks(given, shapes[0])
        rank = len(shapes[0]) + len(self.attended(len(shapes[0])))  # of scores
        if is_masked and masks_heads(options.get("attention_mask"), rank):
            raise UnsupportedUseError("an attention_mask per head together with another mask")
        axes: int | None = given[0]
        return axes

    def pointwise(self, *shapes: Any) -> bool:
        rank = len(shapes[0])
        alone = rank > 3 and 1 not in self.attended(rank)
        return self.window is None and alone

    def _scored(self, query: Any, value: Any) -> int:
        """Return the number of scores."""
        axes = self.attended(len(query))
        return math.prod(query[:-1]) * self.heads * math.prod(value[axis] for axis in axes)

    def multiply_adds(self, given: list[Any], made: list[Any]) -> int:
        places = [math.prod(shape[:-1]) for shape in given[:2]]
        kernels = sum(w.size for name, w in self.weights.items() if name.endswith("kernel"))
        products = self._scored(given[0], given[1]) * (self.key_dim + self.value_dim)
        return kernels * max(places) + products

    def temporaries(self, given: list[Any], made: list[Any]) -> int:
        places = sum(math.prod(shape[:-1]) for shape in (given[0], given[1], given[1], given[0]))
        width = self.heads * max(self.key_dim, self.value_dim)
        return 4 * self._scored(given[0], given[1]) + 3 * places * width

    def call(  # type: ignore[override]  # the masks by keyword, as build sorts them
        self,
        query: Array,
        value: Array,
        key: Array | None = None,
        *,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
        flash_attention: Any = None,
        mask: Any = None,
        tally: Tally,
    ) -> Any:
        carried = [*(mask or ()), None, None, None]
        query_mask = self.query_mask(carried[0], query_mask)
        value_mask = carried[1] if value_mask is None else value_mask
        key_mask = carried[2] if key_mask is None else key_mask
        key = value if key is None else key
        masks = (query_mask, value_mask, key_mask, attention_mask)
        lengths = query.shape[1], value.shape[1]
        allowed = allowed_keys(masks, lengths, use_causal_mask, self.window)
        # Keras takes another code path if dropout or the scores are requested
        is_fused = not (self.drops or return_attention_scores or query.ndim != 3)
        inputs = (("query", query), ("key", key), ("value", value))
        q, k, v = (self._project(name, x, tally) for name, x in inputs)
        inner = tally.without_spikes()
        y, scores = self._attend(q, k, v, allowed, is_fused)
        inner.add(scores.size * (self.key_dim + self.value_dim))
        if self.use_gate:
            y = y * self.gate(self._project("gate", query, inner))
        width = self.heads * self.value_dim
        y = np.ascontiguousarray(y).reshape(*y.shape[:-2], width)
        y = self._project("output", y, inner)
        return [y, scores] if return_attention_scores else y

    def query_mask(self, carried: Any, given: Any) -> Any:
        """Return the mask of the queries: the call's, or else the one that they carry."""
        return carried if given is None else given

    def _attend(self, query: Array, key: Array, value: Array, allowed: Any, is_fused: bool) -> Any:
        """Return the weighted values, ``(batch, …, heads, value_dim)``, and the weights."""
        rank = query.ndim - 1
        axes = self.attended(rank)
        alone = [i for i in range(1, rank - 1) if i not in axes]
        order = [0, *alone, rank - 1, *axes, rank]  # batch, alone, heads, attended, channels
        q, k, v = (np.ascontiguousarray(x.transpose(order)) for x in (query, key, value))
        count = 2 + len(alone)
        lead, seen = q.shape[:count], (q.shape[count:-1], k.shape[count:-1])
        q, k, v = (  # not -1, which fails without examples
            x.reshape(*x.shape[:count], math.prod(x.shape[count:-1]), x.shape[-1])
            for x in (q, k, v)
        )
        if self.heads != self.key_heads:
            k, v = (np.repeat(x, self.heads // self.key_heads, axis=1) for x in (k, v))
        root = q.dtype.type(np.float32(1 / math.sqrt(self.key_dim)))  # Keras rounds to float32
        if not is_fused:
            q = q * root
        scores = np.matmul(q, k.swapaxes(-1, -2))
        if is_fused:
            scores = scores * root
        full = (*lead, *seen[0], *seen[1])
        if allowed is not None:
            while allowed.ndim < len(full):
                allowed = np.expand_dims(allowed, -2 * len(axes) - 1)
            allowed = np.broadcast_to(allowed, full).reshape(scores.shape)
        weights = masked_softmax(scores, allowed, is_fused)
        y = np.matmul(weights, v).reshape(*lead, *seen[0], v.shape[-1])
        return y.transpose(np.argsort(order)), weights.reshape(full)


@known("MultiHeadAttention")
class MultiHeadAttention(HeadsLayer):
    """Attention of several heads with separate projections."""

    drops_masks = True

    def setup(self) -> None:
        config = self.config
        self.heads = self.key_heads = self.integer("num_heads")
        self.key_dim = self.integer("key_dim")
        self.value_dim = self.key_dim if not config.get("value_dim") else self.integer("value_dim")
        given = config.get("output_shape")
        if given is not None and not isinstance(given, list):
            given = [given]
        if given is not None and not all(type(n) is int and n > 0 for n in given):
            raise ArchiveError(f"output_shape must hold positive integers. Received: {given!r:.80}")
        self.given_shape = tuple(given or ())
        axes = config.get("attention_axes")
        self.axes = None if axes is None else axes if isinstance(axes, list) else [axes]
        super().setup()

    def projected_shape(self, query: Shape) -> tuple[Any, ...]:
        return self.given_shape or (query[-1],)

    def attended(self, rank: int) -> tuple[int, ...]:
        if self.axes is None:
            return tuple(range(1, rank - 1))
        axes = tuple(a + rank if type(a) is int and a < 0 else a for a in self.axes)
        if rank - 1 in axes:
            raise UnsupportedUseError(
                f"attention_axes={self.axes} names the last axis, where Keras attends to heads"
            )
        fits = all(type(axis) is int and 0 < axis < rank - 1 for axis in axes)
        if not fits or len(set(axes)) < len(axes) or not axes:
            raise ArchiveError(f"attention_axes do not fit {rank} axes. Received: {self.axes}")
        return axes

    def query_mask(self, carried: Any, given: Any) -> Any:
        return carried  # Keras (3.8 to 3.15) overwrites the mask of the call


@known("GroupQueryAttention", "GroupedQueryAttention")
class GroupedQueryAttention(HeadsLayer):
    """Attention in which several query heads share a head of keys and values."""

    def setup(self) -> None:
        self.heads = self.integer("num_query_heads")
        self.key_heads = self.integer("num_key_value_heads")
        self.key_dim = self.value_dim = self.integer("head_dim")
        super().setup()
        if self.heads % self.key_heads:
            raise ArchiveError(
                f"num_query_heads must be a multiple of {self.key_heads}. Received: {self.heads}"
            )

    def output_shape(self, *shapes: Any, **options: Any) -> Any:
        if len(shapes[0]) != 3:
            raise ArchiveError(f"layer {self.name!r} needs inputs with 3 axes. Received: {shapes}")
        return super().output_shape(*shapes, **options)
