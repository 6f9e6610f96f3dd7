# ruff: noqa: D102 (methods are documented in base.Layer)
"""Layers with 8-bit weights, as ``model.quantize("int8")`` makes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kspike_ref import dtypes
from kspike_ref.layers.activation import activation
from kspike_ref.layers.base import Layer
from kspike_ref.layers.errors import Array, Shape, UnsupportedUseError
from kspike_ref.layers.loading import load_part
from kspike_ref.layers.registry import create, known
from kspike_ref.running.counts import Tally
from kspike_ref.saved.archive import ArchiveError, Weights


def mode_of(config: Mapping[str, Any]) -> str | None:
    """Return the quantisation mode of a layer's weights, None if there is none.

    Keras states it in the dtype policy. A layer that does not support a mode keeps a plain policy,
    even if its configuration has a ``quantization_config``.
    """
    policy = config.get("dtype")
    if not isinstance(policy, Mapping) or not isinstance(policy.get("config"), Mapping):
        return None
    mode = policy["config"].get("mode")
    return mode.split("/")[0] if isinstance(mode, str) else None


def refuse_quantized(config: Mapping[str, Any], known: str | None = None) -> None:
    """Refuse quantised layers, except in one mode; most int8 layers have separate classes.

    LoRA needs no check: Keras saves the merged kernel.
    """
    mode = mode_of(config)
    if mode not in (None, known):
        raise UnsupportedUseError(
            f"{config.get('name')}: weights quantised as {mode}; kspike_ref supports int8 "
            "in Dense, EinsumDense, Embedding and attention. Save the model before model.quantize"
        )


def rounds_inputs(config: Mapping[str, Any]) -> bool:
    """Return whether inputs are rounded to 8 bits too; refuse other quantisers."""
    given = config.get("quantization_config")
    if not isinstance(given, Mapping) or not isinstance(given.get("config"), Mapping):
        return True  # always, until Keras 3.12
    quantizer = given["config"].get("activation_quantizer")
    if quantizer is None:
        return False
    own = quantizer.get("config") if isinstance(quantizer, Mapping) else None
    is_usual = (
        isinstance(quantizer, Mapping)
        and isinstance(own, Mapping)
        and quantizer.get("class_name") == "AbsMaxQuantizer"
        and own.get("value_range", [-127, 127]) in ([-127, 127], (-127, 127))
        and own.get("epsilon", 1e-7) == 1e-7
    )
    if not is_usual:
        raise UnsupportedUseError(f"{config.get('name')}: activation_quantizer={quantizer!r:.80}")
    return True


def rows_of(table: Array, x: Array) -> Array:
    """Return the rows of a layer's table at integer indices; refuse indices outside it."""
    index = x.astype(np.int64)
    if index.size and not 0 <= int(index.min()) <= int(index.max()) < len(table):
        raise ValueError(
            f"x must hold integers from 0 to {len(table) - 1}. "
            f"Received: {int(index.min())} to {int(index.max())}"
        )
    rows: Array = table[index]
    return rows


def rounded_inputs(x: Array, dtype: Any, axes: Any) -> tuple[Array, Array]:
    """Return inputs as whole numbers up to 127, and the scale of each product over ``axes``."""
    largest = np.abs(x).max(axis=axes, keepdims=True, initial=0).astype(dtype)
    scale = dtype.type(127) / (largest + dtype.type(1e-7))
    if x.dtype.kind == "i":  # Keras gives the scale the type of the inputs
        scale = np.trunc(scale)
    return np.clip(np.rint(x * scale), -127, 127), scale


def check_scales(name: str, weights: Mapping[str, Array]) -> None:
    """Refuse scales that are not positive."""
    for place, values in weights.items():
        if place.endswith("scale") and not (values > 0).all():
            raise ArchiveError(f"layer {name!r} has a scale that is not positive")


