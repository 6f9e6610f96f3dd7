"""From a model and data to a `Network`: counts what layers cost and measures what signals do."""

import math
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kspike_energy.adapters import Adapter
from kspike_energy.counting.graph import build_nodes
from kspike_energy.counting.nodes import Counts, Node, Options, UndefinedShapeError
from kspike_energy.counting.rules import UnknownLayerError, count
from kspike_energy.counting.rules.keras_spiking import is_known_to_keras_spiking
from kspike_energy.layer_stats import stats_dict
from kspike_energy.measuring.activity import Activity
from kspike_energy.measuring.batches import batches, shapes_of_data
from kspike_energy.network import Layer, Network, Synapses

__all__ = ["Settings", "build_network", "count_or_explain"]


@dataclass(frozen=True)
class Settings:
    """How a model is counted and measured; see `ModelEnergy` for the meaning of each."""

    options: Options
    time_axis: str | int | None = "auto"
    input_shape: Any = None
    input_coding: str = "rate"
    batch_size: int = 32
    progress: bool = False


def count_or_explain(node: Node) -> tuple[Counts, str]:
    """Return the counts of a node; where it cannot be counted, none and the reason."""
    try:
        return count(node), ""
    except (UnknownLayerError, UndefinedShapeError) as error:
        return Counts(), str(error)


def build_network(model: Any, adapter: Adapter, data: Any, settings: Settings) -> Network:
    """Return the network that a model is, with the activity of its signals on data.

    Parameters
    ----------
    model : object
        A model that ``adapter`` reads.
    adapter : Adapter
        The adapter.
    data : object or None
        Data in any form that `batches` takes; None to count only.
    settings : Settings
        How to count and measure.

    Returns
    -------
    Network
        One layer for each layer of the model that is applied, in order of execution.
    """
    shapes = settings.input_shape
    if shapes is None:
        shapes = shapes_of_data(data, adapter.input_shapes(model))
    applications = list(adapter.applications(model, shapes))
    nodes = build_nodes(applications, settings.options, settings.time_axis)
    counted = [count_or_explain(node) for node in nodes]
    if settings.options.convention == "keras-spiking":
        _warn_about_unknown_to_keras_spiking(nodes)
    _warn_about_gaps({n.spec.name: c[1] for n, c in zip(nodes, counted, strict=True) if c[1]})
    activities: list[list[Activity | None]] = [[None] * len(n.full_inputs) for n in nodes]
    if data is not None:
        activities = _measure(model, adapter, nodes, data, settings)
    groups: dict[str, list[int]] = {}
    for index, node in enumerate(nodes):
        groups.setdefault(node.spec.name, []).append(index)
    timed = any(node.has_time for node in nodes)
    layers = [
        _layer(
            adapter,
            [nodes[i] for i in group],
            [counted[i] for i in group],
            [activities[i] for i in group],
            settings.input_coding,
            timed,
        )
        for group in groups.values()
    ]
    return Network(layers, adapter.name(model), adapter.params(model), _time_text(nodes, settings))


def _warn_about_gaps(problems: Mapping[str, str]) -> None:
    """Warn once of all layers that cannot be counted, with the first few reasons."""
    if problems:
        shown = list(problems.values())[:5]
        more = len(problems) - len(shown)
        text = "; ".join(shown) + (f"; and {more} more layers" if more else "")
        if "undefined" in text:
            text += " (input_shape= or example_data gives shapes that the model leaves open)"
        warnings.warn(f"{text}: left out of every total", stacklevel=4)


def _warn_about_unknown_to_keras_spiking(nodes: Sequence[Node]) -> None:
    """Warn once of the layers that KerasSpiking does not know, as it does itself."""
    unknown = {n.spec.name: n.spec.type_name for n in nodes if not is_known_to_keras_spiking(n)}
    if unknown:
        shown = ", ".join(f"{name} ({kind})" for name, kind in list(unknown.items())[:5])
        more = f" and {len(unknown) - 5} more layers" if len(unknown) > 5 else ""
        warnings.warn(
            "KerasSpiking does not know these layers, so convention='keras-spiking' counts "
            f"nothing for them: {shown}{more}",
            stacklevel=4,
        )


def _time_text(nodes: Sequence[Node], settings: Settings) -> str:
    found = "axis 1 of some or all signals" if any(n.has_time for n in nodes) else "none"
    return f"{found} (time_axis={settings.time_axis!r})"


