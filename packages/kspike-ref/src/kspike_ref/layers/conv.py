# ruff: noqa: D102 (methods are documented in base.Layer)
"""Convolution layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kspike_ref.kernels import convolve, matmul
from kspike_ref.kernels.memory import frozen
from kspike_ref.layers.activation import activation, bind_activation, keeps_shape
from kspike_ref.layers.base import Layer
from kspike_ref.layers.dense import activation_parts
from kspike_ref.layers.errors import Array, Shape
from kspike_ref.layers.events import EventConvolution
from kspike_ref.layers.product import Product
from kspike_ref.layers.quantized import refuse_quantized
from kspike_ref.layers.registry import known
from kspike_ref.layers.window import Window, lengths
from kspike_ref.running.binder import Binder
from kspike_ref.running.counts import Tally
from kspike_ref.saved.archive import ArchiveError


class ConvLayer(Layer):
    """The base class of convolutions."""

    kinds = "f"
    takes_tally = True

    def setup(self) -> None:
        refuse_quantized(self.config)
        rank = next((int(c) for c in self.class_name if c.isdigit()), 0)
        self.window = Window(self.config, rank, "kernel_size")
        self.use_bias = self.boolean("use_bias", True)
        self.activation = activation(self.config.get("activation"))

    def filters(self, channels: int) -> int:
        """Return the number of output channels."""
        return self.integer("filters")

    def kernels(self, channels: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the kernels."""
        raise NotImplementedError

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        channels = self.window.channels(shape)
        bias = {"bias": (self.filters(channels),)} if self.use_bias else {}
        return self.kernels(channels) | bias

    def output_shape(self, shape: Shape) -> Shape:
        spatial = self.window.extents(self.window.spatial(shape))
        return self.window.shape(shape[0], spatial, self.filters(self.window.channels(shape)))

    def parts(self, shape: Shape) -> list[tuple[str, Layer, tuple[Any, ...]]]:
        return activation_parts(self.activation, self.output_shape(shape))

    @property
    def start(self) -> Any:
        """The initial value of sums: the bias, if there is one."""
        return self.weights["bias"] if self.use_bias else 0

    def finished(self, out: Array, geometry: Array) -> Array:
        """Apply the activation to outputs in the layer's form."""
        y: Array = self.activation(self.window.leave(out, geometry))
        return y


