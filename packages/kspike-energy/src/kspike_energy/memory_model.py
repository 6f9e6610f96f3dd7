"""Energy of a layer on a device with a memory model."""

import math
from functools import partial

from kspike_energy.checks import finite
from kspike_energy.devices import Device
from kspike_energy.devices.memory import (
    Memory,
    Parts,
    ordinary_energy,
    spiking_energy,
    update_energy,
)
from kspike_energy.network import Layer

__all__ = ["memory_energy"]


def memory_energy(
    layer: Layer, device: Device, memory: Memory, synops: float, steps: int, *, by_line: bool
) -> tuple[float, float]:
    """Return a layer's joules per inference for connections and for unit updates.

    If ``by_line``, it uses the straight-line reading of the energies per access.

    Raises
    ------
    ValueError
        If the layer's number of outputs is unknown.
    """
    if not (layer.connections or layer.neurons):
        return 0.0, 0.0
    storage = layer.stored
    if storage is None:
        raise ValueError(
            f"output_shape of layer {layer.name!r} must be stated, such as (None, 10), to estimate "
            f"energy on {device.name!r}. Received: output_shape={layer.output_shape!r}"
        )
    access = partial(memory.access, by_line=by_line)
    synapses: Parts = {}
    updates: Parts = {}
    if not device.spiking and layer.connections:  # an activation that follows them is free
        synapses = ordinary_energy(memory, access, storage, layer.connections)
    if device.spiking:
        if layer.connections:
            # A spike causes as many operations as there are connections per input, on average.
            spikes = synops * storage.inputs * storage.uses / layer.connections
            synapses = spiking_energy(memory, access, storage, spikes, synops, steps)
        if layer.neurons:
            updates = update_energy(memory, access, storage, layer.neurons, steps)
    what = f"the energy of layer {layer.name!r} on {device.name!r}"
    return (
        finite(what, lambda: math.fsum(synapses.values())),
        finite(what, lambda: math.fsum(updates.values())),
    )
