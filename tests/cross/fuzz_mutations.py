"""Random changes of a saved model's configuration, and random inputs for the changed model."""

from __future__ import annotations

import copy

import numpy as np

# Values that a configuration may not expect.
ODD = [
    None, True, False, -1, 0, 1, 2, 3, 2**31, 2**63, 10**30, 1e308, 1e-45, -1.5, 0.5, float("nan"),
    float("inf"), "", "x", "relu", "float64", "int32", "bool", "mixed_float16", "valid", "causal",
    "../../etc/passwd", "a" * 1000, [], [1], [[]], [None] * 3, [2**40] * 4, [None, None, 3], {},
    {"a": 1}, {"class_name": "__tensor__", "config": {}},
]  # fmt: skip
KINDS = ["odd", "odd", "delete", "move", "double", "near", "flip", "swap"]


def paths(value, path=()):
    """Yield the path of every element in a nested value."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from paths(value[key], (*path, key))


def at(value, path):
    """Return the element at a path."""
    for key in path:
        value = value[key]
    return value


def altered(config, rng):
    """Return a copy of a configuration with one to three elements changed at random."""
    config = copy.deepcopy(config)
    for _ in range(rng.integers(1, 4)):
        places = list(paths(config))[1:]
        if not places:
            break
        path = places[rng.integers(len(places))]
        parent, key = at(config, path[:-1]), path[-1]
        kind = KINDS[rng.integers(len(KINDS))]
        if kind == "odd":
            parent[key] = copy.deepcopy(ODD[rng.integers(len(ODD))])
        elif kind == "delete":
            del parent[key]
        elif kind == "move":
            parent[key] = copy.deepcopy(at(config, places[rng.integers(len(places))]))
        elif kind == "double" and isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        elif kind == "near" and type(parent[key]) is int:
            parent[key] += int(rng.choice([-1, 1, 2, 100]))
        elif kind == "flip" and type(parent[key]) is bool:
            parent[key] = not parent[key]
        elif kind == "swap" and isinstance(parent, list) and len(parent) > 1:
            other = rng.integers(len(parent))
            parent[key], parent[other] = parent[other], parent[key]
    return config


def inputs(layers, rng):
    """Return arrays for a model's input layers: mostly one batch size, sometimes odd arrays.

    Values are multiples of 1/4, so that sums are exact.
    """
    batch, steps = int(rng.integers(0, 5)), int(rng.integers(0, 6))
    return [_array(layer, batch, steps, rng) for layer in layers]


def _array(layer, batch, steps, rng):
    shape = [batch, *(steps if n is None else n for n in layer.shape[1:])]
    if rng.random() < 0.1:
        shape[0] = int(rng.integers(0, 5))
    if rng.random() < 0.03 and len(shape) > 1:
        shape[rng.integers(1, len(shape))] += 1
    kind = np.dtype(layer.input_dtype).kind
    if rng.random() < 0.1:
        kind = "fib"[rng.integers(3)]
    if int(np.prod(shape, dtype=object)) > 1 << 20:
        shape = [0] * len(shape)
    if kind == "f":
        return (rng.integers(-8, 9, shape) / 4).astype(np.float32)
    if kind not in "iu":
        return rng.integers(0, 2, shape).astype("?")
    own = np.dtype(layer.input_dtype)
    if own == np.uint8:  # for example pixels: the whole range, so that sums overflow
        return rng.integers(0, 256, shape).astype(np.uint8)
    return rng.integers(0, 6, shape).astype(own if own.kind in "iu" else np.int32)
