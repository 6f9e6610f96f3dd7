# ruff: noqa: D102 (methods are documented in base.Layer)
"""Activation layers, and the activation functions of other layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kspike_ref import activations, dtypes
from kspike_ref.kernels import softmax as loops
from kspike_ref.kernels.memory import frozen
from kspike_ref.layers.base import Layer
from kspike_ref.layers.errors import Array, Shape, UnsupportedUseError, check_mask, mixing
from kspike_ref.layers.own import OwnActivation, own_activation
from kspike_ref.layers.registry import create, known
from kspike_ref.running.binder import Binder
from kspike_ref.saved.archive import ArchiveError, Weights
from kspike_ref.saved.limits import budget
from kspike_ref.softmax import has_short_rows, is_last, softmax

Function = Callable[[Array], Array]


def activation(config: Any) -> Function:
    """Return the function that a name, a serialised function or a serialised layer stands for."""
    own = own_activation(config)
    if own is not None:
        return own
    if isinstance(config, Mapping) and isinstance(config.get("config"), Mapping):
        layer = create(config)
        if not isinstance(layer, Pointwise | PReLU | Softmax):
            raise UnsupportedUseError(f"activation {config.get('class_name')}")
        if isinstance(layer, PReLU):
            layer.is_carried = True
        return layer
    if isinstance(config, Mapping) and config.get("config") == "keras2>hard_sigmoid":
        return hard_sigmoid_of_keras_2
    try:
        return activations.get(config)
    except ValueError as error:
        name = config.get("config") if isinstance(config, Mapping) else config
        if isinstance(name, str):
            raise UnsupportedUseError(
                f"activation {name:.80}: register the function with "
                f"kspike_ref.register_layer({name[:80]!r})"
            ) from error
        raise UnsupportedUseError(
            "an activation without a name, such as a lambda: give the model a named function, "
            "and register it with kspike_ref.register_layer"
        ) from error


def hard_sigmoid_of_keras_2(x: Array) -> Array:
    """Return clip(0.2·x + 0.5, 0, 1)."""
    y: Array = x * x.dtype.type(0.2)
    y += x.dtype.type(0.5)
    return np.clip(y, 0, 1, out=y)


def bind_activation(binder: Binder, function: Function, x: Array, out: Array) -> None:
    """Record a call that sets ``out`` to an activation of ``x``, which may be the same array.

    Both have the same type and shape, which the function must keep (see `keeps_shape`).
    """
    if function is activations.relu:
        binder.call(np.maximum, x, 0, out=out)
    elif function is softmax and has_short_rows(x):
        bind_short_rows(binder, x, out)
    elif function in _WITH_OUT or isinstance(function, OwnActivation):
        binder.call(function, x, out=out)
    elif function is not activations.linear or x is not out:
        binder.call(_into, x, function, out)


def bind_short_rows(binder: Binder, x: Array, out: Array) -> None:
    """Record a call that sets ``out`` to the softmax of rows for which `has_short_rows`."""
    rows = (math.prod(x.shape[:-1]), x.shape[-1])
    given = binder.view(x, rows)
    given = frozen(given) if given.flags.writeable else given
    binder.call(*loops.softmax_call(given, out.reshape(rows)))


def keeps_shape(function: Function) -> bool:
    """Return whether an activation keeps the shape and type of its input."""
    return function is not activations.glu and not isinstance(function, Layer)


_WITH_OUT = [f for f in activations.ACTIVATIONS.values() if f is not activations.linear]


def _into(x: Array, function: Function, out: Array) -> None:
    out[...] = function(x)


class Pointwise(Layer):
    """The base class of elementwise layers: a function, and its arguments after the input."""

    pointwise_from = 2
    passes_mask = True
    function: Callable[..., Array]
    arguments: tuple[Any, ...] = ()

    def bind(self, binder: Binder, x: Array) -> Array | None:
        if x.dtype.kind != "f" or not keeps_shape(self.function):
            return None
        if self.function is activations.linear:
            return x
        out = binder.over(x)
        if self.arguments:
            binder.call(self.function, x, *self.arguments, out=out)
        else:
            bind_activation(binder, self.function, x, out)
        return out

    def call(self, x: Array) -> Array:
        return self.function(x, *self.arguments)


# Activations that Keras also computes for bools and integers, or for integers alone. The others
# take only floats.
_OF_ALL = ("linear", "exponential", "tanh")
_OF_NUMBERS = ("relu", "relu6", "leaky_relu")
_KEEP_INTEGERS = ("linear", "relu", "relu6")


@known("Activation")
class Activation(Pointwise):
    """A named function."""

    pointwise_from = 3

    def setup(self) -> None:
        self.function = activation(self.config.get("activation"))
        if isinstance(self.function, Layer):
            self.kinds, self.casts = self.function.kinds, self.function.casts
            return
        name = self.function.__name__
        self.kinds = "biuf" if name in _OF_ALL else "iuf" if name in _OF_NUMBERS else "f"
        self.casts = "f" if name in _KEEP_INTEGERS else "biuf"


@known("ReLU")
class ReLU(Pointwise):
    """``max(x, 0)``, with a slope below and a limit above."""

    keeps_zeros = True
    function = staticmethod(activations.relu)
    bind = Pointwise.bind

    def setup(self) -> None:
        slope, self.limit, self.threshold = (
            usual if self.config.get(key) is None else self.number(key, 0.0)
            for key, usual in (("negative_slope", 0.0), ("max_value", None), ("threshold", 0.0))
        )
        if (slope, self.limit, self.threshold) != (0.0, None, 0.0):
            self.arguments = slope, self.limit, self.threshold
        plain = self.limit is None and self.threshold == 0
        self.kinds = "iuf" if plain or not slope else "f"
        self.casts = "iuf" if slope else "f"

    def call(self, x: Array) -> Array:
        return self._of_integers(x) if x.dtype.kind in "iu" else super().call(x)

    def _of_integers(self, x: Array) -> Array:
        """Return the ReLU of integers; threshold and limit are truncated to integers first."""
        low = x.dtype.type(self.threshold)
        y = np.where(x > low, x, x.dtype.type(0)) if self.threshold else np.maximum(x, 0)
        if self.limit is not None:
            y = np.minimum(y, x.dtype.type(self.limit))
        return y.astype(dtypes.common_type(y, 0)) if self.threshold else y


@known("LeakyReLU")
class LeakyReLU(Pointwise):
    """``x`` above 0, a slope below."""

    keeps_zeros = True
    kinds = "iuf"
    casts = "iuf"
    function = staticmethod(activations.leaky_relu)

    def setup(self) -> None:
        self.arguments = (self.number("negative_slope", 0.3),)


@known("ELU")
class ELU(Pointwise):
    """``x`` above 0, ``alpha·(eˣ − 1)`` below."""

    kinds = "f"
    function = staticmethod(activations.elu)

    def setup(self) -> None:
        self.arguments = (self.number("alpha", 1.0),)


@known("Softmax")
class Softmax(Layer):
    """Softmax over one axis or several."""

    kinds = "f"
    keras_arguments = ("mask",)
    passes_mask = True
    uses_mask = True

    def setup(self) -> None:
        axis = self.config.get("axis", -1)
        self.axis = tuple(axis) if isinstance(axis, list) else (axis,)
        if not self.axis or not all(type(a) is int for a in self.axis):
            raise ArchiveError(f"axis must be one integer or several. Received: {axis!r:.80}")

    def output_shape(self, shape: Shape) -> Shape:
        if not all(-len(shape) <= a < len(shape) for a in self.axis):
            raise ArchiveError(f"axis must be valid for the shape {shape}. Received: {self.axis}")
        if len({a % len(shape) for a in self.axis}) < len(self.axis):
            raise ArchiveError(f"axis must name each axis once. Received: {self.axis}")
        if any(a % len(shape) == 0 for a in self.axis):
            raise mixing(f"Softmax with axis={self.config.get('axis')}")
        return super().output_shape(shape)

    def pointwise(self, shape: Shape) -> bool:
        return all(a % len(shape) > 1 for a in self.axis)

    def mask_axes(self, given: Any, *shapes: Any) -> int | None:
        check_mask(given[0], len(shapes[0]))
        return super().mask_axes(given, *shapes)

    def bind(self, binder: Binder, x: Array) -> Array:
        out = binder.over(x)
        if is_last(self.axis, x.ndim) and has_short_rows(x):
            bind_short_rows(binder, x, out)
        else:
            binder.call(softmax, x, axis=self.axis, out=out)
        return out

    def call(self, x: Array, mask: Any = None) -> Array:
        if mask is not None:
            x = np.where(mask, x, x.dtype.type(-1e9))  # as Keras does for masked elements
        y = softmax(x, axis=self.axis)
        return y if mask is None else np.where(mask, y, y.dtype.type(0))


@known("PReLU")
class PReLU(Layer):
    """``x`` above 0, a trained slope below."""

    kinds = "f"
    passes_mask = True
    is_carried = False  # whether it is the activation of another layer

    def setup(self) -> None:
        shared = self.config.get("shared_axes") or []
        self.shared = list(shared) if isinstance(shared, list) else [shared]
        if not all(type(a) is int and a > 0 for a in self.shared):
            raise ArchiveError(f"shared_axes must be positive. Received: {shared!r:.80}")

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        slopes: list[Any] = list(shape[1:])
        for axis in self.shared:
            slopes[axis - 1] = 1
        return {"alpha": tuple(slopes)}

    def load(self, store: Weights, path: str, *shapes: Any) -> None:
        if not self.is_carried or store.has_variables(path):
            super().load(store, path, *shapes)
            return
        # The model was never run: Keras would create the slopes at its first call. Create them.
        initializer = self.config.get("alpha_initializer")
        name = initializer.get("class_name") if isinstance(initializer, Mapping) else initializer
        if str(name).lower() not in ("zeros", "ones"):
            raise UnsupportedUseError("PReLU without weights: run the model once, then save it")
        for key, shape in self.weight_shapes(*shapes).items():
            budget().make(math.prod(shape) * self.dtype.itemsize, f"layer {self.name!r}")
            self.weights[key] = np.full(shape, str(name).lower() == "ones", self.dtype)

    def pointwise(self, shape: Shape) -> bool:
        return len(shape) > 2 and 1 in self.shared

    def call(self, x: Array) -> Array:
        return np.maximum(x, 0) + self.weights["alpha"] * np.minimum(x, 0)
