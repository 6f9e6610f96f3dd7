"""Limits on the memory and operations of runs, checked before a run begins."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np

from kspike_ref.running.batches import block_size
from kspike_ref.running.cost import Cost, item_sizes, operations, peak, shapes_of
from kspike_ref.running.graph import Graph, Ref, refs
from kspike_ref.running.still import still_size
from kspike_ref.running.tasks import Task

Known = TypeVar("Known")

_FIXED = 1 << 20  # bytes that do not grow with the inputs: tables and Python objects
_REMEMBERED = 128  # cached costs and block sizes
# Operations that may take longer than a tenth of a second: sorting and elementwise functions take
# ten times as long as multiply-adds. Starting a thread for a run costs a tenth of a millisecond.
_LONG = 1 << 23


def check_limit(name: str, value: Any) -> None:
    """Refuse a limit that is not a positive number or None.

    Parameters
    ----------
    name : str
        The name of the argument.
    value : int, float or None
        The value.

    Raises
    ------
    ValueError
        If it is not a positive number.
    """
    is_number = isinstance(value, int | float | np.integer) and not isinstance(value, bool)
    if value is not None and not (is_number and value > 0):
        raise ValueError(f"{name} must be a positive number or None. Received: {value!r}")


def _check_cost(cost: Cost, max_bytes: float | None, max_operations: float | None) -> None:
    """Refuse a run that would exceed its limits; None stands for no limit."""
    if max_bytes is not None and cost.bytes > max_bytes:
        raise ValueError(
            f"this run may need {cost.bytes:,} bytes. Received: max_bytes={max_bytes:,}; "
            "raise it, or run fewer examples or time steps at once"
        )
    if max_operations is not None and cost.operations > max_operations:
        raise ValueError(
            f"this run may need {cost.operations:,} operations. Received: "
            f"max_operations={max_operations:,}; raise it, or run fewer examples or time steps"
        )


class Budget:
    """The costs of a model's runs, and their limits.

    Parameters
    ----------
    graph : Graph
        The model.
    tasks : sequence of Task
        The graph's tasks.
    is_one_block : bool
        Whether all examples run in one block.
    stepped : collection of int
        The nodes that take single time steps in a stream.
    max_bytes, max_operations : float or None
        The limits of every run.
    """

    def __init__(
        self,
        graph: Graph,
        tasks: Sequence[Task],
        is_one_block: bool,
        stepped: Collection[int],
        max_bytes: float | None,
        max_operations: float | None,
    ) -> None:
        self._graph, self._tasks, self._is_one_block = graph, tasks, is_one_block
        self._stepped = stepped
        self._limits = _limits(max_bytes, max_operations)
        self.is_limited = self._limits != (None, None)
        self._known: dict[Any, Any] = {}  # costs and block sizes of runs with the same shapes

    def cost(
        self,
        inputs: tuple[tuple[int, ...], ...],
        count: int,
        size: int | None,
        threads: int,
        keep: tuple[int, ...] | None = None,
    ) -> Cost:
        """Return the cost of a run in blocks.

        Parameters
        ----------
        inputs : tuple of tuple of int
            The shapes of the inputs.
        count : int
            The number of examples.
        size : int or None
            The number of examples in a block; None for the model's choice.
        threads : int
            The number of blocks that run at the same time.
        keep : tuple of int, optional
            The nodes whose outputs `activity` returns; None for `predict`.

        Returns
        -------
        Cost
            Operations, and bytes at the peak.

        Raises
        ------
        ValueError
            If a layer does not infer the shape of its output.
        """

        def find() -> Cost:
            graph, ends, sizes = self._graph, self._ends(keep), item_sizes(self._graph)
            shapes = shapes_of(graph, inputs)
            outputs = sum(math.prod(shapes[ref]) * sizes[ref.node] for ref in ends)
            work = operations(graph, shapes)
            if self._is_one_block:
                return Cost(work, _FIXED + outputs + peak(graph, shapes, ends))
            rows = min(size or block_size(graph.nodes, inputs, threads), max(1, count))
            part = shapes_of(graph, [(min(rows, count), *shape[1:]) for shape in inputs])
            block = peak(graph, part, ends)
            return Cost(work, _FIXED + outputs + min(threads, -(-count // rows)) * block)

        return self._once((inputs, size, threads, keep), find)

    def _once(self, key: Any, find: Callable[[], Known]) -> Known:
        """Return a cached result, or find it and cache it."""
        found: Known | None = self._known.get(key)
        if found is None:
            found = find()
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[key] = found
        return found

    def admit_step(self, inputs: tuple[tuple[int, ...], ...]) -> bool:
        """Refuse a step of a stream that would exceed its limits; return whether it takes long.

        As `admit` does, for the shapes of inputs with a time axis of one step.
        """
        return self._admit(lambda: self._once((inputs, "step"), lambda: self._step_cost(inputs)))

    def _step_cost(self, inputs: tuple[tuple[int, ...], ...]) -> Cost:
        shapes = shapes_of(self._graph, inputs, self._stepped)
        size = _FIXED + peak(self._graph, shapes, self._ends(None))
        return Cost(operations(self._graph, shapes), size)

    def block_size(
        self,
        inputs: tuple[tuple[int, ...], ...],
        threads: int,
        repeats: tuple[int, ...] = (),
        keep: tuple[int, ...] | None = None,
    ) -> int:
        """Return the default number of examples in a block.

        Parameters
        ----------
        inputs : tuple of tuple of int
            The shapes of the inputs.
        threads : int
            The number of blocks that run at the same time.
        repeats : tuple of int
            For every input, the number of times its step is repeated; 0 if steps differ.
        keep : tuple of int, optional
            As in `cost`.

        Returns
        -------
        int
            At least 1.
        """

        def find() -> int:
            size = block_size(self._graph.nodes, inputs, threads)
            if any(repeats) and size < inputs[0][0]:
                tasks, ends = self._tasks, self._ends(keep)
                with suppress(ValueError):  # a layer does not infer the shape of its output
                    return still_size(self._graph, tasks, inputs, repeats, size, threads, ends)
            return size

        return self._once((inputs, threads, repeats, keep), find)

    def _ends(self, keep: tuple[int, ...] | None) -> set[Ref]:
        """Return the tensors that a run returns."""
        graph = self._graph
        if keep is None:
            return set(refs(graph.outputs))
        return {Ref(i, k) for i in keep for k in range(len(graph.nodes[i].output_shapes))}

    def admit(
        self,
        inputs: tuple[tuple[int, ...], ...],
        count: int,
        size: int | None,
        threads: int,
        keep: tuple[int, ...] | None = None,
        max_bytes: float | None = None,
        max_operations: float | None = None,
    ) -> bool:
        """Refuse a run that would exceed its limits; return whether it takes long.

        Parameters
        ----------
        inputs, count, size, threads, keep
            As in `cost`.
        max_bytes, max_operations : float, optional
            Additional limits for this run.

        Returns
        -------
        bool
            Whether it takes so long that Ctrl-C needs a separate thread.

        Raises
        ------
        ValueError
            If it would exceed a limit, or if its cost is unknown.
        """
        own = _limits(max_bytes, max_operations)
        return self._admit(lambda: self.cost(inputs, count, size, threads, keep), own)

    def _admit(self, find: Callable[[], Cost], own: Any = (None, None)) -> bool:
        is_limited = self.is_limited or own != (None, None)
        try:
            cost = find()
        except ValueError:
            if is_limited:
                raise
            return True
        _check_cost(cost, *self._limits)
        _check_cost(cost, *own)
        return cost.operations > _LONG


def _limits(max_bytes: Any, max_operations: Any) -> tuple[float | None, float | None]:
    check_limit("max_bytes", max_bytes)
    check_limit("max_operations", max_operations)
    return max_bytes, max_operations