@known("Conv1D", "Conv2D", "Conv3D")
class Conv(ConvLayer):
    """A convolution; groups of channels are convolved separately."""

    def setup(self) -> None:
        super().setup()
        self.groups = self.integer("groups", 1)
        if self.groups < 1 or self.integer("filters") % self.groups:
            raise ArchiveError(f"groups must divide the filters. Received: {self.groups}")

    def kernels(self, channels: int) -> dict[str, tuple[int, ...]]:
        if channels % self.groups:
            raise ArchiveError(f"groups must divide {channels} channels. Received: {self.groups}")
        return {"kernel": (*self.window.size, channels // self.groups, self.filters(channels))}

    def prepare(self) -> None:
        kernel = self.weights["kernel"]
        self.depth = math.prod(kernel.shape[:-1])
        matrix = kernel.reshape(self.depth, kernel.shape[-1])
        parts = np.split(matrix, self.groups, axis=1)
        self.packed = frozen(np.stack([matmul.pack(np.ascontiguousarray(p)) for p in parts]))
        taps = math.prod(self.window.size)
        self.events = EventConvolution(self.packed, taps, self.depth // taps, parts[0].shape[1])

    def bind(self, binder: Binder, x: Array) -> Array | None:
        filters = self.integer("filters")
        bound = self.window.bound(binder, x, filters, self.depth)
        if bound is None or not keeps_shape(self.activation):
            return None
        entered, geometry, extents = bound
        out = binder.empty((len(x), math.prod(extents), filters), self.dtype)
        loop = convolve.convolve_call(entered, geometry, self.packed, self.groups, out)
        if binder.tally.spikes:
            binder.call(self._convolve_spikes, entered, geometry, out, binder.tally, loop)
        else:
            binder.tally.add(out.size * self.depth)
            binder.call(out.__setitem__, ..., self.start)
            binder.call(*loop)
        bind_activation(binder, self.activation, out, out)
        return binder.view(out, (len(x), *extents, filters))

    def _convolve_spikes(
        self, x: Array, geometry: Array, out: Array, tally: Tally, loop: tuple[Any, ...]
    ) -> None:
        """Fill ``out`` event by event, or by a loop over all inputs if that is faster."""
        tally.counts[:] = 0
        if not self._by_events(x, geometry, out, tally):
            out[...] = self.start
            function, _, *rest = loop
            function(x, *rest)

    def call(self, x: Array, *, tally: Tally) -> Array:
        entered, geometry = self.window.enter(x), self.window.geometry(x.shape)
        positions = math.prod(geometry[4].tolist())
        out = np.empty((len(x), positions, self.integer("filters")), self.dtype)
        if out.size and not self._by_events(entered, geometry, out, tally):
            out[...] = self.start
            for example, piece, part in self.window.pieces(entered, geometry, out, self.depth):
                convolve.convolve(frozen(example), piece, self.packed, self.groups, part)
        return self.finished(out, geometry)

    def _by_events(self, x: Array, geometry: Array, out: Array, tally: Tally) -> bool:
        """Convolve event by event if that is faster; return whether it is."""
        operations = out.size * self.depth
        if not tally.spikes:
            tally.add(operations)
            return False
        activity = self.events.activity(x, geometry)
        pays = self.events.pays(activity, geometry, len(x))
        if pays:
            operations = self.events.convolve(x, geometry, self.start, out, activity.synops)
        tally.add(operations, activity.events, activity.synops)
        return pays


@known("DepthwiseConv1D", "DepthwiseConv2D")
class DepthwiseConv(ConvLayer):
    """A depthwise convolution: every channel has its own filters.

    There is no event-driven path: it would save one operation per tap for each zero, about the cost
    of finding an event.
    """

    def setup(self) -> None:
        super().setup()
        self.multiplier = self.integer("depth_multiplier", 1)

    def filters(self, channels: int) -> int:
        return channels * self.multiplier

    def kernels(self, channels: int) -> dict[str, tuple[int, ...]]:
        return {"kernel": (*self.window.size, channels, self.multiplier)}

    def call(self, x: Array, *, tally: Tally) -> Array:
        out, geometry = self.each_channel(x, self.weights["kernel"], self.use_bias, tally)
        return self.finished(out, geometry)

    def each_channel(
        self, x: Array, kernel: Array, use_bias: bool, tally: Tally
    ) -> tuple[Array, Array]:
        """Return the convolution, ``(batch, positions, channels·multiplier)``, and its geometry."""
        entered, geometry = self.window.enter(x), self.window.geometry(x.shape)
        channels, multiplier = kernel.shape[-2:]
        positions = math.prod(geometry[4].tolist())
        out = np.zeros((len(x), positions, channels, multiplier), self.dtype)
        taps = frozen(kernel.reshape(-1, channels, multiplier))
        for example, piece, part in self.window.pieces(entered, geometry, out, len(taps)):
            convolve.depthwise(frozen(example), piece, taps, part)
        tally.add(out.size * len(taps))
        flat = out.reshape(*out.shape[:2], channels * multiplier)
        if use_bias:
            flat += self.weights["bias"]
        return flat, geometry


@known("SeparableConv1D", "SeparableConv2D")
class SeparableConv(DepthwiseConv):
    """A depthwise convolution, then a product over channels."""

    def filters(self, channels: int) -> int:
        return self.integer("filters")

    def kernels(self, channels: int) -> dict[str, tuple[int, ...]]:
        window, width = self.window, channels * self.multiplier
        return {
            "depthwise_kernel": (*window.size, channels, self.multiplier),
            "pointwise_kernel": (*[1] * window.rank, width, self.filters(channels)),
        }

    def temporaries(self, given: list[Any], made: list[Any]) -> int:
        """Return the size of the intermediate result and of its zero-padded copy."""
        channels = math.prod(self.weights["pointwise_kernel"].shape[:-1])
        spatial: Any = self.window.spatial(made[0])
        return 2 * made[0][0] * math.prod(spatial) * channels

    def multiply_adds(self, given: list[Any], made: list[Any]) -> int:
        spatial: Any = self.window.spatial(made[0])
        kernels = sum(w.size for w in self.weights.values())
        return int(made[0][0] * math.prod(spatial) * kernels)

    def prepare(self) -> None:
        kernel = self.weights["pointwise_kernel"]
        self.product = Product(kernel.reshape(kernel.shape[-2:]))

    def call(self, x: Array, *, tally: Tally) -> Array:
        kernel, bias = self.weights["depthwise_kernel"], self.weights.get("bias")
        middle, geometry = self.each_channel(x, kernel, False, tally)
        return self.finished(self.product.over_last_axis(middle, bias, tally), geometry)


@known("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
class ConvTranspose(ConvLayer):
    """The gradient of a convolution: every input is spread over a window of outputs."""

    def setup(self) -> None:
        super().setup()
        if self.window.padding == "causal":
            raise ArchiveError("padding must be valid or same. Received: causal")
        given = self.config.get("output_padding")
        rank = self.window.rank
        self.output_padding: list[Any] = [None] * rank
        if given is not None:
            values = given if isinstance(given, list) else [given] * rank
            self.output_padding = [n - 1 for n in lengths([v + 1 for v in values], rank, "padding")]

    def kernels(self, channels: int) -> dict[str, tuple[int, ...]]:
        return {"kernel": (*self.window.size, self.filters(channels), channels)}

    def _place(self, i: int, length: int) -> tuple[int, int]:
        """Return the number of outputs, and the number cropped at the start."""
        window, extra = self.window, self.output_padding[i]
        reach, stride = window.reach(i), window.stride[i]
        full = (length - 1) * stride + reach
        if window.padding == "valid":
            return full + (max(0, stride - reach) if extra is None else extra), 0
        extent = length * stride if extra is None else full - 2 * (reach // 2) + extra
        if stride > reach and extra is None:
            return extent, 0
        return extent, max(0, (full - extent) // 2)

    def output_shape(self, shape: Shape) -> Shape:
        spatial = self.window.spatial(shape)
        extents = [None if n is None else self._place(i, n)[0] for i, n in enumerate(spatial)]
        self.window.channels(shape)
        return self.window.shape(shape[0], tuple(extents), self.integer("filters"))

    def prepare(self) -> None:
        kernel = self.weights["kernel"]
        self.product = Product(
            np.ascontiguousarray(np.moveaxis(kernel, -1, 0).reshape(kernel.shape[-1], -1))
        )

    def call(self, x: Array, *, tally: Tally) -> Array:
        window, filters = self.window, self.integer("filters")
        entered = window.enter(x)
        spatial: Any = window.spatial(x.shape)
        places = [self._place(i, n) for i, n in enumerate(spatial)]
        extents, crops = zip(*places, strict=True)
        geometry = window.table(crops, extents)
        sent = self.product.over_last_axis(entered, tally=tally)
        columns = sent.reshape(*entered.shape[:4], math.prod(window.size), filters)
        out = np.empty((len(x), *geometry[4], filters), self.dtype)
        out[...] = self.start
        convolve.scatter(columns, geometry, out)
        return self.finished(out, geometry)
