# ruff: noqa: D102 (methods are documented in base.Layer)
"""Lambda layers and activations that run registered functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kspike_ref.layers.base import Layer
from kspike_ref.layers.errors import Array, Shape, UnsupportedUseError
from kspike_ref.layers.registry import known, own_function, reason
from kspike_ref.saved.errors import ArchiveError
from kspike_ref.saved.limits import budget

_PROBES = ((2, 5), (3, 7))  # two pairs of lengths: the batch, and unknown axes


@known("Lambda")
class Lambda(Layer):
    """A Lambda layer, run by the function registered under its name; its code is not read."""

    passes_mask = False

    def setup(self) -> None:
        own_name = str(self.config.get("name"))
        function = own_function(own_name)
        if function is None:
            raise UnsupportedUseError(f"{self.name}: {reason('Lambda', {'config': self.config})}")
        arguments = self.config.get("arguments") or {}
        if not isinstance(arguments, Mapping):
            raise ArchiveError(f"arguments must be an object. Received: {arguments!r:.80}")
        self.function, self.arguments = function, dict(arguments)

    def output_shape(self, *shapes: Any) -> Any:
        """Return the shapes of the function's outputs, from two probes of different lengths."""
        made = [self._probed(shapes, batch, length) for batch, length in _PROBES]
        flat = [[np.shape(y) for y in (y if isinstance(y, list | tuple) else [y])] for y in made]
        outputs: list[Shape] = []
        for one, other in zip(*flat, strict=True):
            pair = list(zip(one, other, strict=True))
            if not pair or pair[0] != (_PROBES[0][0], _PROBES[1][0]):
                raise UnsupportedUseError(
                    f"the function for {self.name!r} must keep axis 0 as the batch axis"
                )
            outputs.append((None, *(n if n == m else None for n, m in pair[1:])))
        return outputs if isinstance(made[0], list | tuple) else outputs[0]

    def _probed(self, shapes: Any, batch: int, length: int) -> Any:
        def zeros(shape: Any) -> Any:
            if isinstance(shape, list):
                return [zeros(one) for one in shape]
            lengths = [length if n is None else n for n in shape[1:]]
            budget().make(self.dtype.itemsize * batch * math.prod(lengths), f"layer {self.name!r}")
            return np.broadcast_to(self.dtype.type(0), (batch, *lengths))

        with np.errstate(all="ignore"):
            return self.function(*(zeros(shape) for shape in shapes), **self.arguments)

    def call(self, *inputs: Any) -> Any:
        y = self.function(*inputs, **self.arguments)
        return list(y) if isinstance(y, list | tuple) else np.asarray(y)


class OwnActivation:
    """A registered function as an activation, under its name in the file."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name, self.function = name, function
        self.__name__ = f"own {name}"  # unlike any name of Keras

    def __call__(self, x: Array, out: Array | None = None) -> Array:
        """Return the function's value, in the type of ``x``."""
        y = np.asarray(self.function(x))
        if y.shape != x.shape:
            raise ValueError(
                f"the activation {self.name!r} must keep the shape {x.shape}. Received: {y.shape}"
            )
        y = y.astype(x.dtype, copy=False)
        if out is None:
            return y
        out[...] = y
        return out


def own_activation(config: Any) -> OwnActivation | None:
    """Return the activation registered under the name in a configuration, if there is one."""
    name = config
    if isinstance(config, Mapping) and config.get("class_name") == "function":
        name = config.get("config")
    function = own_function(name) if isinstance(name, str) else None
    return None if function is None else OwnActivation(name, function)