class WholeProduct:
    """Multiplies rows, which may be rounded to 8 bits, by an 8-bit matrix.

    Parameters
    ----------
    kernel : (depth, columns) ndarray
        Whole numbers, in the type that the layer computes in.
    scale : (columns,) ndarray
        The divisors of the columns.
    rounds : bool
        Whether inputs are rounded too.
    """

    def __init__(self, kernel: Array, scale: Array, rounds: bool = True) -> None:
        self.kernel, self.scale, self.rounds = kernel.astype(np.float64), scale, rounds
        self.dtype = kernel.dtype

    def over_last_axis(self, x: Array, bias: Array | None, tally: Tally) -> Array:
        """Return the product over the last axis of an array with any number of axes."""
        tally.add(x.size * self.kernel.shape[1])
        scale = self.scale
        if self.rounds:
            x, inputs_scale = rounded_inputs(x, self.dtype, -1)
            scale = scale * inputs_scale
        # Whole numbers below 2**53 add up without rounding, in any order.
        with np.errstate(divide="ignore", invalid="ignore"):  # integers above 127 have the scale 0
            y = np.matmul(x.astype(np.float64), self.kernel).astype(self.dtype) / scale
        return y if bias is None else y + bias


class Int8Layer(Layer):
    """The base class of layers with 8-bit weights: integers, and a scale per column or row."""

    def load(self, store: Weights, path: str, *shapes: Any) -> None:
        super().load(store, path, *shapes)
        check_scales(self.name, self.weights)


class QuantizedDense(Int8Layer):
    """``activation(x @ kernel + bias)``, with the kernel and usually x rounded to 8 bits."""

    pointwise_from = 3
    passes_mask = True
    takes_tally = True

    def setup(self) -> None:
        self.units = self.integer("units")
        self.use_bias = self.boolean("use_bias", True)
        self.activation = activation(self.config.get("activation"))
        self.rounds = rounds_inputs(self.config)
        self.kinds = "if" if self.rounds else "f"  # others overflow in Keras

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, Any] = {"kernel": (shape[-1], self.units)}
        bias: dict[str, Any] = {"bias": (self.units,)} if self.use_bias else {}
        return shapes | bias | {"kernel_scale": (self.units,)}

    def output_shape(self, shape: Shape) -> Shape:
        if "kernel" in self.weights and shape[-1] != self.weights["kernel"].shape[0]:
            raise ArchiveError(f"layer {self.name!r} was not built for inputs of shape {shape}")
        return (*shape[:-1], self.units)

    def prepare(self) -> None:
        weights = self.weights
        self.product = WholeProduct(weights["kernel"], weights["kernel_scale"], self.rounds)

    def call(self, x: Array, *, tally: Tally) -> Array:
        made = self.product.over_last_axis(x, self.weights.get("bias"), tally)
        y: Array = self.activation(made)
        return y


class QuantizedEmbedding(Int8Layer):
    """Rows of an 8-bit matrix, each with a scale, chosen by integers."""

    pointwise_from = 2

    def setup(self) -> None:
        self.rows, self.units = self.integer("input_dim"), self.integer("output_dim")
        self.makes_mask = self.boolean("mask_zero", False)

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        return {"embeddings": (self.rows, self.units), "embeddings_scale": (self.rows,)}

    def output_shape(self, shape: Shape) -> Shape:
        return (*shape, self.units)

    def prepare(self) -> None:
        scale = self.weights["embeddings_scale"]
        self.table = self.weights["embeddings"] / scale[:, None]

    def mask_axes(self, given: Any, *shapes: Any) -> int | None:
        return len(shapes[0]) if self.makes_mask else None

    def mask(self, given: Any, *inputs: Any) -> Any:
        return inputs[0] != 0

    def call(self, x: Array) -> Array:
        return rows_of(self.table, x)


@known("SpectralNormalization")
class SpectralNormalization(Layer):
    """An inner layer, whose kernel is divided by its largest singular value in training.

    As in Keras, the output has the type of the input: for integer inputs, it loses its fractions.
    """

    takes_tally = True

    def setup(self) -> None:
        self.layer = create(self.config["layer"], self.name)

    def parts(self, *shapes: Any) -> list[tuple[str, Layer, tuple[Any, ...]]]:
        return [("layer", self.layer, shapes)]

    def load(self, store: Weights, path: str, *shapes: Any) -> None:
        # its own weights, the vector of the last iteration and a copy of the kernel, are not needed
        load_part(self.layer, store, f"{path}/layer", *shapes)
        self.weights = {f"layer/{name}": w for name, w in self.layer.weights.items()}

    def output_shape(self, *shapes: Any) -> Any:
        return self.layer.output_shape(*shapes)

    def pointwise(self, *shapes: Any) -> bool:
        return self.layer.pointwise(*shapes)

    def call(self, *inputs: Any, tally: Tally) -> Any:
        options = {"tally": tally} if self.layer.takes_tally else {}
        y: Array = self.layer(*inputs, **options)
        return dtypes.cut(y, inputs[0].dtype)
