"""What each layer costs, by the name under which Keras saves it.

One module a family. Every rule is a function from a `Node` to `Counts`; its docstring is the
convention that it follows.
"""

from kspike_energy.counting.nodes import Counts, Node
from kspike_energy.counting.rules import (
    attention,
    keras_spiking,
    linear,
    operations,
    recurrent,
    routing,
    units,
    wrappers,
)
from kspike_energy.counting.rules.table import FREE, LINEAR, RULES, Rule

__all__ = ["FREE", "LINEAR", "RULES", "Rule", "UnknownLayerError", "count"]

_FAMILIES = (attention, linear, operations, recurrent, routing, units, wrappers)


class UnknownLayerError(LookupError):
    """No rule counts this layer, and nobody registered one."""


def count(node: Node) -> Counts:
    """Return what one application of a layer costs at each time step.

    Parameters
    ----------
    node : Node
        The application.

    Returns
    -------
    Counts
        Connections by signal, unit updates, and whether the layer can spike as it is.

    Raises
    ------
    UnknownLayerError
        If there is no rule for the layer.
    UndefinedShapeError
        If the count depends on an undefined shape.
    """
    if node.spec.statistics is not None:
        return wrappers.from_statistics(node)
    if node.options.convention == "keras-spiking":
        return keras_spiking.count_as_keras_spiking(node)
    if node.spec.kind is None or node.spec.kind not in RULES:
        raise UnknownLayerError(
            f"layer {node.spec.name!r} ({node.spec.type_name}) has no rule; "
            "register one with ModelEnergy.register_layer"
        )
    return RULES[node.spec.kind](node)
