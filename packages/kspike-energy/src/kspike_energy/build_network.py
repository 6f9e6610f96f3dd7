"""Conversion of a model to a `Network`: counts of its layers, and activity measured on data."""

import math
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kspike_energy.adapters import Adapter, find_adapter
from kspike_energy.checks import level_of_user
from kspike_energy.counting.graph import complete_nodes
from kspike_energy.counting.nodes import Counts, Node, Term, UndefinedShapeError
from kspike_energy.counting.rules import UnknownLayerError, count
from kspike_energy.counting.rules.keras_spiking import is_known_to_keras_spiking
from kspike_energy.counting.statistics import add_stats, stats_dict
from kspike_energy.counting.stored import stored
from kspike_energy.measuring.activity import Activity
from kspike_energy.measuring.batches import peek, shapes_of_data
from kspike_energy.measuring.measure import Measured, measure
from kspike_energy.network import Layer, Network
from kspike_energy.presentation.units import plural
from kspike_energy.settings import Settings
from kspike_energy.synapses import Synapses

__all__ = ["build_network", "time_steps"]


@dataclass(frozen=True)
class _Applied:
    """One application of a layer: counts, or the reason for their absence, and input activity."""

    node: Node
    counts: Counts
    problem: str
    activity: Sequence[Activity | None]
    time_steps: Sequence[float | None]

    def coding(self, index: int, settings: Settings) -> str:
        """Return how an input is presented to a spiking device."""
        return settings.input_coding if self.node.from_input[index] else "signal"


def build_network(model: object, data: Any, settings: Settings) -> Network:
    """Return a model as a `Network`, with the activity of its signals on data.

    Parameters
    ----------
    model : object
        A model that an adapter reads, or a `Network`, which is returned unchanged.
    data : object or None
        Data in any form that `batches` takes; None to count only.
    settings : Settings
        How to count and measure.

    Returns
    -------
    Network
        One layer per applied layer of the model, in order of execution.

    Raises
    ------
    TypeError, ValueError
        If no adapter reads the model, the data does not fit it, or a `Network` comes with data.
    """
    if isinstance(model, Network):
        if data is not None:
            raise ValueError(
                "example_data must be None for a Network: its layers state their rates. "
                f"Received: {type(data).__name__}"
            )
        return model
    adapter = find_adapter(model)
    first, data = peek(data)
    shapes = settings.input_shape
    if shapes is None:
        shapes = shapes_of_data(first, adapter.input_shapes(model))
    found = list(adapter.applications(model, shapes))
    nodes = complete_nodes(found, settings.options, settings.time_axis)
    counted = [_count_or_explain(node) for node in nodes]
    if settings.input_shape is None:
        counted = _count_open(model, adapter, nodes, counted, first)
    if settings.options.convention == "keras-spiking":
        _warn_about_unknown_to_keras_spiking(nodes)
    _warn_about_gaps({n.spec.name: c[1] for n, c in zip(nodes, counted, strict=True) if c[1]})
    measured = Measured([[None] * len(node.inputs) for node in nodes])
    if data is not None:
        measured = measure(model, adapter, nodes, data, settings)
    parts = zip(nodes, counted, measured.activities, time_steps(adapter, nodes), strict=True)
    layers: dict[str, list[_Applied]] = defaultdict(list)
    for node, (counts, problem), activity, steps in parts:
        layers[node.spec.name].append(_Applied(node, counts, problem, activity, steps))
    timed = any(node.has_time for node in nodes)
    return Network(
        [_layer(adapter, uses, settings, timed) for uses in layers.values()],
        adapter.name(model),
        adapter.params(model),
        f"{'axis 1 of some or all signals' if timed else 'none'} "
        f"(time_axis={settings.time_axis!r})",
        sorted(measured.steps),
    )


def time_steps(adapter: Adapter, nodes: Sequence[Node]) -> list[list[float | None]]:
    """Return, per node, the time steps of the layers that emitted its inputs, then its own."""
    emitted: dict[int, float | None] = {}
    found = []
    for node in nodes:
        steps = [emitted.get(tensor) for tensor in node.input_ids]
        own = _usable_dt(adapter.layer_dt(node.spec.layer))
        found.append([*steps, own])
        # A layer without its own time step passes on spikes, or values computed from them.
        after = own or next((step for step in steps if step), None)
        emitted.update(dict.fromkeys(node.output_ids, after))
    return found


def _count_or_explain(node: Node) -> tuple[Counts, str]:
    """Return the counts of a node; if it cannot be counted, empty counts and the reason."""
    try:
        return count(node), ""
    except (UnknownLayerError, UndefinedShapeError) as error:
        return Counts(), str(error)


def _count_open(
    model: Any,
    adapter: Adapter,
    nodes: Sequence[Node],
    counted: Sequence[tuple[Counts, str]],
    data: Any,
) -> list[tuple[Counts, str]]:
    """Return the counts, taking the length of the time axis from data where layers need it."""
    gaps = [
        bool(problem) and any(None in shape[1:] for shape in (*node.inputs, *node.outputs))
        for node, (_, problem) in zip(nodes, counted, strict=True)
    ]
    shapes = shapes_of_data(data, adapter.input_shapes(model), time=True) if any(gaps) else None
    if shapes is None:
        return list(counted)
    whole = adapter.applications(model, shapes)
    return [
        _count_or_explain(replace(node, inputs=new.inputs, outputs=new.outputs)) if gap else known
        for node, new, known, gap in zip(nodes, whole, counted, gaps, strict=True)
    ]


