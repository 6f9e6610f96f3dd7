# ruff: noqa: D102 (methods are documented in base.Layer)
"""Layers that add or remove edges: padding and cropping."""

from __future__ import annotations

import numpy as np

from kspike_ref.layers.base import Layer
from kspike_ref.layers.errors import Array, Shape
from kspike_ref.layers.registry import known
from kspike_ref.saved.archive import ArchiveError


class _Edges(Layer):
    """The base class of padding and cropping: widths before and after every spatial axis."""

    keeps_zeros = True
    option: str
    sign: int  # of the change in length

    def setup(self) -> None:
        given = self.config[self.option]
        pairs = [given] if isinstance(given, int) else list(given)
        if "1D" in self.class_name and not (pairs and isinstance(pairs[0], list)):
            pairs = [pairs * 2 if len(pairs) == 1 else pairs]
        self.edges = [tuple(p) if isinstance(p, list) else (p, p) for p in pairs]
        counts = [n for pair in self.edges for n in pair]
        if not all(type(n) is int and 0 <= n < 1 << 24 for n in counts):
            raise ArchiveError(f"{self.option} must hold small integers. Received: {given!r:.80}")
        if any(len(pair) != 2 for pair in self.edges):
            raise ArchiveError(f"{self.option} must hold pairs. Received: {given!r:.80}")
        self.first = 2 if self.config.get("data_format") == "channels_first" else 1

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != len(self.edges) + 2:
            raise ArchiveError(f"layer {self.name!r} does not fit an input of shape {shape}")
        result = list(shape)
        for i, pair in enumerate(self.edges):
            length = shape[self.first + i]
            result[self.first + i] = None if length is None else length + self.sign * sum(pair)
        return tuple(result)

    def pointwise(self, shape: Shape) -> bool:
        return self.first == 2 or self.edges[0] == (0, 0)


@known("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D")
class ZeroPadding(_Edges):
    """Padding with zeros."""

    option, sign = "padding", 1

    def call(self, x: Array) -> Array:
        edges = [(0, 0)] * x.ndim
        edges[self.first : self.first + len(self.edges)] = self.edges
        return np.pad(x, edges)


@known("Cropping1D", "Cropping2D", "Cropping3D")
class Cropping(_Edges):
    """Cropping of edges."""

    option, sign = "cropping", -1

    def call(self, x: Array) -> Array:
        cut = [slice(None)] * x.ndim
        for i, (before, after) in enumerate(self.edges):
            cut[self.first + i] = slice(before, x.shape[self.first + i] - after)
        return x[tuple(cut)]
