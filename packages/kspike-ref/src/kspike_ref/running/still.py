"""Blocks of inputs that are the same at every time step."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kspike_ref.layers.stateful import StatefulLayer
from kspike_ref.layers.temporal import KerasSpikingLayer
from kspike_ref.layers.wrapper import Fold, Unfold
from kspike_ref.running.batches import fitting
from kspike_ref.running.cost import Shapes, item_sizes, peak, shapes_of
from kspike_ref.running.graph import Graph, Ref
from kspike_ref.running.once import Tensor, spread
from kspike_ref.running.tasks import Task

_SHARES = 4  # blocks per thread, so that no thread waits long for another one's last block


def still_size(
    graph: Graph,
    tasks: Sequence[Task],
    inputs: Sequence[tuple[int, ...]],
    repeats: Sequence[int],
    least: int,
    threads: int,
    kept: set[Ref],
) -> int:
    """Return the number of examples in a block of inputs that repeat one step.

    Layers in front of the first state run once for all steps, so more examples fit the cache.

    Parameters
    ----------
    graph : Graph
        The model.
    tasks : sequence of Task
        The graph's tasks.
    inputs : sequence of tuple of int
        The shapes of the inputs, with all examples and steps.
    repeats : sequence of int
        For every input, the number of times its step is repeated; 0 if steps differ.
    least : int
        The number of examples in a block of inputs whose steps differ. The block that is
        returned needs no more memory than the bound on the memory of that one.
    threads : int
        The number of threads that share the work.
    kept : set of Ref
        The tensors that are kept until the end of a block.

    Returns
    -------
    int
        At least ``least``.
    """
    count = inputs[0][0]

    def shapes(rows: int) -> Shapes:
        return shapes_of(graph, [(rows, *shape[1:]) for shape in inputs])

    def stored(rows: int) -> Shapes | None:
        return _stored(tasks, shapes(rows), repeats)

    one = stored(1)
    if one is None:
        return least
    sizes = item_sizes(graph)
    widest = max(
        (
            sum(math.prod(one[ref]) * sizes[ref.node] for ref in (*task.inputs, *task.outputs))
            + _passed(task, shapes(1), one) * sizes[task.index]
            for task in tasks
            if not isinstance(task.node.layer, Fold | Unfold)  # views
        ),
        default=1,
    )
    size = min(fitting(widest), count)
    if threads > 1:
        size = min(size, -(-count // (threads * _SHARES)))
    bound = peak(graph, shapes(least), kept)
    while size > least:
        full, held = shapes(size), stored(size) or {}
        passed = sum(_passed(task, full, held) * sizes[task.index] for task in tasks)
        needed = peak(graph, held, kept) + passed + _copied(kept, full, held, sizes)
        if needed <= bound:
            return size
        size = min(size - 1, size * bound // needed)
    return least


def _passed(task: Task, full: Shapes, held: Shapes) -> int:
    """Return the number of elements that a layer computes from repeated steps for its last one."""
    layer = task.node.layer
    if not (isinstance(layer, KerasSpikingLayer) and layer.reduces):
        return 0
    ref = task.inputs[0]
    return 0 if held[ref] == full[ref] else math.prod(full[ref])


def _copied(kept: set[Ref], full: Shapes, held: Shapes, sizes: Sequence[int]) -> int:
    """Return the bytes of copies with all rows, of kept tensors whose rows stand for several."""
    copies = [ref for ref in kept if held[ref][:1] != full[ref][:1]]
    return sum(math.prod(full[ref]) * sizes[ref.node] for ref in copies)


def _stored(tasks: Sequence[Task], shapes: Shapes, repeats: Sequence[int]) -> Shapes | None:
    """Return the shapes in which a run stores tensors; None if a layer needs repeated steps."""
    tensors = {Ref(i, 0): Tensor(None, steps=steps) for i, steps in enumerate(repeats)}
    for task in tasks:
        given = [tensors[ref] for ref in task.inputs]
        found, layer = spread(task, given, False), task.node.layer
        repeated = any(tensor.steps or tensor.folded for tensor in given)
        takes = not isinstance(layer, StatefulLayer) or (layer.binds and task.is_plain)
        if found is None or (repeated and not takes):
            return None
        steps = 0 if task.is_stateful else found.steps
        tensors |= dict.fromkeys(task.outputs, Tensor(None, steps=steps, folded=found.folded))
    return {ref: _once(shapes[ref], tensor) for ref, tensor in tensors.items()}


def _once(shape: tuple[int, ...], tensor: Tensor) -> tuple[int, ...]:
    """Return the shape of a tensor without its repetitions."""
    if tensor.folded:
        return (shape[0] // tensor.folded, *shape[1:])
    return (shape[0], 1, *shape[2:]) if tensor.steps else shape
