"""The operations of ``keras.ops``, one module a family."""

from kspike_ref.layers.ops import (
    along_axis,
    casting,
    elementwise,
    parts,
    products,
    reductions,
    shapes,
)

__all__ = [
    "along_axis",
    "casting",
    "elementwise",
    "parts",
    "products",
    "reductions",
    "shapes",
]
