"""Products with 8-bit weights, as ``model.quantize("int8")`` makes them, and their checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kspike_ref.layers.errors import Array, UnsupportedUseError
from kspike_ref.running.counts import Tally
from kspike_ref.saved.archive import ArchiveError


def mode_of(config: Mapping[str, Any]) -> str | None:
    """Return the quantisation mode of a layer's weights, None if there is none.

    Keras states it in the dtype policy. A layer that does not support a mode keeps a plain policy,
    even if its configuration has a ``quantization_config``.
    """
    policy = config.get("dtype")
    if not isinstance(policy, Mapping) or not isinstance(policy.get("config"), Mapping):
        return None
    mode = policy["config"].get("mode")
    return mode.split("/")[0] if isinstance(mode, str) else None


def refuse_quantized(config: Mapping[str, Any], known: str | None = None) -> None:
    """Refuse quantised layers, except in one mode; most int8 layers have separate classes.

    LoRA needs no check: Keras saves the merged kernel.
    """
    mode = mode_of(config)
    if mode not in (None, known):
        raise UnsupportedUseError(
            f"{config.get('name')}: weights quantised as {mode}; kspike_ref supports int8 "
            "in Dense, EinsumDense, Embedding and attention. Save the model before model.quantize"
        )


def rounds_inputs(config: Mapping[str, Any]) -> bool:
    """Return whether inputs are rounded to 8 bits too; refuse other quantisers."""
    given = config.get("quantization_config")
    if not isinstance(given, Mapping) or not isinstance(given.get("config"), Mapping):
        return True  # always, until Keras 3.12
    quantizer = given["config"].get("activation_quantizer")
    if quantizer is None:
        return False
    own = quantizer.get("config") if isinstance(quantizer, Mapping) else None
    is_usual = (
        isinstance(own, Mapping)
        and quantizer.get("class_name") == "AbsMaxQuantizer"
        and own.get("value_range", [-127, 127]) in ([-127, 127], (-127, 127))
        and own.get("epsilon", 1e-7) == 1e-7
    )
    if not is_usual:
        raise UnsupportedUseError(f"{config.get('name')}: activation_quantizer={quantizer!r:.80}")
    return True


def rounded_inputs(x: Array, dtype: Any, axes: Any) -> tuple[Array, Array]:
    """Return inputs as whole numbers up to 127, and the scale of each product over ``axes``."""
    largest = np.abs(x).max(axis=axes, keepdims=True, initial=0).astype(dtype)
    scale = dtype.type(127) / (largest + dtype.type(1e-7))
    if x.dtype.kind == "i":  # Keras gives the scale the type of the inputs
        scale = np.trunc(scale)
    return np.clip(np.rint(x * scale), -127, 127), scale


def check_scales(name: str, weights: Mapping[str, Array]) -> None:
    """Refuse scales that are not positive."""
    for place, values in weights.items():
        if place.endswith("scale") and not (values > 0).all():
            raise ArchiveError(f"layer {name!r} has a scale that is not positive")


class WholeProduct:
    """Multiplies rows by an 8-bit matrix, whose columns have a scale; may round the rows too."""

    def __init__(self, kernel: Array, scale: Array, rounds: bool = True) -> None:
        self.kernel, self.scale, self.rounds = kernel.astype(np.float64), scale, rounds
        self.dtype = kernel.dtype

    def over_last_axis(self, x: Array, bias: Array | None, tally: Tally) -> Array:
        """Return the product over the last axis of an array with any number of axes."""
        tally.add(x.size * self.kernel.shape[1])
        scale = self.scale
        if self.rounds:
            x, inputs_scale = rounded_inputs(x, self.dtype, -1)
            scale = scale * inputs_scale
        # Whole numbers below 2**53 add up without rounding, in any order.
        with np.errstate(divide="ignore", invalid="ignore"):  # integers above 127 have the scale 0
            y = np.matmul(x.astype(np.float64), self.kernel).astype(self.dtype) / scale
        return y if bias is None else y + bias
