"""A model as a table of text."""

from __future__ import annotations

from collections.abc import Sequence

from kspike_ref.layers.configured import policy_name
from kspike_ref.layers.errors import Shape
from kspike_ref.running.graph import Node
from kspike_ref.saved.text import printable


def summary(name: str, nodes: Sequence[Node]) -> str:
    """Return a table with one row for each node.

    Parameters
    ----------
    name : str
        The model's name.
    nodes : sequence of Node
        Its nodes.

    Returns
    -------
    str
        The layer, its class, its output shape, and how many weights it has; below, whether the
        model was saved for half precision.
    """
    rows = [("layer", "class", "output shape", "weights")]
    held: dict[int, int] = {}  # by identity: layers may share what is in them
    for node in nodes:
        own = {id(w): w.size for w in node.layer.weights.values()} if node.node_index == 0 else {}
        held |= own
        count = sum(own.values())
        shapes = ", ".join(_shown(shape) for shape in node.output_shapes)
        again = f" (use {node.node_index + 1})" if node.node_index else ""
        name, kind = printable(node.name), printable(node.layer.class_name)
        rows.append((name + again, kind, shapes, f"{count:,}"))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = [
        "  ".join(
            [cell.ljust(width) for cell, width in zip(row[:3], widths[:3], strict=True)]
            + [row[3].rjust(widths[3])]
        ).rstrip()
        for row in rows
    ]
    rule = "─" * max(len(line) for line in lines)
    half = sorted(
        {p for p in (policy_name(n.layer.config.get("dtype")) for n in nodes) if "16" in p}
    )
    notes = [f"saved for {', '.join(half)}; computed in float32"] if half else []
    table = [lines[0], rule, *lines[1:], rule]
    return "\n".join([f"model {name!r}", *table, f"{sum(held.values()):,} weights", *notes])


def _shown(shape: Shape) -> str:
    return "(" + ", ".join("?" if n is None else str(n) for n in shape) + ")"