def _measure(
    model: Any, adapter: Adapter, nodes: Sequence[Node], data: Any, settings: Settings
) -> list[list[Activity | None]]:
    """Run the model batch by batch and add up what goes into every node."""
    totals: list[list[Activity | None]] = [[None] * len(n.full_inputs) for n in nodes]
    seen = 0
    # Where time comes first, batches would cut sequences: such data is run as it is.
    size = sys.maxsize if any(map(_time_first, nodes)) else settings.batch_size
    stream = batches(data, adapter.input_shapes(model), size)
    for batch in _with_progress(stream, settings.progress):
        seen += 1
        for index, signals in enumerate(adapter.run(model, batch)):
            node = nodes[index]
            for position, values in enumerate(signals[: len(node.full_inputs)]):
                part = Activity.measure(
                    values, timed=node.timed_inputs[position], name=node.spec.name
                )
                known = totals[index][position]
                if known is None:
                    totals[index][position] = part
                elif part is not None:
                    known.add(part, node.spec.name)
    if not seen:
        raise ValueError("example_data is empty: rates cannot be measured on no examples")
    return totals


def _time_first(node: Node) -> bool:
    """Return whether a layer takes (time, batch, …)."""
    return (node.spec.kind or "").startswith("kspike_tf>") and bool(node.config.get("time_major"))


def _with_progress(stream: Iterable[Any], progress: bool) -> Iterator[Any]:
    """Yield batches; on request show how many are done, with tqdm where it is installed."""
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


def _layer(
    adapter: Adapter,
    nodes: Sequence[Node],
    counted: Sequence[tuple[Counts, str]],
    activities: Sequence[Sequence[Activity | None]],
    input_coding: str,
    network_has_time: bool,
) -> Layer:
    """Return a layer of the network from all applications of one layer of the model."""
    spec = nodes[0].spec
    synapses = [
        _synapses(node, counts, activity, input_coding)
        for node, (counts, _), activity in zip(nodes, counted, activities, strict=True)
    ]
    if len(nodes) > 1 and nodes[0].options.convention == "keras-spiking":
        synapses = _added_up(synapses)
    return Layer(
        spec.name,
        neurons=sum(counts.neurons for counts, _ in counted),
        spiking=all(counts.spiking for counts, _ in counted),
        type_name=spec.type_name,
        output_shape=_shapes(nodes),
        params=adapter.params(None, spec.layer),
        dt=_usable_dt(adapter.layer_dt(spec.layer)),
        synapses=synapses,
        problem=next((problem for _, problem in counted if problem), ""),
        layer=spec.layer,
        once=network_has_time and not any(node.has_time for node in nodes),
        node_stats={
            node if node.origin is None else node.origin: stats_dict(counts)
            for node, (counts, _) in zip(nodes, counted, strict=True)
        },
    )


def _usable_dt(dt: float | None) -> float | None:
    """Return a layer's time step, or None where it is one that a schedule has yet to set."""
    return dt if dt is not None and dt > 0 and math.isfinite(dt) else None


def _added_up(synapses: Sequence[Sequence[Synapses]]) -> list[list[Synapses]]:
    """Return one signal for all applications of a layer, as KerasSpiking adds them up.

    It multiplies the sum of the connections by the sum of the rates.
    """
    connections = sum(s.connections for terms in synapses for s in terms)
    known = [[s.rate for s in terms if s.rate is not None] for terms in synapses]
    if not all(known):
        return [[Synapses(connections)]]
    return [[Synapses(connections, math.fsum(math.fsum(r) / len(r) for r in known))]]


def _shapes(nodes: Sequence[Node]) -> Any:
    """Return the output shape for reports: a list for an input layer or several outputs."""
    shapes = list(dict.fromkeys(shape for node in nodes for shape in node.full_outputs))
    if len(shapes) > 1 or nodes[0].spec.kind == "InputLayer":
        return shapes
    return shapes[0]


def _synapses(
    node: Node, counts: Counts, activity: Sequence[Activity | None], input_coding: str
) -> list[Synapses]:
    """Return the synapses of one application, and silent ones for inputs it has none from."""
    found: list[Synapses] = []
    for term in counts.terms:
        source = 0 if term.source is None else term.source
        coding = "signal"
        if term.source is not None and node.from_input[source]:
            coding = input_coding
        signal = activity[source] if source < len(activity) else None
        found.append(Synapses.from_activity(term, signal, coding))
    if not counts.terms:
        for index, signal in enumerate(activity):
            coding = input_coding if node.from_input[index] else "signal"
            rate = None if signal is None else signal.rate
            active = None if signal is None else signal.active_fraction
            found.append(Synapses(0, rate, active, coding))
    return found
