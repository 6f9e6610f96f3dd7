"""Effective operations: those with a nonzero weight and a nonzero input."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kspike_energy.counting.fan_out import Windows
from kspike_energy.counting.nodes import Node
from kspike_energy.counting.rules.linear import window_geometry

__all__ = ["PRODUCTS", "effective_operations"]

# Layers whose operations can be assigned to single weights.
PRODUCTS = frozenset({"Dense", "Conv1D", "Conv2D", "Conv3D", "DepthwiseConv1D", "DepthwiseConv2D"})


def effective_operations(node: Node, active: NDArray[np.int64], kernel: NDArray[Any]) -> int:
    """Return the number of operations with a nonzero input and a nonzero weight.

    Parameters
    ----------
    node : Node
        One application of a layer of `PRODUCTS`.
    active : ndarray
        For every input element, without batch and time, the number of its nonzero values.
    kernel : ndarray
        Weights of the layer.
    """
    used = kernel != 0
    if node.spec.kind == "Dense":
        return int(active.reshape(-1, len(used)).sum(axis=0) @ used.sum(axis=1))
    config = node.config
    rank = kernel.ndim - 2
    if config.get("data_format") == "channels_first":
        active = np.moveaxis(active, 0, -1)
    per_tap = _per_channel(config, used, rank, active.shape[-1])
    total = 0
    windows = _windows(config, active.shape[:rank])
    for tap in np.ndindex(*kernel.shape[:rank]):
        events = active
        for axis, window in enumerate(windows):
            places = np.arange(window.outputs) * window.stride
            places = places + tap[axis] * window.dilation - window.before
            inside = places[(places >= 0) & (places < window.inputs)]
            events = np.take(events, inside, axis=axis)
        total += int(events.reshape(-1, events.shape[-1]).sum(axis=0) @ per_tap[tap])
    return total


def _per_channel(
    config: Mapping[str, Any], used: NDArray[np.bool_], rank: int, channels: int
) -> NDArray[np.int64]:
    """Return the number of nonzero weights per tap and input channel."""
    if "depth_multiplier" in config:
        return np.asarray(used.sum(axis=-1, dtype=np.int64))
    groups = int(config.get("groups") or 1)
    filters = used.reshape(*used.shape[:-1], groups, -1).sum(axis=-1, dtype=np.int64)
    # (taps, channels of a group, groups) to (taps, channels): a channel sees its group's filters.
    return np.asarray(np.moveaxis(filters, -1, rank).reshape(*used.shape[:rank], channels))


def _windows(config: Mapping[str, Any], lengths: Sequence[int]) -> list[Windows]:
    """Return the windows along axes of these lengths."""
    padding = config["padding"].lower()
    windows = []
    geometry = window_geometry(config, len(lengths))
    for length, (kernel, stride, dilation) in zip(lengths, geometry, strict=True):
        reach = (kernel - 1) * dilation if padding == "valid" else 0
        outputs = max(length - reach - 1, -1) // stride + 1
        windows.append(Windows(length, outputs, kernel, stride, dilation, padding))
    return windows
