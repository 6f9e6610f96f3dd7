"""What a user gives to a model, checked and brought into the model's order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kspike_ref import dtypes
from kspike_ref._spec import leaves
from kspike_ref.graph import Graph, Ref
from kspike_ref.layers.base import Array, Shape
from kspike_ref.layers.shape import InputLayer


class Inputs:
    """The inputs that a model takes.

    Parameters
    ----------
    graph : Graph
        The model.
    timed : set of Ref
        The tensors that have a time axis.
    """

    def __init__(self, graph: Graph, timed: set[Ref]) -> None:
        self._structure = graph.inputs
        layers = [node.layer for node in graph.nodes if not node.inputs]
        self._layers = [layer for layer in layers if isinstance(layer, InputLayer)]
        self._timed = [Ref(i, 0) in timed for i in range(len(self._layers))]

    def listed(self, x: Any) -> list[Any]:
        """Return the inputs in the model's order.

        Parameters
        ----------
        x : array_like, or list or dict of array_like
            In the model's structure, or by the names of the inputs.

        Returns
        -------
        list
            One for each input.

        Raises
        ------
        ValueError
            If there are too few or too many.
        """
        given = self._flat(x)
        if len(given) != len(self._layers):
            raise ValueError(f"x must be {len(self._layers)} arrays. Received: {len(given)}")
        return given

    def _flat(self, x: Any) -> list[Any]:
        names = list(leaves(self._structure))
        if isinstance(x, Mapping):
            if all(name in x for name in names):
                return [x[name] for name in names]
            if isinstance(self._structure, dict) and set(self._structure) == set(x):
                return [x[key] for key in sorted(self._structure)]
            came = ", ".join(map(str, x))
            raise ValueError(f"x must hold {', '.join(names)}. Received: {came}")
        if isinstance(x, list | tuple) and (len(names) > 1 or isinstance(self._structure, list)):
            return list(x)
        return [x]

    def checked(self, x: Any, timesteps: int | None = None, is_step: bool = False) -> list[Array]:
        """Return the inputs as arrays that fit the model, with a time axis.

        Parameters
        ----------
        x : array_like, or list or dict of array_like
            As in `listed`.
        timesteps : int, optional
            For so many steps, inputs without a time axis are presented.
        is_step : bool
            Whether they are one step of a longer run.

        Returns
        -------
        list of ndarray
            One for each input; a time axis that was added has stride 0.

        Raises
        ------
        TypeError
            If an input does not hold real numbers.
        ValueError
            If one does not have the model's shape, or there is no time axis.
        """
        given = self.listed(x)
        if timesteps is not None:
            if type(timesteps) is not int or timesteps < 1:
                raise ValueError(f"timesteps must be a positive integer. Received: {timesteps!r}")
            if not any(self._timed):
                raise ValueError(
                    f"timesteps must be None: this model has no time axis. Received: {timesteps}"
                )
        arrays = []
        for layer, is_timed, values in zip(self._layers, self._timed, given, strict=True):
            array = dtypes.real(values)
            shape = layer.shape
            if is_timed and timesteps is not None and array.ndim:
                array = np.broadcast_to(
                    array[:, None], (array.shape[0], timesteps, *array.shape[1:])
                )
            if is_timed and is_step:
                shape = (shape[0], None, *shape[2:])
            _check(layer.name, array, shape)
            arrays.append(array)
        return arrays

    def cast(self, arrays: list[Array]) -> list[Array]:
        """Return arrays in the types that the model takes."""
        cast = []
        for layer, x in zip(self._layers, arrays, strict=True):
            if x.dtype == layer.input_dtype:
                cast.append(x)
            elif x.ndim > 1 and x.strides[1] == 0:
                cast.append(np.broadcast_to(x[:, :1].astype(layer.input_dtype), x.shape))
            else:
                cast.append(x.astype(layer.input_dtype))
        return cast


def _check(name: str, x: Array, shape: Shape) -> None:
    fits = x.ndim == len(shape) and all(
        n is None or n == m for n, m in zip(shape, x.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"x must have the shape ({wanted}) at {name!r}. Received: {x.shape}")
    if x.dtype.kind not in "fiub":
        raise TypeError(f"x must hold real numbers at {name!r}. Received: dtype={x.dtype}")
