"""Recordings: spikes, voltages and filter levels of layers after every time step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from kspike_ref.arguments import check_names
from kspike_ref.layers.errors import Array
from kspike_ref.layers.temporal_cells import AlphaCell, SpikingActivationCell, SpikingCell
from kspike_ref.running.engine import Engine
from kspike_ref.running.graph import Node, Ref


@dataclass(frozen=True)
class Recording:
    """Spikes, voltages and filter levels of layers over time, from `kspike_ref.Model.record`.

    Attributes
    ----------
    spikes : dict of str to (examples, steps, *units) ndarray
        Output of every spiking layer: the number of spikes in a step times 1/dt, in Hz. Their mean
        over time is the firing rate.
    voltages : dict of str to (examples, steps, *units) ndarray
        Voltages of the spiking layers after every step, in spikes, float64; empty with
        ``voltages=False``.
    levels : dict of str to (examples, steps, *units) ndarray
        Output of every filter before it is rounded to the layer's type: float64.
    dt : dict of str to float
        Seconds a step, of every layer.
    """

    spikes: dict[str, Array] = field(default_factory=dict)
    voltages: dict[str, Array] = field(default_factory=dict)
    levels: dict[str, Array] = field(default_factory=dict)
    dt: dict[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        arrays = self.spikes | self.levels
        parts = [f"{name!r}: {arrays[name].shape}" for name in self.dt]
        return f"<Recording of {', '.join(parts)}>"


def spiking_and_filters(nodes: dict[str, Node]) -> dict[str, SpikingCell]:
    """Return the cells of spiking layers and filters, by the names of their layers."""
    cells = {name: getattr(node.layer, "cell", None) for name, node in nodes.items()}
    return {name: cell for name, cell in cells.items() if isinstance(cell, SpikingCell)}


def record(
    engine: Engine,
    nodes: dict[str, Node],
    x: object,
    timesteps: int | None,
    layers: Iterable[str] | None,
    voltages: bool,
) -> Recording:
    """Run a model step by step, and keep what its spiking layers and filters hold.

    Parameters
    ----------
    engine : Engine
        Runs it.
    nodes : dict of str to Node
        All applications of layers, in order, by their names.
    x, timesteps, layers, voltages
        As `kspike_ref.Model.record` takes them.
    """
    cells = spiking_and_filters(nodes)
    if not cells:
        raise ValueError(
            "record needs a model with spiking layers or filters. Received: one with "
            f"{', '.join(node.layer.class_name for node in nodes.values())}"
        )
    wanted = set(cells) if layers is None else check_names("layers", layers, list(cells))
    places = {name: i for i, name in enumerate(nodes) if name in wanted}
    spiking = [name for name in places if isinstance(cells[name], SpikingActivationCell)]
    count, steps, run = engine.stepwise(x, timesteps, [Ref(places[name], 0) for name in spiking])
    made = Recording(dt={name: cells[name].dt for name in places})
    for name in places:
        shape = (count, steps, *cells[name].size)
        if name not in spiking:
            made.levels[name] = np.empty(shape)
            continue
        made.spikes[name] = np.empty(shape, cells[name].dtype)
        if voltages:
            made.voltages[name] = np.empty(shape)
    for t, (outputs, states) in enumerate(run):
        for name, y in zip(spiking, outputs, strict=True):
            made.spikes[name][:, t] = y.reshape(count, *cells[name].size)
        for name, held in (made.voltages | made.levels).items():
            held[:, t] = _level(cells[name], states[places[name]][0])
    return made


def _level(cell: SpikingCell, state: Array) -> Array:
    """Return the voltages or levels in a state; an alpha filter's state holds its slope too."""
    level = state[:, 0] if isinstance(cell, AlphaCell) else state
    return level.reshape(len(state), *cell.size)
