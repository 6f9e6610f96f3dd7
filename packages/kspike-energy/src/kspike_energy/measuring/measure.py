"""Activity of all signals of a model on example data."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kspike_energy.adapters import Adapter
from kspike_energy.counting.nodes import Node
from kspike_energy.measuring.activity import Activity
from kspike_energy.measuring.batches import batches
from kspike_energy.settings import Settings

__all__ = ["measure"]


def measure(
    model: Any, adapter: Adapter, nodes: Sequence[Node], data: Any, settings: Settings
) -> list[list[Activity | None]]:
    """Return the activity of every input of every node, measured batch by batch.

    Parameters
    ----------
    model : object
        A model that ``adapter`` reads.
    adapter : Adapter
        The adapter.
    nodes : sequence of Node
        Its nodes, in the adapter's order.
    data : object
        Data in any form that `batches` takes.
    settings : Settings
        Size of the batches, and whether to show progress.

    Raises
    ------
    ValueError
        If the data is empty, or does not fit the model.
    """
    totals: list[list[Activity | None]] = [[None] * len(node.inputs) for node in nodes]
    seen = 0
    # Batches would cut the sequences of layers that take time first, so run such data as a whole.
    size = sys.maxsize if any(map(_time_first, nodes)) else settings.batch_size
    stream = batches(data, adapter.input_shapes(model), size)
    for batch in _with_progress(stream, settings.progress):
        seen += 1
        for node, known, signals in zip(nodes, totals, adapter.run(model, batch), strict=False):
            _add(node, known, signals)
    if not seen:
        raise ValueError("example_data is empty: rates cannot be measured on no examples")
    return totals


def _add(node: Node, known: list[Activity | None], signals: Sequence[Any]) -> None:
    """Add the activity of one batch to the known activity of a node's inputs."""
    for index, values in enumerate(signals[: len(node.inputs)]):
        part = Activity.measure(values, timed=node.timed_inputs[index], name=node.spec.name)
        total = known[index]
        if total is None:
            known[index] = part
        elif part is not None:
            total.add(part, node.spec.name)


def _time_first(node: Node) -> bool:
    """Return whether a layer takes (time, batch, …)."""
    return (node.spec.kind or "").startswith("kspike_tf>") and bool(node.config.get("time_major"))


def _with_progress(stream: Iterable[Any], progress: bool) -> Iterator[Any]:
    """Yield batches, and show their number on request: with tqdm if it is installed."""
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
