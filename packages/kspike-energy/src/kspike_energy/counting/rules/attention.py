"""Attention layers: projections, scores, softmax and weighted sums.

Convention (Vaswani et al., NeurIPS 2017, sections 3.2.1 and 3.2.2): a projection is a dense layer;
a score takes one multiply-add per key element; the softmax is one unit update per score; a
weighted sum takes one multiply-add per value element. Counts cover the whole sequence, because
attention needs all of it; its length must be known.
"""

import math
from collections.abc import Sequence
from typing import Any

from kspike_energy.counting.fan_out import FanOut
from kspike_energy.counting.nodes import Counts, Node, Term, defined
from kspike_energy.counting.rules.table import rule

__all__: list[str] = []


def _last(node: Node, index: int) -> int:
    """Return the index of an input; a missing key or value is the input before it."""
    return min(index, len(node.inputs) - 1)


def _sizes(node: Node, index: int) -> tuple[tuple[int, ...], int]:
    """Return the lengths of an input's sequence axes, and the number of its features."""
    shape = node.inputs[_last(node, index)]
    problem = f"layer {node.spec.name!r} attends over an input of undefined shape {shape}"
    known = defined(shape[1:], problem)
    return known[:-1], known[-1]


def _internal(connections: int) -> Term:
    return Term(FanOut.uniform((1,), connections), source=None)


def _projection(node: Node, index: int, width: int) -> Term:
    """Return a dense projection of one input, over its whole sequence."""
    sequence, features = _sizes(node, index)
    index = _last(node, index)
    connections = math.prod(sequence) * features * width
    return Term(FanOut.spread(node.units_in(index), connections), source=index)


def _attended(axes: Any, sequence: Sequence[int]) -> int:
    """Return the number of positions that each query attends to."""
    if axes is None:
        return math.prod(sequence)
    wanted = axes if isinstance(axes, (list, tuple)) else [axes]
    return math.prod(sequence[int(axis) - 1] for axis in wanted)


@rule("MultiHeadAttention")
def multi_head(node: Node) -> Counts:
    """Count four projections, and the scores, softmax and weighted sums of every head."""
    config = node.config
    return _heads(
        node,
        heads=int(config["num_heads"]),
        key_heads=int(config["num_heads"]),
        key_dim=int(config["key_dim"]),
        value_dim=int(config.get("value_dim") or config["key_dim"]),
    )


@rule("GroupQueryAttention", "GroupedQueryAttention")
def grouped_query(node: Node) -> Counts:
    """Count as multi-head attention with fewer projections of keys and values."""
    config = node.config
    return _heads(
        node,
        heads=int(config["num_query_heads"]),
        key_heads=int(config["num_key_value_heads"]),
        key_dim=int(config["head_dim"]),
        value_dim=int(config["head_dim"]),
    )


def _heads(node: Node, heads: int, key_heads: int, key_dim: int, value_dim: int) -> Counts:
    query, _ = _sizes(node, 0)
    value, _ = _sizes(node, 1)
    keys = _attended(node.config.get("attention_axes"), value)
    scores = heads * math.prod(query) * keys
    output = math.prod(query) * heads * value_dim * int(node.outputs[0][-1] or 0)
    terms = (
        _projection(node, 0, heads * key_dim),
        _projection(node, 1, key_heads * value_dim),
        _projection(node, 2, key_heads * key_dim),  # Keras' order is query, value, key
        _internal(scores * (key_dim + value_dim)),
        _internal(output),
    )
    return Counts(terms, scores, spiking=False, whole=True)


@rule("Attention")
def dot_attention(node: Node) -> Counts:
    """Count scores (query · key), softmax and weighted sums, with no projection."""
    (query, features), (value, width) = _sizes(node, 0), _sizes(node, 1)
    scores = math.prod(query[:1]) * math.prod(value[:1])
    concat = node.config.get("score_mode", "dot") == "concat"
    neurons = scores * (features if concat else 0) + scores
    terms = (_internal(scores * features), _internal(scores * width))
    return Counts(terms, neurons, spiking=False, whole=True)


@rule("AdditiveAttention")
def additive_attention(node: Node) -> Counts:
    """Count scores (sum of tanh(query + key)), softmax and weighted sums."""
    (query, features), (value, width) = _sizes(node, 0), _sizes(node, 1)
    scores = math.prod(query[:1]) * math.prod(value[:1])
    return Counts(
        (_internal(2 * scores * features), _internal(scores * width)),
        scores * features + scores,
        spiking=False,
        whole=True,
    )
