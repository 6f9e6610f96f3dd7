# ruff: noqa: D102 (methods are documented in base.Layer)
"""Layers around a layer or model, and folding of time into the batch."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from kspike_ref import dtypes
from kspike_ref.layers.base import Layer
from kspike_ref.layers.errors import Array, Shape
from kspike_ref.layers.loading import load_part
from kspike_ref.layers.registry import create, known
from kspike_ref.running.binder import Binder
from kspike_ref.running.counts import Tally
from kspike_ref.saved.archive import ArchiveError, Weights

# Layers that apply a layer, or a model, to every time step.
OVER_TIME = ("TimeDistributed", "custom:kspike_tf>TimeFolded")


@known(*OVER_TIME)
class TimeDistributed(Layer):
    """A layer applied to every time step: time is folded into the batch."""

    pointwise_from = 2
    keras_arguments = ("training", "mask")
    uses_mask = True
    takes_tally = True

    def timed(self) -> tuple[list[int], list[int]]:
        return [0], [0]

    def setup(self) -> None:
        self.layer = create(self.config["layer"], self.name)

    def parts(self, shape: Shape) -> list[tuple[str, Layer, tuple[Any, ...]]]:
        return [("layer", self.layer, (_one_step(shape),))]

    def output_shape(self, shape: Shape) -> Shape:
        inner = self.layer.output_shape(_one_step(shape))
        return (shape[0], shape[1], *inner[1:])

    def mask_axes(self, given: Any, *shapes: Any) -> int | None:
        axes: int | None = given[0]
        if axes is not None:
            self.layer.mask_axes((axes - 1,), _one_step(shapes[0]))
        return axes

    def bind(self, binder: Binder, x: Array) -> Array | None:
        folded = binder.view(x, (x.shape[0] * x.shape[1], *x.shape[2:]))
        if self.layer.received(folded) is not folded:
            return None
        binder.is_step = False  # the inner layer sees no time axis
        y = self.layer.bind(binder, folded)
        return None if y is None else binder.view(y, (*x.shape[:2], *y.shape[1:]))

    def call(self, x: Array, mask: Any = None, *, tally: Tally) -> Array:
        batch, steps = x.shape[:2]
        folded = np.ascontiguousarray(x).reshape(batch * steps, *x.shape[2:])
        options: dict[str, Any] = {}
        if mask is not None and self.layer.uses_mask:
            options["mask"] = mask.reshape(batch * steps, *mask.shape[2:])
        y: Array = self.layer(folded, tally=tally, **options)
        return y.reshape(batch, steps, *y.shape[1:])


def _one_step(shape: Shape) -> Shape:
    if len(shape) < 3:
        raise ArchiveError(f"the input must have 3 axes or more. Received: {shape}")
    return (shape[0], *shape[2:])


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
        return dtypes.cut(self.layer(*inputs, tally=tally), inputs[0].dtype)


class Fold(Layer):
    """Folding of time into the batch."""

    keeps_zeros = True
    verb: ClassVar[str] = "fold"

    def streams(self, *shapes: Any) -> bool:
        return True

    def timed(self) -> tuple[list[int], list[int]]:
        return [0], []

    def output_shape(self, shape: Shape) -> Shape:
        return (None, *_one_step(shape)[1:])

    def mask_axes(self, given: Any, *shapes: Any) -> int | None:
        return None if given[0] is None else given[0] - 1

    def mask(self, given: Any, *inputs: Any) -> Any:
        mask = given[0]
        return mask.reshape(mask.shape[0] * mask.shape[1], *mask.shape[2:])

    def call(self, x: Array) -> Array:
        return np.ascontiguousarray(x).reshape(x.shape[0] * x.shape[1], *x.shape[2:])


class Unfold(Layer):
    """Unfolding of time from the batch to an axis, as long as in the second input."""

    keeps_zeros = True
    verb: ClassVar[str] = "unfold"

    def streams(self, *shapes: Any) -> bool:
        return True

    def timed(self) -> tuple[list[int], list[int]]:
        return [1], [0]

    def output_shape(self, *shapes: Any) -> Shape:
        y, x = shapes
        return (x[0], x[1], *y[1:])

    def mask_axes(self, given: Any, *shapes: Any) -> int | None:
        axes: int | None = given[1]  # masks from inside are dropped
        return axes

    def mask(self, given: Any, *inputs: Any) -> Any:
        return given[1]

    def call(self, *inputs: Any) -> Array:
        y, x = inputs
        folded: Array = y.reshape(x.shape[0], x.shape[1], *y.shape[1:])
        return folded


class Carrier(Layer):
    """The mask that a model is called with, attached to a tensor."""

    verb: ClassVar[str] = "mask"
    pointwise_from = 2
    keeps_zeros = True
    passes_mask = True
    uses_mask = True

    def call(self, x: Array, mask: Any = None) -> Array:
        return x
