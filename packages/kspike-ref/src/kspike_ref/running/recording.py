"""Recordings: spikes, voltages and filter levels of layers after every time step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kspike_ref.arguments import check_names
from kspike_ref.layers.errors import Array
from kspike_ref.layers.stateful import StatefulLayer
from kspike_ref.layers.temporal_cells import AlphaCell, LowpassCell, SpikingCell
from kspike_ref.running.engine import Engine
from kspike_ref.running.graph import Node, Ref


@dataclass(frozen=True)
class Recording:
    """Spikes, voltages and filter levels of layers over time, from `kspike_ref.Model.record`.

    Attributes
    ----------
    spikes : dict of str to (examples, steps, *units) ndarray
        Output of every spiking layer: the number of spikes in a step times 1/dt, in Hz. Their mean
        over time is the firing rate. The outputs of your own neurons are included.
    voltages : dict of str to (examples, steps, *units) ndarray
        Voltages of the spiking layers after every step, in spikes, float64; empty with
        ``voltages=False``. For your own neurons, the first state, in its own shape.
    levels : dict of str to (examples, steps, *units) ndarray
        Output of every filter before it is rounded to the layer's type: float64.
    dt : dict of str to float
        Seconds per step, for every layer.
    """

    spikes: dict[str, Array] = field(default_factory=dict)
    voltages: dict[str, Array] = field(default_factory=dict)
    levels: dict[str, Array] = field(default_factory=dict)
    dt: dict[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        arrays = self.spikes | self.levels
        parts = [f"{name!r}: {arrays[name].shape}" for name in self.dt]
        return f"<Recording of {', '.join(parts)}>"


def record(
    engine: Engine,
    nodes: dict[str, Node],
    x: object,
    timesteps: int | None,
    layers: Iterable[str] | None,
    voltages: bool,
) -> Recording:
    """Run a model step by step, and record its spiking layers and filters.

    Parameters
    ----------
    engine : Engine
        The model's engine.
    nodes : dict of str to Node
        All layer applications, in order, by name.
    x, timesteps, layers, voltages
        As in `kspike_ref.Model.record`.
    """
    places = _places(engine, nodes)
    wanted = set(places) if layers is None else check_names("layers", layers, list(places))
    places = {name: i for name, i in places.items() if name in wanted}
    spiking = [name for name in places if not _is_filter(nodes[name])]
    steps, start, run = engine.stepwise(x, timesteps, [Ref(places[name], 0) for name in spiking])
    made = Recording(dt={name: _dt(nodes[name]) for name in places})
    for name, i in places.items():
        level = _level(nodes[name], start[i])
        room = np.empty((len(level), steps, *level.shape[1:]))
        if name not in spiking:
            made.levels[name] = room
            continue
        made.spikes[name] = np.empty((len(level), steps, *_units(nodes[name])), _dtype(nodes[name]))
        if voltages:
            made.voltages[name] = room
    for t, (outputs, states) in enumerate(run):
        for name, y in zip(spiking, outputs, strict=True):
            made.spikes[name][:, t] = y.reshape(made.spikes[name][:, t].shape)
        for name, held in (made.voltages | made.levels).items():
            held[:, t] = _level(nodes[name], states[places[name]])
    return made


def _places(engine: Engine, nodes: dict[str, Node]) -> dict[str, int]:
    """Return the node numbers of spiking layers, filters and the user's own neurons, by name."""
    places = {
        name: i
        for i, (name, node) in enumerate(nodes.items())
        if i in engine.stream.carried and (_cell(node) is not None or _is_own(node))
    }
    if not places:
        engine.initial_state(0)  # raises if the model does not run step by step
        raise ValueError(
            "record needs a model with spiking layers or filters. Received: one with "
            f"{', '.join(node.layer.class_name for node in nodes.values())}"
        )
    return places


def _cell(node: Node) -> SpikingCell | None:
    cell = getattr(node.layer, "cell", None)
    return cell if isinstance(cell, SpikingCell) else None


def _is_own(node: Node) -> bool:
    """Return whether a layer is the user's own; its first state is recorded as its voltage."""
    return isinstance(node.layer, StatefulLayer) and node.layer.key.startswith("custom:")


def _is_filter(node: Node) -> bool:
    return isinstance(_cell(node), LowpassCell | AlphaCell)


def _dt(node: Node) -> float:
    """Return the time step of a layer; NaN if a layer of the user's own has no ``dt``."""
    return float(getattr(_cell(node) or node.layer, "dt", np.nan))


def _dtype(node: Node) -> np.dtype[Any]:
    return (_cell(node) or node.layer).dtype


def _units(node: Node) -> tuple[Any, ...]:
    """Return the shape of one example's output at one step."""
    reduces = getattr(node.layer, "reduces", False)
    return node.output_shapes[0][1 if reduces else 2 :]


def _level(node: Node, states: Sequence[Array]) -> Array:
    """Return the voltages or levels in states; an alpha filter's state also holds its slope."""
    cell, first = _cell(node), states[0]
    if cell is None:
        return first
    level = first[:, 0] if isinstance(cell, AlphaCell) else first
    return level.reshape(len(level), *cell.size)
