"""The inputs of a model: checks of the caller's arrays, in the model's order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kspike_ref.arguments import check_count, suggestion
from kspike_ref.kernels.memory import frozen
from kspike_ref.layers.errors import Array, Shape
from kspike_ref.layers.shape import InputLayer
from kspike_ref.running.axes import Axes, repeats
from kspike_ref.running.given import (
    array_of,
    axes_of,
    fits_shape,
    holds_arrays,
    in_order,
    in_type_of,
    is_nested,
    is_shape,
    still,
)
from kspike_ref.running.graph import Graph, Ref
from kspike_ref.running.once import is_static
from kspike_ref.saved.structure import leaves


class Inputs:
    """The inputs that a model takes.

    Parameters
    ----------
    graph : Graph
        The model.
    axes : Axes
        Its time axes.
    """

    def __init__(self, graph: Graph, axes: Axes) -> None:
        self._structure = graph.inputs
        self._names = list(leaves(self._structure))
        layers = [node.layer for node in graph.nodes if not node.inputs]
        self._layers = [layer for layer in layers if isinstance(layer, InputLayer)]
        refs = [Ref(i, 0) for i in range(len(self._layers))]
        self.timed = [ref in axes.timed for ref in refs]
        self.time_major = [ref in axes.time_major for ref in refs]
        self._groups = [axes.group(ref) for ref in refs]
        self._axes = [len(layer.shape) for layer in self._layers]
        self._still_axes = [
            n - is_timed for n, is_timed in zip(self._axes, self.timed, strict=True)
        ]
        self._still_shapes = [
            layer.shape[1:] if is_first else (*layer.shape[:1], *layer.shape[2:])
            for layer, is_first in zip(self._layers, self.time_major, strict=True)
        ]
        self._is_plain = len(refs) == 1 and not self.time_major[0]
        self._repeats = repeats(graph, axes)

    def listed(self, x: Any, wanted: list[int] | None = None) -> list[Any]:
        """Return the inputs in the model's order.

        Parameters
        ----------
        x : array_like, or list or dict of array_like
            In the model's structure, as a flat list, or by the names of the inputs; a list of one
            array if there is one input.
        wanted : list of int, optional
            The number of axes of each input.

        Returns
        -------
        list
            One item per input.

        Raises
        ------
        ValueError
            If there are too few or too many.
        """
        given = self._flat(x, wanted or self._axes)
        if len(given) != len(self._layers):
            raise ValueError(
                f"x must be {len(self._layers)} arrays ({', '.join(self._names)}). "
                f"Received: {len(given)}"
            )
        return given

    def _flat(self, x: Any, wanted: list[int]) -> list[Any]:
        names, structure = self._names, self._structure
        if isinstance(x, Mapping):
            if isinstance(structure, dict) and set(structure) == set(x):
                return in_order(structure, x)
            if all(name in x for name in names):
                return [x[name] for name in names]
            came = ", ".join(map(str, x))
            keys = list(structure if isinstance(structure, dict) else names)
            strange = [str(key) for key in x if key not in keys]
            hint = suggestion(strange[0], keys) if strange else ""
            raise ValueError(f"x must hold {', '.join(keys)}. Received: {came}{hint}")
        if not isinstance(x, list | tuple):
            return [x]
        if len(names) > 1:
            return in_order(structure, x) if is_nested(structure, x) else list(x)
        is_one = len(x) == 1 and axes_of(x[0]) == wanted[0]
        return list(x) if is_one or holds_arrays(x, wanted[0]) else [x]

    def checked(self, x: Any, timesteps: Any = None, is_step: bool = False) -> list[Array]:
        """Return the inputs as arrays that fit the model, with a time axis.

        Parameters
        ----------
        x : array_like, or list or dict of array_like
            As in `listed`.
        timesteps : int, optional
            The number of steps for which inputs without a time axis are presented.
        is_step : bool
            Whether ``x`` is one step of a longer run.

        Returns
        -------
        list of ndarray
            One per input; a time axis that was added has stride 0.

        Raises
        ------
        TypeError
            If an input does not hold real numbers (strings if the model takes strings), or is a
            masked array.
        ValueError
            If an input does not have the model's shape, if inputs differ in their number of
            examples or time steps, or if there is no time axis.
        """
        steps = 1 if is_step else self._steps(timesteps)
        if self._is_plain and type(x) is np.ndarray:
            given = [x]
        else:
            given = self.listed(x, self._axes if steps is None else self._still_axes)
        arrays = []
        for i, values in enumerate(given):
            array = array_of(self._layers[i], values)
            if steps is not None and self.timed[i]:
                array = self._with_time(i, array, steps, is_step)
            elif not fits_shape(array.shape, self._layers[i].shape):
                raise ValueError(self._misfit(i, self._layers[i].shape, array.shape, None, False))
            arrays.append(array)
        if not self._is_plain:
            self._check_together(arrays)
        return arrays

    def _steps(self, timesteps: Any) -> int | None:
        if timesteps is None:
            return None
        steps = check_count("timesteps", timesteps, 1)
        if not any(self.timed):
            raise ValueError(
                "timesteps must be None: no input of this model has a time axis. "
                f"Received: {timesteps}"
            )
        return steps

    def _with_time(self, i: int, array: Array, steps: int, is_step: bool) -> Array:
        """Return an input repeated along an added time axis."""
        shape = self._layers[i].shape
        time = 0 if self.time_major[i] else 1
        still = self._still_shapes[i]
        if len(shape) == 2 and array.ndim == 2 and array.shape[1] == steps:
            return array  # one number per step, such as a mask, may come with its time axis
        if not fits_shape(array.shape, still):
            raise ValueError(self._misfit(i, still, array.shape, steps, is_step))
        if not is_step and shape[time] not in (None, steps):
            raise ValueError(
                f"timesteps must be {shape[time]}, the number of time steps of "
                f"{self._layers[i].name!r}. Received: {steps}"
            )
        one = array[None] if time == 0 else array[:, None]
        if steps == 1:
            return frozen(one)
        return np.broadcast_to(one, (*array.shape[:time], steps, *array.shape[time:]))

    def _misfit(
        self, i: int, shape: Shape, given: tuple[int, ...], steps: int | None, is_step: bool
    ) -> str:
        """Return an error message about the shape of an input, in the caller's terms."""
        names = ["any" if n is None else str(n) for n in shape]
        batch = 1 if self.time_major[i] and steps is None else 0
        if batch < len(names):
            names[batch] = "batch"
        hint = ""
        if self.timed[i] and steps is None:
            if shape[1 - batch] is None:
                names[1 - batch] = "time"
            if len(given) == len(shape) - 1:
                hint = " (pass timesteps=N for inputs without time)"
        elif steps is not None:
            hint = ", one time step" if is_step else f", without time, for timesteps={steps}"
        text = f"({names[0]},)" if len(names) == 1 else f"({', '.join(names)})"
        name = self._layers[i].name
        return f"x must have the shape {text} at {name!r}{hint}. Received: {given}"

    def _check_together(self, arrays: list[Array]) -> None:
        """Refuse inputs that differ in number of examples, or in steps of a shared time axis."""
        names = [layer.name for layer in self._layers]
        batches = [x.shape[int(major)] for x, major in zip(arrays, self.time_major, strict=True)]
        if len(set(batches)) > 1:
            came = ", ".join(f"{n} at {name!r}" for name, n in zip(names, batches, strict=True))
            raise ValueError(f"all inputs must hold the same number of examples. Received: {came}")
        lengths: dict[Ref, dict[str, int]] = {}
        for i, x in enumerate(arrays):
            if self.timed[i]:
                length = x.shape[0 if self.time_major[i] else 1]
                lengths.setdefault(self._groups[i], {})[names[i]] = length
        for group in lengths.values():
            if len(set(group.values()) - {1}) > 1:  # a single step serves for all, as in Keras
                came = ", ".join(f"{n} at {name!r}" for name, n in group.items())
                raise ValueError(
                    "inputs that the model combines must have the same number of time steps. "
                    f"Received: {came}"
                )

    def given_shapes(self, x: Any) -> list[tuple[int, ...]]:
        """Return the shapes of checked inputs as the caller passed them."""
        if type(x) is np.ndarray:
            return [x.shape]
        for wanted in (self._axes, self._still_axes):
            given = self._flat(x, wanted)
            if len(given) == len(self._layers):
                break
        return [np.shape(one) for one in given]

    def shapes(self, shape: Any) -> tuple[tuple[tuple[int, ...], ...], int]:
        """Return the shapes of inputs, in the model's order, and their number of examples.

        Parameters
        ----------
        shape : tuple of int, or list or dict of tuple of int
            In the model's own structure, with batch and time.

        Returns
        -------
        tuple
            The shapes, and the number of examples.

        Raises
        ------
        ValueError
            If a shape does not fit the model.
        """
        is_one = len(self._layers) == 1 and isinstance(shape, list | tuple) and len(shape) != 1
        if is_shape(shape) or (is_one and not any(isinstance(n, list | tuple) for n in shape)):
            given = [shape]
        elif len(self._layers) == 1 and isinstance(shape, list | tuple):
            given = list(shape)
        else:
            given = self._flat(shape, [1] * len(self._layers))
        if len(given) != len(self._layers):
            wanted = f"{len(self._layers)} shapes ({', '.join(self._names)})"
            raise ValueError(f"shape must be {wanted}. Received: {shape!r}")
        for i, one in enumerate(given):
            if not is_shape(one):
                raise ValueError(f"shape must hold lengths. Received: {one!r}")
            if not fits_shape(one, self._layers[i].shape):
                misfit = self._misfit(i, self._layers[i].shape, tuple(one), None, False)
                raise ValueError(misfit)
        shapes = tuple(tuple(int(n) for n in one) for one in given)
        return shapes, shapes[0][int(self.time_major[0])]

    def takes_as_it_is(self, x: Array, checked: Array, timesteps: int | None) -> bool:
        """Return whether arrays of this type and shape need at most an added time axis.

        Parameters
        ----------
        x : ndarray
            The argument.
        checked : ndarray
            The result of `checked`.
        timesteps : int or None
            The number of steps for which it is presented.
        """
        layer = self._layers[0]
        if not self._is_plain or layer.is_text or x.dtype != layer.input_dtype:
            return False
        if timesteps is None:
            return x.shape == checked.shape and not is_static(checked)
        is_one_step = checked.shape[1] == 1 or is_static(checked)
        return is_one_step and x.shape == still(checked.shape)

    def batch(self, arrays: list[Array]) -> int:
        """Return the number of examples in checked inputs."""
        return int(arrays[0].shape[int(self.time_major[0])])

    def steps(self, arrays: list[Array]) -> int:
        """Return the number of time steps in checked inputs of a model that streams."""
        lengths = {x.shape[1] for x, is_timed in zip(arrays, self.timed, strict=True) if is_timed}
        return max(lengths - {1}, default=1 if lengths else self._repeats)

    def at_step(self, arrays: list[Array], t: int) -> list[Array]:
        """Return one step of checked inputs of a model that streams."""
        return [
            x[:, t : t + 1] if is_timed and x.shape[1] > 1 else x
            for x, is_timed in zip(arrays, self.timed, strict=True)
        ]

    def cast(self, arrays: list[Array]) -> list[Array]:
        """Return arrays in the types that the model takes."""
        return [in_type_of(layer, x) for layer, x in zip(self._layers, arrays, strict=True)]
