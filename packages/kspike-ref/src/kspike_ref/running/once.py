"""Tensors that are the same at every time step: computed once, and repeated where needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from kspike_ref.kernels.memory import frozen
from kspike_ref.layers.errors import Array
from kspike_ref.layers.wrapper import Fold, Unfold
from kspike_ref.running.binder import Buffer
from kspike_ref.running.tasks import Task


@dataclass(eq=False)
class Tensor:
    """A tensor of a plan.

    Attributes
    ----------
    array : ndarray
        The tensor in the first run; in every run if there is no slot.
    slot : int or None
        Its index among the values of a run, if it is a different array in every run.
    buffers : tuple of Buffer
        The memory that it uses, or may use.
    steps : int
        The number of time steps that the array's one step stands for; 0 if it holds all steps.
    folded : int
        The number of rows that every row stands for, with time folded into the batch; 0 if the
        array holds all rows.
    """

    array: Any
    slot: int | None = None
    buffers: tuple[Buffer, ...] = ()
    steps: int = 0
    folded: int = 0

    def value(self, values: Sequence[Any]) -> Any:
        """Return the array in a run."""
        return self.array if self.slot is None else values[self.slot]

    def full(self, values: Sequence[Any]) -> Any:
        """Return the array in a run, with all time steps."""
        array = self.value(values)
        if self.steps:
            return np.broadcast_to(array, (array.shape[0], self.steps, *array.shape[2:]))
        return np.repeat(array, self.folded, axis=0) if self.folded else array


class Spread(NamedTuple):
    """The form of a layer's output, and the kind of step it computes.

    Attributes
    ----------
    steps, folded : int
        The `Tensor.steps` and `Tensor.folded` of its output.
    is_step : bool
        Whether axis 1 of its inputs is one step, whatever length the model was built for.
    """

    steps: int
    folded: int
    is_step: bool


def spread(task: Task, given: Sequence[Tensor], is_stream: bool) -> Spread | None:
    """Return the form of a layer's output if its inputs are used without repetition.

    Parameters
    ----------
    task : Task
        The layer's application.
    given : sequence of Tensor
        Its inputs.
    is_stream : bool
        Whether the run is one step of a stream.

    Returns
    -------
    Spread or None
        None if the layer needs all steps of its inputs.
    """
    steps, folded = {tensor.steps for tensor in given}, {tensor.folded for tensor in given}
    if steps | folded <= {0}:
        return Spread(0, 0, is_stream and task.is_stepped)
    layer, length = task.node.layer, max(steps | folded)
    if task.is_masked and task.listens:
        return None
    if isinstance(layer, Fold):
        return Spread(0, length, False)
    if isinstance(layer, Unfold):
        fits = given[0].folded == given[1].steps == length
        return Spread(length, 0, False) if fits else None
    if task.is_stateful:
        return Spread(length, 0, False) if len(given) == 1 and steps == {length} else None
    if folded == {length} and steps == {0}:
        return None if layer.joins_batch else Spread(0, length, False)
    if folded == {0} and task.is_pointwise:
        if steps == {length}:
            return Spread(length, 0, True)
        if layer.broadcasts and steps == {0, length}:
            return Spread(0, 0, False)
    return None


def is_static(x: Array) -> bool:
    """Return whether axis 1 repeats one input, as `numpy.broadcast_to` does."""
    return x.ndim > 2 and x.shape[1] > 1 and x.strides[1] == 0


def repeats(inputs: Sequence[Array]) -> tuple[int, ...]:
    """Return the number of times that every input's step is repeated; 0 if its steps differ."""
    return tuple([x.shape[1] if is_static(x) else 0 for x in inputs])


def narrowed(y: Any) -> tuple[Any, int]:
    """Return an output, read-only, and 0; for a static one, its one step and its repeats."""
    if not isinstance(y, np.ndarray):
        return y, 0
    if is_static(y):
        return frozen(y[:, :1]), y.shape[1]
    return frozen(y), 0
