"""Short descriptions of layers: activation, time constants, time step and number of weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from kspike_ref.tables import seconds


def dynamics(layer: Any) -> str:
    """Return activation, time constants, time step and seed of a layer over time, or nothing.

    Parameters
    ----------
    layer : Configured
        Any layer or cell.
    """
    cell = getattr(layer, "cell", layer)
    dt = getattr(cell, "dt", None)
    if not isinstance(dt, float):
        return ""
    parts = []
    function = getattr(cell, "function", None)
    if function is not None:
        parts.append(str(getattr(function, "__name__", type(function).__name__)))
    tau = cell.weights.get("tau")
    if tau is not None and tau.size:
        parts.append(f"τ = {between(float(tau.min()), float(tau.max()))}")
    parts.append(f"dt = {seconds(dt)}")
    if cell.config.get("seed") is not None:
        parts.append(f"seed {cell.config['seed']}")
    return ", ".join(parts)


def between(low: float, high: float) -> str:
    """Return a time, or a range of times, as text."""
    shown = [seconds(low), seconds(high)]
    return shown[0] if np.isclose(low, high, rtol=1e-4) else " to ".join(shown)


def weights(layer: Any) -> int:
    """Return the number of weights of a layer and its inner layers."""
    return sum({id(w): int(w.size) for w in getattr(layer, "weights", {}).values()}.values())