def _warn_about_gaps(problems: Mapping[str, str]) -> None:
    """Warn once about all layers that cannot be counted, with the first few reasons."""
    if problems:
        more = len(problems) - 5
        text = "; ".join(list(problems.values())[:5])
        text += f"; and {plural(more, 'more layer')}" if more > 0 else ""
        if "undefined" in text:
            text += " (input_shape= or example_data states shapes that the model leaves open)"
        these = "this layer is" if len(problems) == 1 else "these layers are"
        warnings.warn(f"{text}; {these} left out of all totals", stacklevel=level_of_user())


def _warn_about_unknown_to_keras_spiking(nodes: Sequence[Node]) -> None:
    """Warn once about all layers that KerasSpiking does not know, as KerasSpiking itself does."""
    unknown = {n.spec.name: n.spec.type_name for n in nodes if not is_known_to_keras_spiking(n)}
    if unknown:
        shown = ", ".join(f"{name} ({kind})" for name, kind in list(unknown.items())[:5])
        rest = len(unknown) - 5
        more = f" and {plural(rest, 'more layer')}" if rest > 0 else ""
        warnings.warn(
            "KerasSpiking does not know these layers, so convention='keras-spiking' counts "
            f"nothing for them: {shown}{more}",
            stacklevel=level_of_user(),
        )


def _layer(
    adapter: Adapter, uses: Sequence[_Applied], settings: Settings, network_has_time: bool
) -> Layer:
    """Return a layer of the network from all applications of one layer of the model."""
    nodes = [one.node for one in uses]
    spec = nodes[0].spec
    synapses = [_synapses(one, settings) for one in uses]
    if len(uses) > 1 and settings.options.convention == "keras-spiking":
        synapses = _added_up(synapses)
    params = adapter.params(None, spec.layer)
    node_stats: dict[Any, dict[str, Any]] = {}
    for one in uses:
        origin = one.node if one.node.origin is None else one.node.origin
        # A nested model that is applied twice applies its inner nodes twice.
        add_stats(node_stats, origin, stats_dict(one.counts))
    return Layer(
        spec.name,
        neurons=sum(one.counts.neurons for one in uses),
        spiking=all(one.counts.spiking for one in uses),
        type_name=spec.type_name,
        output_shape=_shapes(nodes),
        params=params,
        dt=uses[0].time_steps[-1],
        synapses=synapses,
        problem=next((one.problem for one in uses if one.problem), ""),
        layer=spec.layer,
        once=network_has_time and not any(node.has_time for node in nodes),
        storage=stored(nodes, params) if any(_costs(one.counts) for one in uses) else None,
        whole=any(one.counts.whole and one.node.has_time for one in uses),
        node_stats=node_stats,
    )


def _costs(counts: Counts) -> bool:
    """Return whether anything was counted."""
    return bool(counts.terms or counts.neurons)


def _usable_dt(dt: float | None) -> float | None:
    """Return a layer's time step, or None if a schedule has not set it yet."""
    return dt if dt is not None and dt > 0 and math.isfinite(dt) else None


def _added_up(synapses: Sequence[Sequence[Synapses]]) -> list[list[Synapses]]:
    """Merge all applications of a layer into one signal, as KerasSpiking does.

    KerasSpiking multiplies the sum of the connections by the sum of the rates.
    """
    connections = sum(s.connections for terms in synapses for s in terms)
    known = [[s.rate for s in terms if s.rate is not None] for terms in synapses]
    if not all(known):
        return [[Synapses(connections)]]
    return [[Synapses(connections, math.fsum(math.fsum(r) / len(r) for r in known))]]


def _shapes(nodes: Sequence[Node]) -> Any:
    """Return the output shape for reports: a list for an input layer or several outputs."""
    shapes = list(dict.fromkeys(shape for node in nodes for shape in node.outputs))
    if len(shapes) > 1 or nodes[0].spec.kind == "InputLayer":
        return shapes
    return shapes[0]


def _synapses(one: _Applied, settings: Settings) -> list[Synapses]:
    """Return the synapses of one application; without connections, an empty entry per input."""
    if one.counts.terms:
        return [_of_term(term, one, settings) for term in one.counts.terms]
    return [
        Synapses(
            0,
            None if signal is None else signal.rate,
            None if signal is None else signal.active_fraction,
            one.coding(index, settings),
            one.time_steps[index],
        )
        for index, signal in enumerate(one.activity)
    ]


def _of_term(term: Term, one: _Applied, settings: Settings) -> Synapses:
    """Return the synapses of one counted term, with the activity of its signal."""
    # The activity of a signal inside the layer is unknown, so it takes that of the first input.
    source = 0 if term.source is None else term.source
    signal = one.activity[source] if source < len(one.activity) else None
    coding = "signal" if term.source is None else one.coding(source, settings)
    if term.every_step:
        coding = "dense"
    connections = term.fan_out.connections
    dt = one.time_steps[source] if source < len(one.time_steps) else None
    if signal is None:
        return Synapses(connections, coding=coding, dt=dt)
    operations: int | float | None = None
    weighted: float | None = None
    if term.source is not None:
        if coding == "dense":
            operations = connections * signal.samples
        else:
            operations = term.fan_out.weigh(signal.active)
        weighted = term.fan_out.weigh(signal.absolute) / max(signal.samples, 1)
    return Synapses(
        connections,
        rate=signal.rate,
        active=signal.active_fraction,
        coding=coding,
        dt=dt,
        weighted_rate=weighted,
        operations=operations,
        samples=signal.samples,
    )
