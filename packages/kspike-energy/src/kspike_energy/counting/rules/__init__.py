"""Counting rules by the name under which Keras saves a layer.

Every family of layers has a module. A rule is a function from a `Node` to `Counts`; its docstring
states the convention that it follows.
"""

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
from kspike_energy.counting.rules.table import RULES, UnknownLayerError, count

__all__ = ["RULES", "UnknownLayerError", "count"]

# Importing these modules fills the table.
_FAMILIES = (attention, keras_spiking, linear, operations, recurrent, routing, units, wrappers)
