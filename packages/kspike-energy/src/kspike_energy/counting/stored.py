"""Sizes of a layer's data in memory, from its shapes and configuration."""

import math
from collections.abc import Sequence

from kspike_energy.counting.nodes import Node, UndefinedShapeError
from kspike_energy.counting.rules.table import unwrapped
from kspike_energy.storage import Storage

__all__ = ["stored"]


def stored(nodes: Sequence[Node], params: int) -> Storage | None:
    """Return the sizes of a layer; None for an undefined shape or a registered function.

    Parameters
    ----------
    nodes : sequence of Node
        The applications of the layer. The first one states the shapes.
    params : int
        Number of weights and biases.
    """
    node = nodes[0]
    try:
        inputs = [node.units_in(index) for index in range(len(node.inputs))]
        outputs = [node.units_out(index) for index in range(len(node.outputs))]
    except UndefinedShapeError:
        return None
    inner = unwrapped(node)
    if inner.spec.statistics is not None:  # its configuration may hold anything
        return None
    kind = inner.spec.kind or ""
    windows = "Conv" in kind
    return Storage(
        sum(map(math.prod, inputs)),
        sum(map(math.prod, outputs)),
        params,
        biased=_biased(inner) if params else False,
        windows=windows,
        kernel=_kernel(inner) if windows else 0,
        leaky="Lowpass" in kind or "Alpha" in kind,
        uses=len(nodes),
    )


def _biased(node: Node) -> bool:
    """Return whether a layer adds a bias to every output."""
    return bool(node.config.get("use_bias") or node.config.get("bias_axes"))  # of EinsumDense


def _kernel(node: Node) -> int:
    """Return the filters of one input channel times the positions of a window."""
    config = node.config
    size = config.get("kernel_size", 1)
    positions = math.prod(size) if isinstance(size, (list, tuple)) else int(size)
    filters = int(config.get("filters") or config.get("depth_multiplier") or 1)
    return filters // int(config.get("groups") or 1) * positions
