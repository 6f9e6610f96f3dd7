# ruff: noqa: D102 (what the methods do is documented in base.Layer)
"""Attention over sequences: of several heads, of groups of heads, and of one without projections.

The scores of every query and key, through a softmax, weigh the values (Vaswani et al., "Attention
is all you need", NeurIPS 2017; Ainslie et al., "GQA", EMNLP 2023; Luong et al., EMNLP 2015;
Bahdanau et al., ICLR 2015).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from kspike_ref import dtypes
from kspike_ref.layers.activation import activation
from kspike_ref.layers.base import Array, Layer, Shape, UnsupportedUseError, check_mask
from kspike_ref.layers.ops.products import factors
from kspike_ref.layers.product import Product
from kspike_ref.layers.quantized import WholeProduct, check_scales
from kspike_ref.layers.registry import known
from kspike_ref.running.counts import Tally
from kspike_ref.saved.archive import ArchiveError, Weights
from kspike_ref.softmax import softmax

_LARGE = -1e9  # what Keras' Softmax layer puts in place of masked scores
_FUSED_LARGE = -0.7 * 3.38953e38  # and what its fused attention puts there


class _Projection:
    """A product over the last axis, whose output has several axes.

    Parameters
    ----------
    kernel : ndarray
        ``(inputs, …)``, with its leading axes already made one.
    bias : ndarray, optional
        Of the outputs.
    scale : ndarray, optional
        Of a kernel of 8 bits.
    """

    def __init__(self, kernel: Array, bias: Array | None, scale: Array | None) -> None:
        self.shape = kernel.shape[1:]
        matrix = np.ascontiguousarray(kernel.reshape(len(kernel), -1))
        self.product: Any = (
            Product(matrix) if scale is None else WholeProduct(matrix, scale.reshape(-1))
        )
        self.bias = None if bias is None else np.ascontiguousarray(bias.reshape(-1))

    def __call__(self, x: Array, tally: Tally) -> Array:
        y = self.product.over_last_axis(x, self.bias, tally)
        return y.reshape(*x.shape[:-1], *self.shape)


class _Heads(Layer):
    """What attention with heads shares: projections, scores, masks, and a projection back."""

    passes_mask = True
    uses_mask = True
    casts = "biuf"
    takes_all_masks = True
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
        config = self.config
        self.use_bias = self.boolean("use_bias", True)
        self.use_gate = self.boolean("use_gate", False)
        window = config.get("sliding_window")
        self.window = None if window is None else self.integer("sliding_window")
        self.drops = self.number("dropout", 0.0) > 0
        self.is_plain = True  # never called with masks, or causally
        self.masks_heads = False  # in the last application that was looked at
        if 0 in (self.heads, self.key_heads, self.key_dim, self.value_dim):
            raise ArchiveError("the numbers of heads and their dimensions must be positive")

    def hears(self, count: int) -> bool:
        return True

    def projected_shape(self, query: Shape) -> tuple[Any, ...]:
        """Return the axes that the projection back makes of the last one of the queries."""
        return (query[-1],)

    def weight_shapes(self, *shapes: Any) -> dict[str, tuple[int, ...]]:
        query, value, key = _three(shapes)
        out = self.projected_shape(query)
        widths = {
            "query": ((query[-1],), (self.heads, self.key_dim)),
            "key": ((key[-1],), (self.key_heads, self.key_dim)),
            "value": ((value[-1],), (self.key_heads, self.value_dim)),
            "output": ((self.heads, self.value_dim), out),
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
        wanted = self.weight_shapes(*shapes)
        self.rank = len(shapes[0])
        for name, shape in wanted.items():
            place, part = name.split("/")
            inner = f"{path}/{place}_dense"  # Keras' attribute, or the property that shows it
            if not store.holds(inner):
                inner = f"{path}/_{place}_dense"
            number = "0" if part == "kernel" else "1"
            count = len(store.names(inner))
            if part == "kernel" and count > 1 + self.use_bias:
                self._load_scale(store, inner, place, shape)
            self.weights[name] = store.read(inner, number, shape, self.name).astype(self.dtype)
        self.prepare()

    def _load_scale(self, store: Weights, inner: str, place: str, kernel: tuple[int, ...]) -> None:
        """Read the scale of a kernel of 8 bits: only the weights tell that it is one.

        Nor do they tell whether inputs are rounded; they are, unless they were exempted.
        """
        made = kernel[2:] if place == "output" else kernel[1:]
        rank = self.rank - 1 + len(made)
        number = str(1 + self.use_bias)
        try:
            is_int8 = store.read(inner, "0", kernel, self.name).dtype == np.int8
            scale = store.read(inner, number, (*[1] * (rank - len(made)), *made), self.name)
        except ArchiveError:
            is_int8 = False
        if not is_int8 or len(store.names(inner)) > 2 + self.use_bias:
            raise UnsupportedUseError(
                f"weights of {place}_dense, quantised in another way than int8. Save the model "
                "before model.quantize"
            )
        self.weights[f"{place}/scale"] = scale.astype(self.dtype)
        check_scales(self.name, self.weights)

    def prepare(self) -> None:
        weights = self.weights
        self.projections = {
            name: _Projection(
                weights[f"{name}/kernel"].reshape(
                    -1, *weights[f"{name}/kernel"].shape[2 if name == "output" else 1 :]
                ),
                weights.get(f"{name}/bias"),
                weights.get(f"{name}/scale"),
            )
            for name in ("query", "key", "value", "output", *(["gate"] if self.use_gate else []))
        }
        self.gate = activation("sigmoid")

    def attended(self, rank: int) -> tuple[int, ...]:
        """Return the axes of an input along which queries look at keys."""
        return (1,)

    def output_shape(self, *shapes: Any, **options: Any) -> Any:
        query, value, key = _three(shapes)
        rank, axes = len(query), self.attended(len(query))
        if not len(query) == len(value) == len(key) >= 3:
            raise ArchiveError(f"layer {self.name!r} needs inputs of one rank. Received: {shapes}")
        for i in range(1, rank - 1):
            lengths = {n for n in (value[i], key[i]) if n is not None}
            if i not in axes:
                lengths |= {n for n in (query[i],) if n is not None}
            if len(lengths) > 1:
                raise ArchiveError(f"layer {self.name!r}: shapes that do not fit: {shapes}")
        if any(options.get(name) is not None for name in _MASKS) or options.get("use_causal_mask"):
            self.is_plain = False
        self._check_masks(query, value, options)
        if "query/kernel" in self.weights:
            self._check_built(query, value, key)
        y = (*query[:-1], *self.projected_shape(query))
        if not options.get("return_attention_scores"):
            return y
        others = [query[i] for i in range(1, rank - 1) if i not in axes]
        seen = [*(query[i] for i in axes), *(value[i] for i in axes)]
        return [y, (query[0], *others, self.heads, *seen)]

    def _check_masks(self, query: Shape, value: Shape, options: Mapping[str, Any]) -> None:
        """Refuse masks that do not fit; NumPy would take the batch of one for another axis."""
        for name, shape in (("query_mask", query), ("value_mask", value), ("key_mask", value)):
            mask = options.get(name)
            if mask is not None and not _agree(mask, shape[:-1]):
                raise ArchiveError(
                    f"layer {self.name!r} needs {name} of {shape[:-1]}. Received: {mask!r:.80}"
                )
        mask, axes = options.get("attention_mask"), self.attended(len(query))
        self.masks_heads = False
        if mask is None:
            return
        others = [query[i] for i in range(1, len(query) - 1) if i not in axes]
        seen = [*(query[i] for i in axes), *(value[i] for i in axes)]
        full = (query[0], *others, self.heads, *seen)
        self.masks_heads = _axes(mask) == len(full) and _agree(mask, full)
        if not self.masks_heads and not _agree(mask, (query[0], *others, *seen)):
            raise ArchiveError(
                f"layer {self.name!r} needs attention_mask of {(query[0], *others, *seen)}. "
                f"Received: {mask!r:.80}"
            )
        if self.masks_heads and any(options.get(name) is not None for name in _MASKS[:3]):
            raise UnsupportedUseError("an attention_mask for each head, and another mask")

    def _check_built(self, query: Shape, value: Shape, key: Shape) -> None:
        for name, shape in (("query", query), ("value", value), ("key", key)):
            if self.weights[f"{name}/kernel"].shape[0] != shape[-1]:
                raise ArchiveError(f"layer {self.name!r} was built for other inputs than {shape}")

    def _scored(self, query: Any, value: Any) -> int:
        """Return how many scores there are."""
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

    def pointwise(self, *shapes: Any) -> bool:
        rank = len(shapes[0])
        alone = rank > 3 and 1 not in self.attended(rank)
        return self.is_plain and self.window is None and alone

    def mask_axes(self, given: Any, *shapes: Any) -> int | None:
        for one in given:
            check_mask(one, 2)
        if any(axes is not None for axes in given) and len(shapes[0]) != 3:
            raise UnsupportedUseError("a mask of inputs of more than 3 axes")
        is_masked = any(axes is not None for axes in given)
        if is_masked and self.masks_heads:
            raise UnsupportedUseError("an attention_mask for each head, and another mask")
        self.is_plain = self.is_plain and not is_masked
        axes: int | None = given[0]
        return axes

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
        allowed = self._allowed(query, value, query_mask, value_mask, key_mask, use_causal_mask)
        if attention_mask is not None:
            attention_mask = np.asarray(attention_mask).astype(bool)
            allowed = attention_mask if allowed is None else attention_mask & allowed
        # Keras computes in another place where dropout or the scores are asked for
        is_fused = not (self.drops or return_attention_scores or query.ndim != 3)
        projected = {
            name: self.projections[name](x, tally)
            for name, x in (("query", query), ("key", key), ("value", value))
        }
        inner = tally.without_spikes()
        y, scores = self._attend(projected, allowed, is_fused, inner)
        if self.use_gate:
            y = y * self.gate(self.projections["gate"](query, inner))
        width = self.heads * self.value_dim
        y = self.projections["output"](np.ascontiguousarray(y).reshape(*y.shape[:-2], width), inner)
        return [y, scores] if return_attention_scores else y

    def query_mask(self, carried: Any, given: Any) -> Any:
        """Return the mask of the queries: of those that they carry and are called with."""
        return carried if given is None else given

    def _allowed(
        self,
        query: Array,
        value: Array,
        query_mask: Any,
        value_mask: Any,
        key_mask: Any,
        causal: bool,
    ) -> Any:
        """Return which keys each query may look at, None for all."""
        found = []
        if query_mask is not None:
            found.append(np.asarray(query_mask).astype(bool)[..., :, None])
        given = [one for one in (value_mask, key_mask) if one is not None]
        found += [np.asarray(one).astype(bool)[..., None, :] for one in given]
        distance = np.arange(query.shape[1])[:, None] - np.arange(value.shape[1])
        if causal:
            found.append((distance >= 0)[None])
        if self.window is not None:
            found.append((np.abs(distance) < self.window)[None])
        return None if not found else np.asarray(_all_of(found))

    def _attend(
        self, projected: dict[str, Array], allowed: Any, is_fused: bool, tally: Tally
    ) -> Any:
        """Return the weighted values, ``(batch, …, heads, value_dim)``, and the weights."""
        query, key, value = (projected[name] for name in ("query", "key", "value"))
        rank = query.ndim - 1
        axes = self.attended(rank)
        others = [i for i in range(1, rank - 1) if i not in axes]
        order = [0, *others, rank - 1, *axes, rank]  # batch, alone, heads, attended, channels
        q, k, v = (np.ascontiguousarray(x.transpose(order)) for x in (query, key, value))
        lead = q.shape[: 2 + len(others)]
        seen = (q.shape[len(lead) : -1], k.shape[len(lead) : -1])
        count = len(lead)
        q, k, v = (  # not -1: there may be no examples
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
        tally.add(scores.size * (q.shape[-1] + v.shape[-1]))
        if allowed is not None:
            full = (*lead, *seen[0], *seen[1])
            while allowed.ndim < len(full):
                allowed = np.expand_dims(allowed, -2 * len(axes) - 1)
            allowed = np.broadcast_to(allowed, full).reshape(scores.shape)
        weights = _weights(scores, allowed, is_fused)
        y = np.matmul(weights, v).reshape(*lead, *seen[0], v.shape[-1])
        back = np.argsort(order)
        return y.transpose(back), weights.reshape(*lead, *seen[0], *seen[1])


_MASKS = ("query_mask", "value_mask", "key_mask", "attention_mask")


def _axes(mask: Any) -> int:
    """Return how many axes a mask has: a shape, or an array that the file holds."""
    return len(mask) if isinstance(mask, tuple) else int(np.ndim(mask))


def _agree(mask: Any, wanted: tuple[Any, ...]) -> bool:
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


def _three(shapes: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    """Return the shapes of query, value and key; the key is the value where it is not given."""
    shapes = tuple(shape for shape in shapes if shape is not None)
    if not 2 <= len(shapes) <= 3 or not all(isinstance(shape, tuple) for shape in shapes):
        raise ArchiveError(f"attention takes query, value and perhaps key. Received: {shapes}")
    return (shapes[0], shapes[1], shapes[2] if len(shapes) == 3 else shapes[1])


def _all_of(masks: list[Array]) -> Array:
    found = masks[0]
    for mask in masks[1:]:
        found = found & mask
    return found


def _weights(scores: Array, allowed: Array | None, is_fused: bool) -> Array:
    """Return the softmax of scores where keys may be seen.

    A query that may see no key looks at all alike in Keras' fused attention, and at none otherwise.
    """
    if allowed is None:
        return softmax(scores, axis=-1)
    large = scores.dtype.type(_FUSED_LARGE if is_fused else _LARGE)
    weights = softmax(np.where(allowed, scores, large), axis=-1)
    return weights if is_fused else np.where(allowed, weights, weights.dtype.type(0))


@known("MultiHeadAttention")
class MultiHeadAttention(_Heads):
    """Attention of several heads, each with projections of its own."""

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
            raise ArchiveError(f"output_shape must hold lengths. Received: {given!r:.80}")
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
        fits = all(type(axis) is int and 0 < axis < rank - 1 for axis in axes)
        if rank - 1 in axes:
            raise UnsupportedUseError(f"attention_axes={self.axes} attends to heads in Keras")
        if not fits or len(set(axes)) < len(axes) or not axes:
            raise ArchiveError(f"attention_axes do not fit {rank} axes. Received: {self.axes}")
        return axes

    def query_mask(self, carried: Any, given: Any) -> Any:
        return carried  # Keras (3.8 to 3.15) overwrites the one that it is called with


@known("GroupQueryAttention", "GroupedQueryAttention")
class GroupedQueryAttention(_Heads):
    """Attention in which several heads of queries share one of keys and values."""

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
            raise ArchiveError(f"layer {self.name!r} needs inputs of 3 axes. Received: {shapes}")
        return super().output_shape(*shapes, **options)


@known("Attention")
class Attention(Layer):
    """Scores of queries and keys as they come, without projections."""

    uses_mask = True
    takes_tally = True
    score_mode: str

    def setup(self) -> None:
        self.use_scale = self.boolean("use_scale", False)
        self.score_mode = str(self.config.get("score_mode", "dot"))
        if self.score_mode not in ("dot", "concat"):
            raise ArchiveError(f"score_mode must be dot or concat. Received: {self.score_mode!r}")
        self.kinds = "biuf" if self.score_mode == "dot" else "iuf"

    def weight_shapes(self, shapes: Any) -> dict[str, tuple[int, ...]]:
        names = ["scale"] if self.use_scale else []
        names += ["concat_score_weight"] if self.score_mode == "concat" else []
        return dict.fromkeys(names, ())

    def output_shape(self, *shapes: Any, **options: Any) -> Any:
        return self._shape_for(*shapes, **options)

    def _shape_for(self, shapes: Any, **options: Any) -> Any:
        if not isinstance(shapes, list):
            raise ArchiveError(f"layer {self.name!r} needs a list of inputs. Received: {shapes}")
        query, value, key = _three(tuple(shapes))
        pairs = [(query[-1], key[-1]), (value[-2], key[-2])]
        pairs += zip(query[1:-2], value[1:-2], strict=True)
        if len({len(query), len(value), len(key)}) > 1 or len(query) < 3:
            raise ArchiveError(f"layer {self.name!r} needs inputs of one rank. Received: {shapes}")
        if any(None not in pair and pair[0] != pair[1] for pair in pairs):
            raise ArchiveError(f"layer {self.name!r}: shapes that do not fit: {shapes}")
        y = (*query[:-1], value[-1])
        if options.get("return_attention_scores"):
            return [y, (*query[:-1], key[-2])]
        return y

    def pointwise(self, shapes: Any) -> bool:
        return len({shape[1] for shape in shapes}) == 1 and len(shapes[0]) > 3

    def mask_axes(self, given: Any, *shapes: Any) -> int | None:
        masks = given[0] or [None]
        for one in masks:
            check_mask(one, 2)
        if given[0] and not 2 <= len(masks) <= len(shapes[0]):
            raise ArchiveError(
                f"layer {self.name!r} needs masks of query and value. Received: {len(masks)} masks"
            )
        if any(axes is not None for axes in masks) and len(shapes[0][0]) != 3:
            raise UnsupportedUseError("a mask of inputs of more than 3 axes")
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
        if self.score_mode == "dot":
            scores: Array = np.matmul(*factors(query, key.swapaxes(-1, -2)))
            if not self.use_scale:
                return scores
            product, scale = dtypes.promoted(scores, self.weights["scale"])
            scaled: Array = product * scale
            return scaled
        self.check_types(query, key)
        factor = self.weights["scale"] if self.use_scale else None
        return self.weights["concat_score_weight"] * _tanh_scores(query, key, factor, None)

    def check_types(self, query: Array, key: Array) -> None:
        """Refuse queries and keys that TensorFlow does not add."""
        if query.dtype != key.dtype:
            self.refuse(key.dtype, f"keys of the type of the queries, which are {query.dtype}")

    def call(
        self,
        inputs: list[Array],
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
        mask: Any = None,
        *,
        tally: Tally,
    ) -> Any:
        query, value, key = _three_arrays(inputs)
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
        if scores.dtype.kind != "f":  # the softmax of TensorFlow takes no others
            self.refuse(query.dtype, "floats where the scores are not scaled or masked")
        weights = softmax(scores, axis=-1)
        y = np.matmul(*dtypes.promoted(weights, value))
        if query_mask is not None:
            y = np.where(query_mask[..., None], y, y.dtype.type(0))
        return [y, weights] if return_attention_scores else y


def _three_arrays(arrays: list[Array]) -> tuple[Array, Array, Array]:
    return (arrays[0], arrays[1], arrays[2] if len(arrays) > 2 else arrays[1])


def _tanh_scores(query: Array, key: Array, inner: Any, outer: Any) -> Array:
    """Return ``Σ outer·tanh(inner·(query + key))`` for each query and key, a query at a time."""
    real = dtypes.float_type(query.dtype)
    out = np.empty((*query.shape[:-1], key.shape[-2]), real)
    for t in range(query.shape[-2]):
        total = (query[..., t : t + 1, :] + key).astype(real, copy=False)
        y = np.tanh(total if inner is None else inner * total)
        out[..., t, :] = (y if outer is None else outer * y).sum(axis=-1)
    return out


@known("AdditiveAttention")
class AdditiveAttention(Attention):
    """Scores that are a trained sum of ``tanh(query + key)``."""

    def setup(self) -> None:
        self.use_scale = self.boolean("use_scale", True)
        self.score_mode = "additive"
        self.kinds = "iuf"

    def weight_shapes(self, shapes: Any) -> dict[str, tuple[int, ...]]:
        size: Any = (shapes[0][-1],)
        return {"scale": size} if self.use_scale else {}

    def scores(self, query: Array, key: Array) -> Array:
        self.check_types(query, key)
        return _tanh_scores(query, key, None, self.weights.get("scale"))
