# ruff: noqa: D102 (what the methods do is documented in base.Layer)
"""``keras.ops.cast``, which Keras also writes before layers that get another type of floats."""

from __future__ import annotations

from kspike_ref import dtypes
from kspike_ref.layers.base import Array
from kspike_ref.layers.ops.base import Operation
from kspike_ref.layers.registry import known
from kspike_ref.saved.archive import ArchiveError


@known("ops:Cast")
class Cast(Operation):
    """The same numbers in another type; half precision stays float32."""

    options = ("dtype",)
    pointwise_from = 2
    keeps_zeros = True

    def setup(self) -> None:
        if self.result_type not in dtypes.NAMES:
            names = ", ".join(dtypes.NAMES)
            raise ArchiveError(f"dtype must be one of {names}. Received: {self.result_type!r:.80}")
        self.target = dtypes.computed(self.result_type)

    def call(self, x: Array) -> Array:
        if x.dtype.kind == "f" and self.target.kind in "iu":
            return dtypes.cut(x, self.target)
        return dtypes.cast(x, self.target)
