# ruff: noqa: D102 (methods of subclasses in this file are documented in Layer)
"""What a layer is, and what it says where it cannot be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from kspike_ref.archive import ArchiveError, Weights

Array = np.ndarray[Any, Any]
Shape = tuple[int | None, ...]
State = tuple[Array, ...]

_MAX_ELEMENTS = 2**31  # in one example of an output: a limit for configurations of strangers


class UnsupportedLayerError(NotImplementedError):
    """A model holds layers that nobody registered.

    Parameters
    ----------
    layers : sequence of str
        All of them, each with its name and what it is.

    Attributes
    ----------
    layers : tuple of str
        The same.
    """

    def __init__(self, layers: Sequence[str]) -> None:
        self.layers = tuple(layers)
        super().__init__(
            "this model needs what kspike_ref does not have (see kspike_ref.register_layer):\n  "
            + "\n  ".join(self.layers)
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return UnsupportedLayerError, (self.layers,)


class UnsupportedUseError(Exception):
    """A use of a layer that is not supported; collected into one `UnsupportedLayerError`."""


class Layer:
    """A layer of a trained model: its configuration, its weights, and what it computes.

    Subclass it and give it to `register_layer` to load models with layers of your own.

    Parameters
    ----------
    name : str
        The name it has in the model.
    class_name : str
        The name of its class in Keras.
    config : dict
        What its ``get_config`` returned in Keras.

    Attributes
    ----------
    weights : dict of str to ndarray
        Filled when the model is loaded, with what `weight_shapes` asks for.
    key : str
        What it was saved as: ``"Dense"``, ``"ops:Add"``, ``"custom:package>Class"``.
    dtype : dtype
        What it computes in: float64 under that policy, float32 otherwise.
    pointwise_from : int
        The smallest number of axes an input needs for axis 1 to be one along which the layer treats
        each position alone and alike (so that time may be there). 0 says that it never does.
    makes_mask, uses_mask : bool
        Whether it tells later layers which steps to leave out, and whether it would listen.
    keeps_zeros : bool
        Whether zeros stay zeros, so that spikes that come in are mostly zero when they go out.
    """

    pointwise_from: ClassVar[int] = 0
    makes_mask: bool = False
    uses_mask: ClassVar[bool] = False
    keeps_zeros: ClassVar[bool] = False

    def __init__(self, name: str, class_name: str, config: Mapping[str, Any]) -> None:
        self.name = name
        self.class_name = class_name
        self.key = class_name
        self.config = dict(config)
        self.weights: dict[str, Array] = {}
        self.dtype = _compute_dtype(self.config.get("dtype"))
        self.setup()

    def setup(self) -> None:
        """Read the configuration; called once, before shapes are known."""

    def weight_shapes(self, *shapes: Any) -> dict[str, tuple[int, ...]]:
        """Return the shape of each weight, in the order in which Keras creates them.

        Parameters
        ----------
        *shapes : tuple of int or None
            The shapes of the inputs, with the batch axis, as `output_shape` gets them.

        Returns
        -------
        dict of str to tuple of int
            The names under which they appear in `weights`.
        """
        return {}

    def parts(self, *shapes: Any) -> list[tuple[str, Layer, tuple[Any, ...]]]:
        """Return the layers within: where Keras saves them, the layer, its input shapes."""
        return []

    def output_shape(self, *shapes: Any) -> Any:
        """Return the shape of the output, or a list of shapes if there are several outputs."""
        return shapes[0]

    def prepare(self) -> None:
        """Compute what depends on the weights alone; called once they are there."""

    def call(self, *inputs: Any) -> Any:
        """Return the output for input arrays, which it must not change."""
        raise NotImplementedError(f"{type(self).__name__} has no call")

    def pointwise(self, *shapes: Any) -> bool:
        """Return whether each position of axis 1 is treated alone and alike."""
        axes = [len(shape) for shape in shapes if isinstance(shape, tuple)]
        return 0 < self.pointwise_from <= min(axes, default=0)

    def streams(self, *shapes: Any) -> bool:
        """Return whether it can run one time step at a time, given inputs with a time axis."""
        return self.pointwise(*shapes)

    def timed(self) -> tuple[list[int], list[int]]:
        """Return which inputs and which outputs have a time axis by definition."""
        return [], []

    def integer(self, key: str, default: int | None = None) -> int:
        """Return a non-negative integer of the configuration."""
        value = self.config.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ArchiveError(f"{key} must be a non-negative integer. Received: {value!r}")
        return value

    def load(self, store: Weights, path: str, *shapes: Any) -> None:
        """Read the weights of this layer and of the layers within.

        Parameters
        ----------
        store : Weights
            The archive.
        path : str
            Where Keras saved this layer.
        *shapes : tuple
            The shapes of its inputs.

        Raises
        ------
        ArchiveError
            If they are not those that the configuration needs.
        """
        wanted = self.weight_shapes(*shapes)
        names = store.names(path)
        if len(names) != len(wanted):
            raise ArchiveError(
                f"layer {self.name!r} must have {len(wanted)} weights ({', '.join(wanted)}). "
                f"Received: {len(names)} at {path}/vars"
            )
        for number, (name, shape) in enumerate(wanted.items()):
            values = store.read(path, str(number), shape, self.name)
            self.weights[name] = values.astype(self.dtype)
        for place, part, part_shapes in self.parts(*shapes):
            part.load(store, f"{path}/{place}", *part_shapes)
            self.weights |= {f"{place}/{name}": w for name, w in part.weights.items()}
        self.prepare()


class StatefulLayer(Layer):
    """A layer that carries a state from one time step to the next.

    Attributes
    ----------
    reduces : bool
        Whether the output has no time axis: it is the value over all steps so far.
    """

    uses_mask = True
    reduces: bool = False

    def streams(self, *shapes: Any) -> bool:
        return len(shapes) == 1

    def timed(self) -> tuple[list[int], list[int]]:
        return [0], [] if self.reduces else [0]

    def initial_state(self, batch: int, *shapes: Any) -> State:
        """Return the state before the first step.

        Parameters
        ----------
        batch : int
            The number of examples.
        *shapes : tuple
            The shapes of the inputs.

        Returns
        -------
        tuple of ndarray
            Arrays whose first axis is the batch.
        """
        raise NotImplementedError

    def scan(self, state: State, *inputs: Any) -> tuple[Any, State]:
        """Run over the steps of the inputs, and return the output and the state after them.

        Parameters
        ----------
        state : tuple of ndarray
            The state before; not changed.
        *inputs : ndarray
            ``(batch, time, …)``. A time axis of stride 0 is one input at every step.

        Returns
        -------
        tuple
            The output and the new state.
        """
        raise NotImplementedError


def check_size(name: str, shape: Any) -> None:
    """Refuse an output that no real model has."""
    for one in shape if isinstance(shape, list) else [shape]:
        lengths = [length for length in one if length is not None] if type(one) is tuple else [-1]
        is_shape = all(isinstance(length, int) and length >= 0 for length in lengths)
        if not is_shape or math.prod(lengths) > _MAX_ELEMENTS:
            raise ArchiveError(f"layer {name!r} has an impossible output shape: {one}")


def _compute_dtype(policy: Any) -> np.dtype[Any]:
    """Return what to compute in: half precision policies are computed in float32."""
    if isinstance(policy, Mapping):
        inner = policy.get("config")
        policy = inner.get("name") if isinstance(inner, Mapping) else None
    return np.dtype(np.float64 if policy == "float64" else np.float32)
