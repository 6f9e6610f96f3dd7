"""The summary table of a model: layers, shapes, weights and dynamics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kspike_ref.layers.configured import policy_name
from kspike_ref.layers.described import dynamics, weights
from kspike_ref.layers.errors import Array
from kspike_ref.running.graph import Node
from kspike_ref.saved.text import printable
from kspike_ref.tables import as_html, boxed, shape_text


class Summarised:
    """Mixin that shows a model as a table with one row per node.

    Attributes
    ----------
    name : str
        The model's name.
    nodes : tuple of Node
        Its nodes.
    outputs : tuple of str
        The names of its output nodes.
    """

    name: str
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]

    def summary(self, print_fn: Callable[[str], object] | None = None) -> None:
        """Print a table of the model's layers, shapes, weights and dynamics, as Keras does.

        Parameters
        ----------
        print_fn : callable, optional
            Called with the text; `print` by default. ``str(model)`` is the same text.
        """
        (print if print_fn is None else print_fn)(str(self))

    def __str__(self) -> str:
        lines = boxed(_rows(self.nodes), right=[2])
        title = f'Model: "{printable(self.name)}"'
        return "\n".join([title, *lines, *_notes(self.nodes)])

    def __repr__(self) -> str:
        layers = len({id(node.layer) for node in self.nodes})
        given = ", ".join(_shapes(node) for node in self.nodes if not node.inputs)
        made = ", ".join(_shapes(node) for node in self.nodes if node.name in self.outputs)
        count = sum(w.size for w in _weights(self.nodes))
        name = f"{type(self).__module__.partition('.')[0]}.{type(self).__name__}"
        return f"<{name} {self.name!r}: {layers} layers, {count:,} weights, {given} → {made}>"

    def _repr_html_(self) -> str:
        return as_html(_rows(self.nodes), f'Model: "{self.name}"', _notes(self.nodes))


def _rows(nodes: Sequence[Node]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("Layer (type)", "Output shape", "Weights", "Dynamics")]
    for node in nodes:
        count = 0 if node.node_index else weights(node.layer)
        again = f", use {node.node_index + 1}" if node.node_index else ""
        kind = f"{node.name} ({node.layer.class_name}){again}"
        rows.append((kind, _shapes(node), f"{count:,}", dynamics(node.layer)))
    return rows if any(row[3] for row in rows[1:]) else [row[:3] for row in rows]


def _notes(nodes: Sequence[Node]) -> list[str]:
    held = _weights(nodes)
    policies = {policy_name(node.layer.config.get("dtype")) for node in nodes}
    half = sorted(policy for policy in policies if "16" in policy)
    notes = [f"saved for {', '.join(half)}; computed in float32"] if half else []
    return [f"{sum(w.size for w in held):,} weights, {_size(sum(w.nbytes for w in held))}", *notes]


def _weights(nodes: Sequence[Node]) -> list[Array]:
    """Return all weights; weights that layers share occur once."""
    return list({id(w): w for node in nodes for w in node.layer.weights.values()}.values())


def _shapes(node: Node) -> str:
    return ", ".join(map(shape_text, node.output_shapes))


def _size(count: int) -> str:
    size, units = float(count), ["B", "kB", "MB", "GB"]
    while size >= 999.5 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.3g} {units[0]}"
