"""Activity of a model's signals, for every number of time steps up to the longest."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kspike_energy import Application
from kspike_tf.layers import AlphaCell, KerasSpikingCell, KerasSpikingLayer, LowpassCell

SPIKING = "kspike_tf>SpikingActivation"
_BYTES = 256 << 20  # of signals in memory at once, for one batch
# Times `_BYTES` per batch: 2.75 were measured with Keras, whose tensors are copied to arrays while
# others wait; 1.4 with kspike_ref.
_COPIES = 3
_UNKNOWN_MEMORY = 8  # workers if the memory is unknown; they need 6 GiB
_EXAMPLES = 64
_FILTERS = (AlphaCell, LowpassCell)

Profile = np.ndarray  # of a signal: (2, steps), or (2, 1) without a time axis


@dataclasses.dataclass
class Activity:
    """Means over examples and units, at every step.

    Attributes
    ----------
    profiles : dict of int to (2, steps) or (2, 1) array
        By the identity of a signal: its mean absolute value, and its nonzero fraction.
    examples : int
        Number of examples.
    """

    profiles: dict[int, Profile]
    examples: int

    def add(self, other: Activity) -> None:
        """Add the examples of another batch."""
        share = other.examples / (self.examples + other.examples)
        for key, profile in other.profiles.items():
            before = self.profiles.get(key, profile)
            self.profiles[key] = before + share * (profile - before)
        self.examples += other.examples


def measure(
    run: Iterable[list[Any]], nodes: Sequence[Application], size: tuple[int, int]
) -> Activity:
    """Return the activity of all signals of a model in a run of one batch.

    Parameters
    ----------
    run : iterable of list
        Outputs of every application, in order.
    nodes : sequence of Application
        The applications of the model's layers.
    size : tuple of int
        Number of examples and of steps.

    Raises
    ------
    ValueError
        If a spiking layer only returns its last step, so that its spikes cannot be counted.
    """
    profiles: dict[int, Profile] = {}
    for node, outputs in zip(nodes, run, strict=True):
        if node.spec.kind == SPIKING and not is_timed(node, 0):
            raise ValueError(
                f"layer {node.spec.name!r} must return sequences, so that its spikes can be counted"
            )
        for index, (key, values) in enumerate(zip(node.output_ids, outputs, strict=True)):
            array = np.asarray(values)
            if array.dtype.kind == "V":  # bfloat16
                array = array.astype(np.float32)
            if key not in profiles and array.dtype.kind in "biuf":
                profiles[key] = _profile(array, size if is_timed(node, index) else None)
    return Activity(profiles, size[0])


def uncounted(nodes: Sequence[Application]) -> list[str]:
    """Return the names of layers with neurons other than `SpikingActivation`."""
    found = []
    for node in nodes:
        layer = node.spec.layer
        rnn = layer.layer if isinstance(layer, KerasSpikingLayer) else layer
        cell, saved = getattr(rnn, "cell", None), node.spec.config.get("cell")
        is_own = isinstance(cell, KerasSpikingCell) and not isinstance(cell, _FILTERS)
        if isinstance(saved, Mapping):  # of an RNN, in Keras and in kspike_ref
            is_own |= saved.get("registered_name") == f"{SPIKING}Cell"
        if is_own and node.spec.kind != SPIKING:
            found.append(node.spec.name)
    return list(dict.fromkeys(found))


def is_timed(node: Application, index: int) -> bool:
    """Return whether an output has a time axis, or has time folded into the batch."""
    shape = node.outputs[index]
    return node.inside_time or (len(shape) > 1 and shape[1] is None)


def _profile(values: np.ndarray, size: tuple[int, int] | None) -> Profile:
    if size is None:
        return np.array([[np.abs(values).mean(dtype=np.float64)], [np.mean(values != 0)]])
    rows = values.reshape(*size, -1)
    return np.array(
        [np.abs(rows).mean(axis=(0, 2), dtype=np.float64), np.mean(rows != 0, axis=(0, 2))]
    )


def usable_workers() -> int:
    """Return the number of batches to run at once, limited by cores and memory."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):  # as on Windows
        return min(cores, _UNKNOWN_MEMORY)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(cores, memory // (2 * _COPIES * _BYTES)))  # half of the memory


def batch_size(nodes: Sequence[Application], steps: int) -> int:
    """Return the number of examples to run at once, so that all signals fit into `_BYTES`."""
    values = 0
    for node in nodes:
        for index, shape in enumerate(node.outputs):
            timed = is_timed(node, index)
            units = shape[1:] if node.inside_time or not timed else shape[2:]
            values += math.prod(n or 1 for n in units) * (steps if timed else 1)
    return min(_EXAMPLES, max(1, _BYTES // max(1, 4 * values)))
