# ruff: noqa: D102 (methods are documented in base.Layer)
"""Layers that multiply by a matrix or look up its rows."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from kspike_ref.layers.activation import activation, bind_activation, keeps_shape
from kspike_ref.layers.base import Layer
from kspike_ref.layers.errors import Array, Shape, indices
from kspike_ref.layers.product import Product
from kspike_ref.layers.quantized import (
    WholeProduct,
    check_scales,
    mode_of,
    refuse_quantized,
    rounded_inputs,
    rounds_inputs,
)
from kspike_ref.layers.registry import known
from kspike_ref.running.binder import Binder
from kspike_ref.running.counts import Tally
from kspike_ref.saved.archive import ArchiveError


@known("Dense")
class Dense(Layer):
    """``activation(x @ kernel + bias)``."""

    @classmethod
    def variant(cls, config: Mapping[str, Any]) -> type[Layer]:
        return QuantizedDense if mode_of(config) == "int8" else cls

    casts = "biuf"
    takes_tally = True
    pointwise_from = 3
    passes_mask = True
    product: Any

    def setup(self) -> None:
        refuse_quantized(self.config, known="int8")
        self.units = self.integer("units")
        self.use_bias = self.boolean("use_bias", True)
        self.activation = activation(self.config.get("activation"))

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, Any] = {"kernel": (shape[-1], self.units)}
        return shapes | ({"bias": (self.units,)} if self.use_bias else {})

    def parts(self, shape: Shape) -> list[tuple[str, Layer, tuple[Any, ...]]]:
        return activation_parts(self.activation, self.output_shape(shape))

    def output_shape(self, shape: Shape) -> Shape:
        if "kernel" in self.weights and shape[-1] != self.weights["kernel"].shape[0]:
            raise ArchiveError(f"layer {self.name!r} was not built for inputs of shape {shape}")
        return (*shape[:-1], self.units)

    def prepare(self) -> None:
        self.product = Product(self.weights["kernel"])

    def bind(self, binder: Binder, x: Array) -> Array | None:
        if not keeps_shape(self.activation):
            return None
        rows, depth = math.prod(x.shape[:-1]), x.shape[-1]
        out = binder.empty((*x.shape[:-1], self.units), self.dtype)
        flat = out.reshape(rows, self.units)
        bias = self.weights.get("bias")
        self.product.bind(binder, binder.view(x, (rows, depth)), bias, flat)
        bind_activation(binder, self.activation, out, out)
        return out

    def call(self, x: Array, *, tally: Tally) -> Array:
        made = self.product.over_last_axis(x, self.weights.get("bias"), tally)
        y: Array = self.activation(made)
        return y


class QuantizedDense(Dense):
    """`Dense` with a kernel, and usually inputs, rounded to 8 bits."""

    casts = "f"

    def setup(self) -> None:
        super().setup()
        self.rounds = rounds_inputs(self.config)
        self.kinds = "if" if self.rounds else "f"  # others overflow in Keras

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        return super().weight_shapes(shape) | {"kernel_scale": (self.units,)}

    def prepare(self) -> None:
        weights = self.weights
        check_scales(self.name, weights)
        self.product = WholeProduct(weights["kernel"], weights["kernel_scale"], self.rounds)

    def bind(self, binder: Binder, x: Array) -> None:
        return None


def activation_parts(function: Any, shape: Shape) -> list[tuple[str, Layer, tuple[Any, ...]]]:
    """Return the part for an activation that is a layer; nothing for other activations."""
    return [("activation", function, (shape,))] if isinstance(function, Layer) else []


@known("EinsumDense")
class EinsumDense(Layer):
    """A product over the axes that an equation names."""

    @classmethod
    def variant(cls, config: Mapping[str, Any]) -> type[Layer]:
        return QuantizedEinsumDense if mode_of(config) == "int8" else cls

    casts = "biuf"
    takes_tally = True

    def setup(self) -> None:
        refuse_quantized(self.config, known="int8")
        equation = str(self.config["equation"])
        match = re.fullmatch(
            r"(\.\.\.)?([a-zA-Z]+)(\.\.\.)?,([a-zA-Z]+)->(\.\.\.)?([a-zA-Z]+)(\.\.\.)?", equation
        )
        if match is None:
            raise ArchiveError(f"equation must be a product of two factors. Received: {equation}")
        left, self.x_axes, right, self.kernel_axes, out_left, self.y_axes, out_right = (
            match.groups()
        )
        if (left, right) != (out_left, out_right) or (left and right):
            raise ArchiveError(
                "equation must have its dots on one side, the same in input and output. "
                f"Received: {equation}"
            )
        for axes in (self.x_axes, self.kernel_axes, self.y_axes):
            if len(set(axes)) < len(axes):
                raise ArchiveError(f"equation must name each axis once. Received: {equation}")
        if set(self.y_axes) - set(self.x_axes) - set(self.kernel_axes):
            raise ArchiveError(
                "every output axis of equation must occur in the input or the kernel. "
                f"Received: {equation}"
            )
        self.dots_first, self.dots_last = bool(left), bool(right)
        given = self.config["output_shape"]
        self.given = list(given) if isinstance(given, list) else [given]
        self.activation = activation(self.config.get("activation"))
        self.bias_axes = str(self.config.get("bias_axes") or "")

    def _named(self, shape: Shape) -> tuple[str, str]:
        """Return the axis names of input and output, with the dots written out."""
        extra = len(shape) - len(self.x_axes)
        if extra < 0 or (extra and not (self.dots_first or self.dots_last)):
            raise ArchiveError(
                f"the equation of layer {self.name!r} does not fit an input of shape {shape}"
            )
        unused = [
            c for c in "zyxwvutsrqponmlkjihgfedcba" if c not in self.x_axes + self.kernel_axes
        ]
        dots = "".join(unused[:extra])
        if self.dots_first:
            return dots + self.x_axes, dots + self.y_axes
        return self.x_axes + dots, self.y_axes + dots

    def lengths(self, shape: Shape) -> dict[str, Any]:
        """Return the length of each axis."""
        x, y = self._named(shape)
        lengths: dict[str, Any] = dict(zip(x, shape, strict=True))
        extra = [c for c in y if c not in self.y_axes]
        own = [c for c in y if c not in extra]
        # the configured output shape omits the batch axis and the axes that the dots stand for
        wanted = own[1:] if not (self.dots_first and extra) else own
        given = self.given
        if len(given) == len(wanted) + len(extra) - (1 if self.dots_first and extra else 0):
            wanted = list(y[1:])
        if len(given) != len(wanted):
            raise ArchiveError(f"output_shape must have {len(wanted)} axes. Received: {given}")
        for c, length in zip(wanted, given, strict=True):
            if lengths.get(c) is None:
                lengths[c] = length
        return lengths

    def output_shape(self, shape: Shape) -> Shape:
        lengths = self.lengths(shape)
        return tuple(lengths[c] for c in self._named(shape)[1])

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        lengths = self.lengths(shape)
        shapes = {"kernel": tuple(lengths[c] for c in self.kernel_axes)}
        if self.bias_axes:
            y = self._named(shape)[1]
            first = min(y.index(c) for c in self.bias_axes)
            shapes["bias"] = tuple(lengths[c] if c in self.bias_axes else 1 for c in y[first:])
        return shapes

    def prepare(self) -> None:
        kernel = self.weights["kernel"]
        self.summed = [c for c in self.kernel_axes if c in self.x_axes and c not in self.y_axes]
        self.made = [c for c in self.kernel_axes if c not in self.x_axes]
        self.product = None
        if len(self.summed) + len(self.made) == len(self.kernel_axes):
            order = [self.kernel_axes.index(c) for c in self.summed + self.made]
            depth = math.prod(kernel.shape[i] for i in order[: len(self.summed)])
            self.product = Product(kernel.transpose(order).reshape(depth, -1))

    def pointwise(self, shape: Shape) -> bool:
        x, y = self._named(shape)
        own = self.kernel_axes + self.bias_axes  # a bias along axis 1 differs from step to step
        return len(x) > 2 and len(y) > 1 and x[1] == y[1] and x[1] not in own

    def call(self, x: Array, *, tally: Tally) -> Array:
        names, out_names = self._named(x.shape)
        kernel, bias = self.weights["kernel"], self.weights.get("bias", 0)
        if self.product is None:
            equation = f"{names},{self.kernel_axes}->{out_names}"
            y: Array = np.einsum(equation, x, kernel)
        else:
            free = [c for c in names if c not in self.summed]
            rows = x.transpose([names.index(c) for c in free + self.summed])
            lengths = [rows.shape[i] for i in range(len(free))]
            flat = np.ascontiguousarray(rows).reshape(-1, self.product.depth)
            made = [kernel.shape[self.kernel_axes.index(c)] for c in self.made]
            y = self.product(flat, tally=tally).reshape(*lengths, *made)
            y = y.transpose([(free + self.made).index(c) for c in out_names])
        result: Array = self.activation(np.ascontiguousarray(y + bias))
        return result


class QuantizedEinsumDense(EinsumDense):
    """`EinsumDense` with a kernel, and usually inputs, rounded to 8 bits."""

    casts = "f"
    kinds = "f"

    def setup(self) -> None:
        super().setup()
        self.rounds = rounds_inputs(self.config)
        if self.dots_first or self.dots_last:  # Keras cannot quantise these
            raise ArchiveError(f"layer {self.name!r} in int8 must have an equation without dots")

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        lengths = self.lengths(shape)
        scale = tuple(lengths[c] if c in self.kernel_axes else 1 for c in self.y_axes)
        return super().weight_shapes(shape) | {"kernel_scale": scale}

    def prepare(self) -> None:
        check_scales(self.name, self.weights)
        self.kernel = self.weights["kernel"].astype(np.float64)

    def call(self, x: Array, *, tally: Tally) -> Array:
        scale = self.weights["kernel_scale"]
        if self.rounds:
            summed = tuple(i for i, c in enumerate(self.x_axes) if c not in self.y_axes)
            x, inputs_scale = rounded_inputs(x, self.dtype, summed)
            kept = "".join(c for c in self.y_axes if c in self.x_axes)
            inputs_scale = np.einsum(f"{self.x_axes}->{kept}", inputs_scale)  # length 1 if summed
            new = [i for i, c in enumerate(self.y_axes) if c not in self.x_axes]
            scale = scale * np.expand_dims(inputs_scale, new)
        # Whole numbers below 2**53 add up without rounding, in any order.
        equation = f"{self.x_axes},{self.kernel_axes}->{self.y_axes}"
        y = np.einsum(equation, x.astype(np.float64), self.kernel, optimize=True)
        made = [c for c in self.kernel_axes if c not in self.x_axes]
        tally.add(x.size * math.prod(self.kernel.shape[self.kernel_axes.index(c)] for c in made))
        result: Array = self.activation(y.astype(self.dtype) / scale + self.weights.get("bias", 0))
        return result


@known("Embedding")
class Embedding(Layer):
    """Rows of a matrix, chosen by integers."""

    @classmethod
    def variant(cls, config: Mapping[str, Any]) -> type[Layer]:
        return QuantizedEmbedding if mode_of(config) == "int8" else cls

    pointwise_from = 2

    def setup(self) -> None:
        refuse_quantized(self.config, known="int8")
        self.rows, self.units = self.integer("input_dim"), self.integer("output_dim")
        self.makes_mask = self.boolean("mask_zero", False)

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        return {"embeddings": (self.rows, self.units)}

    def output_shape(self, shape: Shape) -> Shape:
        return (*shape, self.units)

    def prepare(self) -> None:
        self.table = self.weights["embeddings"]

    def mask_axes(self, given: Any, *shapes: Any) -> int | None:
        return len(shapes[0]) if self.makes_mask else None

    def mask(self, given: Any, *inputs: Any) -> Any:
        return inputs[0] != 0

    def call(self, x: Array) -> Array:
        return self.table[indices(x, len(self.table))]


class QuantizedEmbedding(Embedding):
    """`Embedding` with rows of 8 bits, each with a scale."""

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        return super().weight_shapes(shape) | {"embeddings_scale": (self.rows,)}

    def prepare(self) -> None:
        check_scales(self.name, self.weights)
        self.table = self.weights["embeddings"] / self.weights["embeddings_scale"][:, None]
