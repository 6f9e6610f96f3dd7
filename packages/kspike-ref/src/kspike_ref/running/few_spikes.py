"""The warning about spiking layers with too few spikes to carry their activation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kspike_ref.layers.errors import Array
from kspike_ref.layers.temporal_cells import SpikingActivationCell
from kspike_ref.running.axes import has_time_first
from kspike_ref.running.graph import Graph, Node, Ref

EXAMPLES = 4  # the most examples that are checked


class FewSpikesWarning(UserWarning):
    """A spiking layer has less than one expected spike per active neuron in a run.

    The first `predict` of a model without ``max_bytes`` and ``max_operations`` checks this.
    ``warnings.simplefilter("ignore", FewSpikesWarning)`` silences it.
    """


def told_few_spikes(
    graph: Graph, inputs: list[Array], run: Callable[[list[Array], list[Ref]], list[Array]]
) -> str:
    """Return a warning if the activations of some examples cause too few spikes.

    Parameters
    ----------
    graph : Graph
        The model.
    inputs : list of ndarray
        Its inputs, with a time axis.
    run : callable
        Runs the model on inputs and returns the requested tensors.

    Returns
    -------
    str
        Empty if there are enough.
    """
    nodes = [node for node in graph.nodes if _spikes(node)]
    if not nodes:
        return ""
    given = run(inputs, [node.inputs[0] for node in nodes])
    few = []
    for node, x in zip(nodes, given, strict=True):
        cell = node.layer.cell  # type: ignore[attr-defined]
        rates = np.abs(cell.rates(x.reshape(-1, *x.shape[2:]))).reshape(x.shape)
        rates = rates.mean(axis=1, dtype=np.float64)  # negative spikes count as spikes
        active = rates[rates != 0]
        spikes = float(active.mean()) * x.shape[1] * cell.dt if active.size else 1.0
        if spikes < 1:
            few.append(f"{node.name} ({spikes:.2g} in {x.shape[1]} steps of {cell.dt:g} s)")
    if not few:
        return ""
    return (
        f"layers with less than one expected spike for each active neuron: {', '.join(few)}. "
        "These are too few to carry an activation, and outputs are mostly noise. Show inputs "
        "for more steps, or raise firing rates: load_model(rate_scale=...), or max_rate= of "
        "kspike_tf.convert"
    )


def _spikes(node: Node) -> bool:
    cell = getattr(node.layer, "cell", None)
    return isinstance(cell, SpikingActivationCell) and not has_time_first(node.layer)
