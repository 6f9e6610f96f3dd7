"""The engine that runs a model: whole batches in blocks, and single time steps."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from kspike_ref.arguments import check_count
from kspike_ref.layers.errors import Array
from kspike_ref.running.axes import Axes, has_time_first
from kspike_ref.running.batches import Outputs, run_all
from kspike_ref.running.budget import Budget
from kspike_ref.running.cost import Cost
from kspike_ref.running.counts import FIELDS, Counts
from kspike_ref.running.few_spikes import EXAMPLES, FewSpikesWarning, told_few_spikes
from kspike_ref.running.graph import Graph, Ref, refs
from kspike_ref.running.inputs import Inputs
from kspike_ref.running.interrupt import interruptible
from kspike_ref.running.once import repeats
from kspike_ref.running.out import check_memory, reserve
from kspike_ref.running.plan import States
from kspike_ref.running.plans import Plans
from kspike_ref.running.states import Streamed
from kspike_ref.running.streaming import Stream, plan
from kspike_ref.running.tasks import LayerCallError, tasks_of
from kspike_ref.running.threads import limit_threads, num_threads


class Engine:
    """Runs a graph on batches and on single time steps.

    Parameters
    ----------
    graph : Graph
        The model.
    max_bytes, max_operations : float or None
        Limits on the memory and operations of every run.

    Attributes
    ----------
    outputs : list of Ref
        The model's outputs.
    counts : (nodes, FIELDS) ndarray of int64
        The operations and events of the last run.
    threads : int or None
        The number of threads to use; None for as many as the caller may use.
    is_one_block : bool
        Whether all examples must run at once.
    """

    def __init__(self, graph: Graph, max_bytes: float | None, max_operations: float | None) -> None:
        axes = Axes(graph)
        self.stream, self._no_stream = _stream(graph, axes)
        self._streamed = Streamed(graph.nodes, self.stream.carried)
        self.inputs = Inputs(graph, axes)
        self.is_one_block = any(
            has_time_first(node.layer) or node.layer.joins_batch for node in graph.nodes
        )
        stepped = self.stream.stepped
        tasks = tasks_of(graph, self.stream.carried, stepped)
        self.budget = Budget(graph, tasks, self.is_one_block, stepped, max_bytes, max_operations)
        self.outputs = list(refs(graph.outputs))
        self._plans = Plans(tasks, dict(zip(self.outputs, self.stream.outputs, strict=False)))
        self.counts: Counts = np.zeros((0, FIELDS), np.int64)
        self.threads: int | None = None
        self._graph, self._has_looked = graph, False

    def quick(self, x: Any, timesteps: Any) -> list[Array] | None:
        """Return the outputs for an array like an earlier one, without further checks.

        Parameters
        ----------
        x : array_like
            As in `run`.
        timesteps : int or None
            As in `run`.

        Returns
        -------
        list of ndarray or None
            None if `run` must check the input first.
        """
        is_known = timesteps is None or type(timesteps) is int
        if type(x) is not np.ndarray or not is_known or self.threads is not None:
            return None
        found = self._plans.repeat((x.shape, x.dtype, timesteps), x)
        if found is None:
            return None
        outputs, self.counts, _ = found
        return outputs

    def run(
        self,
        x: Any,
        timesteps: Any,
        batch_size: int | None,
        keep: Sequence[Ref] | None = None,
        bar: Callable[[int], Any] | None = None,
        limits: tuple[float | None, float | None] = (None, None),
        out: Sequence[Array] = (),
    ) -> list[Array]:
        """Run the model on all examples.

        Parameters
        ----------
        x : array_like, or list or dict of array_like
            The inputs.
        timesteps : int or None
            The number of steps for which inputs without a time axis are presented.
        batch_size : int or None
            The number of examples in a block; None for as many as fit the cache.
        keep : sequence of Ref, optional
            The tensors to return; by default, the outputs.
        bar : callable, optional
            Makes a progress bar for a number of examples.
        limits : tuple
            Limits on the bytes and operations of this run; None for no limit.
        out : sequence of ndarray, optional
            The caller's arrays for the tensors.

        Returns
        -------
        list of ndarray
            The tensors.

        Raises
        ------
        TypeError, ValueError
            As in `Model.predict`.
        """
        inputs = self.inputs.checked(x, timesteps)
        count, threads = self.inputs.batch(inputs), self.num_threads()
        shapes = tuple(array.shape for array in inputs)
        nodes = None if keep is None else tuple(dict.fromkeys(ref.node for ref in keep))
        is_long = self.budget.admit(shapes, count, batch_size, threads, nodes, *limits)
        if self.is_one_block:
            size = max(1, count)
        else:
            size = batch_size or self.budget.block_size(shapes, threads, repeats(inputs), nodes)
        ends = self.outputs if keep is None else keep
        check_memory(out, inputs)
        for array in out:
            reserve(array)
        outputs = Outputs(count, out)
        is_plain = self.is_one_block or type(x) is np.ndarray  # no memory map
        maps = [] if is_plain else self.inputs.listed(x)
        shown = None if bar is None else bar(count)
        looks = keep is None and limits == (None, None) and self._looks(count)

        def compute(block: list[Array], first: int, last: int) -> Counts:
            cast = self.inputs.cast(block)
            kind = self._plans.kind(cast, ends, False)
            return self._plans.run(kind, cast, partial(outputs.put, first, last))[0]

        def run() -> tuple[Counts, str]:
            counts = run_all(compute, inputs, maps, count, size, threads, shown)
            return counts, self._few_spikes(inputs, size, threads) if looks else ""

        try:
            self.counts, few = interruptible(run) if is_long else run()
        except LayerCallError as failure:
            raise failure.told(self.inputs.given_shapes(x)) from failure.error
        if keep is None and not out and not is_long and size >= count and count:
            self._remember(x, timesteps, inputs)
        if few:
            warnings.warn(few, FewSpikesWarning, stacklevel=4)  # the call of `Model.predict`
        return outputs.arrays

    def _looks(self, count: int) -> bool:
        """Return whether a run checks for few spikes: the first one does, unless limits apply."""
        return bool(count and not (self._has_looked or self.is_one_block or self.budget.is_limited))

    def _few_spikes(self, inputs: list[Array], size: int, threads: int) -> str:
        """Return a warning about few spikes in the first examples, or an empty string."""
        self._has_looked = True  # later runs skip the check
        some = self.inputs.cast([array[: min(size, EXAMPLES)] for array in inputs])
        with limit_threads(threads):
            return told_few_spikes(self._graph, some, self._plans.once)

    def _remember(self, x: Any, timesteps: Any, inputs: list[Array]) -> None:
        """Record that arrays like this one need no further checks."""
        if len(inputs) > 1 or type(x) is not np.ndarray or self.budget.is_limited:
            return
        if self.inputs.takes_as_it_is(x, inputs[0], timesteps):
            kind = self._plans.kind(inputs, self.outputs, timesteps == "step")
            self._plans.remember((x.shape, x.dtype, timesteps), kind)

    def initial_state(self, batch_size: Any) -> States:
        """Return the states before the first step of a stream.

        Raises
        ------
        ValueError
            If the model does not run step by step, or ``batch_size`` is not a count.
        """
        if self._no_stream:
            raise ValueError(self._no_stream)
        return self._streamed.initial(check_count("batch_size", batch_size))

    def step(self, x: Any, state: Any) -> tuple[list[Array], States]:
        """Run one time step; return the outputs and the new states.

        Raises
        ------
        TypeError, ValueError
            As in `Model.step`.
        """
        if type(x) is np.ndarray and self.threads is None:
            found = self._plans.repeat((x.shape, x.dtype, "step"), x, state)
            if found is not None:
                outputs, self.counts, after = found
                return outputs, after
        inputs = self.inputs.checked(x, 1, is_step=True)
        is_long = self.budget.admit_step(tuple(array.shape for array in inputs))
        self._streamed.check(state, self.inputs.batch(inputs))
        outputs, self.counts, after = self._one_step(x, inputs, self.outputs, state, is_long)
        if not is_long:
            self._remember(x, "step", inputs)
        return outputs, after

    def _one_step(
        self, x: Any, inputs: list[Array], keep: Sequence[Ref], state: States, is_long: bool
    ) -> tuple[list[Array], Counts, States]:
        """Run a step on checked inputs; return the tensors to keep, the counts and the states."""
        cast = self.inputs.cast(inputs)
        kind = self._plans.kind(cast, keep, True)
        outputs: list[Array] = []

        def put(made: Sequence[Array]) -> None:
            outputs.extend(y.copy() for y in made)

        def run() -> tuple[Counts, States]:
            return self._plans.run(kind, cast, put, state)

        try:
            with limit_threads(self.num_threads()):
                counts, after = interruptible(run) if is_long else run()
        except LayerCallError as failure:
            raise failure.told(self.inputs.given_shapes(x)) from failure.error
        return outputs, counts, after

    def stepwise(
        self, x: Any, timesteps: Any, keep: Sequence[Ref]
    ) -> tuple[int, States, Iterator[tuple[list[Array], States]]]:
        """Return the number of steps, the initial states, and an iterator that runs the steps.

        Parameters
        ----------
        x, timesteps
            As in `run`.
        keep : sequence of Ref
            The tensors that a step yields, together with the states after it.

        Raises
        ------
        TypeError, ValueError
            As in `run` and `initial_state`.
        """
        inputs = self.inputs.checked(x, timesteps)
        count, steps = self.inputs.batch(inputs), self.inputs.steps(inputs)
        states = self.initial_state(count)
        shapes = tuple(array.shape for array in inputs)
        nodes = tuple(dict.fromkeys(ref.node for ref in keep))
        self.budget.admit(shapes, count, count or None, self.num_threads(), nodes)

        def run() -> Iterator[tuple[list[Array], States]]:
            after = states
            for t in range(steps):
                given = self.inputs.at_step(inputs, t)
                outputs, own, after = self._one_step(x, given, keep, after, False)
                self.counts = self.counts + own if t else own
                yield outputs, after

        return steps, states, run()

    def cost(self, shape: Any, batch_size: int | None) -> Cost:
        """Return the cost of `run` for the shapes of inputs; see `Model.cost`."""
        shapes, count = self.inputs.shapes(shape)
        return self.budget.cost(shapes, count, batch_size, self.num_threads())

    def num_threads(self) -> int:
        """Return the number of threads that a run may use."""
        allowed = num_threads()
        return allowed if self.threads is None else min(allowed, self.threads)


def _stream(graph: Graph, axes: Axes) -> tuple[Stream, str]:
    """Return the plan of step-by-step runs, or an empty one and the reason."""
    try:
        return plan(graph, axes), ""
    except ValueError as error:
        return Stream(frozenset(), frozenset(), ()), str(error)
