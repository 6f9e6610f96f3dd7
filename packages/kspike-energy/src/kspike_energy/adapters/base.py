"""The `Adapter` base class, and helpers that adapters share."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from kspike_energy.counting.nodes import Node

__all__ = ["Adapter", "is_mask", "positional_names"]


def is_mask(name: object) -> bool:
    """Return whether an argument of this name is a mask rather than a signal."""
    return isinstance(name, str) and (name == "mask" or name.endswith("_mask"))


def positional_names(call: Callable[..., Any]) -> list[str]:
    """Return the names of the arguments that a layer's ``call`` takes by position."""
    parameters = inspect.signature(call).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [parameter.name for parameter in parameters if parameter.kind in kinds]


class Adapter(ABC):
    """Reader of one framework's models for `ModelEnergy`.

    Subclass it, and register the subclass with `kspike_energy.register_adapter`. An adapter lists
    the applications of a model's layers, and runs the model on one batch. Every layer needs a kind
    with a rule (see `kspike_energy.counting.rules`), or its own ``statistics``. The guide has a
    complete adapter of 20 lines.
    """

    @abstractmethod
    def applications(self, model: Any, shapes: Any = None) -> Iterable[Node]:
        """Return every application of a layer, in order of execution.

        Parameters
        ----------
        model : object
            The model.
        shapes : tuple, or list or dict of tuple, optional
            Shapes of its inputs, with None for the batch and for unknown time, if the model leaves
            other lengths open.
        """

    @abstractmethod
    def run(self, model: Any, batch: Any) -> Iterator[list[Any]]:
        """Yield the inputs of every application on one batch, in the order of `applications`.

        Parameters
        ----------
        model : object
            The model.
        batch : object
            One batch, in the structure of the model's inputs.
        """

    def signals(self, model: Any, batch: Any) -> Iterator[tuple[list[Any], list[Any]]]:
        """Yield the inputs and outputs of every application on one batch, for metrics."""
        raise NotImplementedError(f"{type(self).__name__} has no signals, so it has no metrics")

    def weights(self, layer: Any) -> Mapping[str, Any]:
        """Return the weights of a layer by name, for metrics."""
        raise NotImplementedError(f"{type(self).__name__} has no weights, so it has no metrics")

    def footprint(self, model: Any) -> int:
        """Return the bytes of all weights of a model, for metrics."""
        raise NotImplementedError(f"{type(self).__name__} has no weights, so it has no metrics")

    def input_shapes(self, model: Any) -> Any:
        """Return the shapes of the model's inputs, with None for batch; None if unknown."""
        return None

    def params(self, model: Any, layer: Any = None) -> int:
        """Return the number of weights of the model, or of one layer."""
        return 0

    def layer_dt(self, layer: Any) -> float | None:
        """Return the time step of a layer in seconds; None if it does not have its own."""
        return None

    def name(self, model: Any) -> str:
        """Return the model's name, for reports."""
        return type(model).__name__
