"""Activity of all signals of a model on example data."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kspike_energy.adapters import Adapter
from kspike_energy.counting.nodes import Node
from kspike_energy.measuring.activity import Activity
from kspike_energy.measuring.batches import batches, check_arrays
from kspike_energy.measuring.lazy import in_blocks, is_lazy
from kspike_energy.settings import Settings

__all__ = ["Measured", "measure"]

_EMPTY = "example_data is empty: measuring rates needs at least one example"


@dataclass
class Measured:
    """Activity of all signals of a model on example data.

    Parameters
    ----------
    activities : list of list of Activity or None
        Per node, the activity of its inputs; None for values that are not numbers.
    steps : set of int
        Lengths of the sequences in the data.
    """

    activities: list[list[Activity | None]]
    steps: set[int] = field(default_factory=set)


def measure(
    model: Any, adapter: Adapter, nodes: Sequence[Node], data: Any, settings: Settings
) -> Measured:
    """Measure the activity of every input of every node, batch by batch.

    Raises
    ------
    ValueError
        If the data is empty, or does not fit the model.
    """
    signals = [_Signals(n.spec.name, n.timed_inputs[: len(n.inputs)]) for n in nodes]
    # If a layer takes time on axis 0, batches would cut the sequences: run such data as a whole.
    time_first = any(map(_time_first, nodes))
    if is_lazy(data):
        if time_first:
            raise ValueError(
                "example_data must be in memory, such as x.compute(): a layer takes time as the "
                "first axis. Received: a dask.array"
            )
        return _measure_blocks(model, adapter, signals, data, settings)
    return _measure_batches(model, adapter, signals, data, settings, time_first=time_first)


@dataclass(frozen=True)
class _Signals:
    """Inputs of a node: the name of its layer, and which of them have time.

    Dask sends this to workers with every block; a `Node` would bring its layer's weights along.
    """

    name: str
    timed: tuple[bool, ...]


def _measure_batches(
    model: Any,
    adapter: Adapter,
    nodes: Sequence[_Signals],
    data: Any,
    settings: Settings,
    *,
    time_first: bool,
) -> Measured:
    """Measure the activity on data in memory, or on a stream of batches."""
    total = _nothing(nodes)
    seen = 0
    size = sys.maxsize if time_first else settings.batch_size
    first_timed = next((i for i, node in enumerate(nodes) if any(node.timed)), -1)
    stream = batches(data, adapter.input_shapes(model), size)
    for batch in _with_progress(stream, settings.progress):
        seen += 1
        for index, signals in enumerate(adapter.run(model, batch)):
            node = nodes[index]
            inputs = zip(signals, node.timed, strict=False)  # adapters may yield more
            parts = [Activity.measure(x, timed=timed, name=node.name) for x, timed in inputs]
            _add(node, total.activities[index], parts)
            if index == first_timed:
                shape = np.shape(signals[node.timed.index(True)])
                total.steps.add(shape[0 if time_first else 1])
    if not seen:
        raise ValueError(_EMPTY)
    return total


def _measure_blocks(
    model: Any, adapter: Adapter, nodes: Sequence[_Signals], data: Any, settings: Settings
) -> Measured:
    """Measure the activity on Dask arrays."""
    silent = replace(settings, progress=False)

    def block(model: Any, part: Any) -> Measured:
        return _measure_batches(model, adapter, nodes, part, silent, time_first=False)

    def merge(parts: list[Measured]) -> Measured:
        total = _nothing(nodes)
        for part in parts:
            total.steps |= part.steps
            for node, known, new in zip(nodes, total.activities, part.activities, strict=True):
                _add(node, known, new)
        return total

    check_arrays(data, adapter.input_shapes(model))
    found: Measured | None = in_blocks(block, merge, model, data)
    if found is None:
        raise ValueError(_EMPTY)
    return found


def _nothing(nodes: Sequence[_Signals]) -> Measured:
    """Return the activity before the first batch."""
    return Measured([[None] * len(node.timed) for node in nodes])


def _add(node: _Signals, known: list[Activity | None], parts: Iterable[Activity | None]) -> None:
    """Add the activity of one batch to the known activity of the inputs of a node."""
    for index, part in enumerate(parts):
        total = known[index]
        if total is None:
            known[index] = part
        elif part is not None:
            known[index] = total.plus(part, node.name)


def _time_first(node: Node) -> bool:
    """Return whether a layer takes (time, batch, …)."""
    return (node.spec.kind or "").startswith("kspike_tf>") and bool(node.config.get("time_major"))


def _with_progress(stream: Iterable[Any], progress: bool) -> Iterator[Any]:
    """Yield batches; if ``progress``, show their number, with tqdm if it is installed."""
    if not progress:
        yield from stream
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        for done, batch in enumerate(stream, start=1):
            yield batch
            print(f"\rmeasuring rates: {done} batches", end="", flush=True)  # noqa: T201
        print()  # noqa: T201
        return
    yield from tqdm(stream, desc="measuring rates", unit=" batches")
