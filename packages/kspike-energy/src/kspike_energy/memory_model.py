"""Energy of a layer on a device with a memory model."""

import math

from kspike_energy.checks import finite
from kspike_energy.devices import Device
from kspike_energy.devices.memory import Parts, ordinary_energy, spiking_energy, update_energy
from kspike_energy.network import Layer

__all__ = ["memory_energy"]


def memory_energy(
    layer: Layer, device: Device, synops: float, steps: int, *, by_line: bool = False
) -> tuple[float, float]:
    """Return a layer's joules per inference for connections and for unit updates.

    Parameters
    ----------
    layer : Layer
        A layer that could be counted.
    device : Device
        A device with a memory model.
    synops : float
        Synaptic operations per inference.
    steps : int
        Time steps per inference.
    by_line : bool, optional
        Whether to use the straight-line reading of the energies per access.

    Raises
    ------
    ValueError
        If the device has no memory model, or the layer's number of outputs is unknown.
    """
    memory = device.memory
    if memory is None:
        raise ValueError(f"device {device.name!r} has no model of memory")
    if not (layer.connections or layer.neurons):
        return 0.0, 0.0
    storage = layer.stored
    if storage is None:
        raise ValueError(
            f"output_shape of layer {layer.name!r} must be stated, such as (None, 10), to estimate "
            f"energy on {device.name!r}. Received: output_shape={layer.output_shape!r}"
        )
    synapses: Parts = {}
    updates: Parts = {}
    if not device.spiking and layer.connections:  # an activation that follows them is free
        synapses = ordinary_energy(memory, storage, layer.connections, by_line=by_line)
    if device.spiking:
        if layer.connections:
            # A spike causes as many operations as there are connections per input, on average.
            spikes = synops * storage.inputs * storage.uses / layer.connections
            synapses = spiking_energy(memory, storage, spikes, synops, steps, by_line=by_line)
        if layer.neurons:
            updates = update_energy(memory, storage, layer.neurons, steps, by_line=by_line)
    what = f"the energy of layer {layer.name!r} on {device.name!r}"
    return (
        finite(what, lambda: math.fsum(synapses.values())),
        finite(what, lambda: math.fsum(updates.values())),
    )
