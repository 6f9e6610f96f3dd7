"""Energy of memory accesses, addressing and arithmetic: the model of Lemaire et al.

Lemaire, Cordone, Castagnetti, Novac, Courtois, Miramond, "An analytical estimation of spiking
neural networks energy efficiency", ICONIP 2022 (arXiv 2210.13107), count for a layer of C
connections, N inputs, M outputs, W parameters, and kernels of K weights per input channel:

                 ordinary, per inference           spiking, of T steps
    inputs       N reads; C by windows             2 θ accesses
    parameters   C reads, M of biases              S reads, T · M of biases
    potentials                                     2 S accesses, 2 U of unit updates
    outputs      M writes                          (with the inputs of the next layer)
    arithmetic   C multiply-adds, M additions      S + T · M + θ additions
                                                   U multiply-adds of units with leak
    addressing   C additions; by windows           S additions; by windows
                 N + M + K                         2 θ multiply-adds too

θ is the number of input spikes, S of synaptic operations and U of unit updates per inference.
Equation numbers in the functions below are those of the authors' implementation. Three things
differ from the paper. S accounts for strides and borders; the paper reads whole kernels. A spike
is written and read once, both at the layer that receives it; the paper counts writes at the layer
that sends it. An input spike of a dense layer causes one addition per output, as in the
implementations; equation 2 of the paper counts these again for every input.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from kspike_energy.checks import check_count, check_energy
from kspike_energy.storage import Storage

__all__ = ["HOROWITZ", "Memory", "Parts", "ordinary_energy", "spiking_energy", "update_energy"]

Parts: TypeAlias = Mapping[str, float]
Access: TypeAlias = Callable[[int], float]


@dataclass(frozen=True)
class Memory:
    """Energies of memory accesses and integer arithmetic.

    Parameters
    ----------
    add, multiply : float
        Joules per addition and per multiplication.
    accesses : tuple of (int, float)
        Memory sizes in bytes, and joules per access. The energy is linear between the sizes, from
        zero at size zero, and beyond the last one.
    line : tuple of (float, float)
        The straight-line reading of the same points: joules per access at size zero, and joules
        added per byte.
    word : int, optional
        Bytes per number.
    queue : int, optional
        Spikes that the queue at the input of a layer holds.

    Raises
    ------
    TypeError, ValueError
        If an energy is negative or not finite, or the sizes do not increase.
    """

    add: float
    multiply: float
    accesses: tuple[tuple[int, float], ...]
    line: tuple[float, float]
    word: int = 4
    queue: int = 1000

    def __post_init__(self) -> None:
        check_energy("add", self.add)
        check_energy("multiply", self.multiply)
        for _, joules in self.accesses:
            check_energy("accesses", joules)
        for joules in self.line:
            check_energy("line", joules)
        sizes = [0, *(size for size, _ in self.accesses)]
        if len(sizes) == 1 or any(low >= high for low, high in pairwise(sizes)):
            raise ValueError(
                "accesses must be pairs of a size in bytes and joules, with growing sizes. "
                f"Received: accesses={self.accesses!r}"
            )
        check_count("word", self.word)
        check_count("queue", self.queue)

    def access(self, numbers: int, *, by_line: bool = False) -> float:
        """Return the joules of one read or write in a memory of this many numbers."""
        size = numbers * self.word
        if by_line:
            start, slope = self.line
            return start + slope * size
        pairs = list(pairwise(((0, 0.0), *self.accesses)))
        (x0, y0), (x1, y1) = next((pair for pair in pairs if size <= pair[1][0]), pairs[-1])
        return y0 + (y1 - y0) * (size - x0) / (x1 - x0)

    @property
    def multiply_add(self) -> float:
        """Joules of a multiplication and an addition."""
        return self.multiply + self.add


# Horowitz, "Computing's energy problem", ISSCC 2014, figure 1.1.9: 45 nm at 0.9 V; 32-bit integer
# addition and multiplication; one access to a cache of 8 KB, 32 KB and 1 MB. The line is that of
# the authors' implementation (qualia-plugin-snn, EnergyEstimationMetric._e_ram: 1.09e-5 pJ per bit
# and 13.2 pJ, close to the least-squares line through the three points). Linear interpolation is
# SpikingJelly's reading (op_counter, LemaireEnergyCostConfig), as is the queue of 1000 spikes.
HOROWITZ = Memory(
    add=0.1e-12,
    multiply=3.1e-12,
    accesses=((8 * 1024, 10e-12), (32 * 1024, 20e-12), (1024 * 1024, 100e-12)),
    line=(13.2e-12, 8 * 1.09e-17),
)


def ordinary_energy(memory: Memory, access: Access, storage: Storage, connections: float) -> Parts:
    """Return the joules per inference of a layer of an ordinary network, by part.

    Parameters
    ----------
    memory : Memory
        Energies.
    access : callable
        Reads the energy of an access, as `Memory.access` does.
    storage : Storage
        Sizes of the layer.
    connections : float
        Multiply-adds.
    """
    inputs, outputs = storage.inputs * storage.uses, storage.outputs * storage.uses
    biases = outputs if storage.biased else 0
    reads = connections if storage.windows else inputs  # equations 3 and 4
    by_window = inputs + outputs + storage.kernel * storage.uses
    addresses = by_window if storage.windows else connections
    return {
        "inputs": reads * access(storage.inputs),
        "parameters": (connections + biases) * access(storage.parameters),  # 6
        "outputs": outputs * access(storage.outputs),  # 11 and 12
        "arithmetic": connections * memory.multiply_add + biases * memory.add,  # 1 and 2
        "addressing": addresses * memory.add,  # 16 and 17
    }


def spiking_energy(
    memory: Memory, access: Access, storage: Storage, spikes: float, synops: float, steps: int
) -> Parts:
    """Return the joules per inference of a spiking layer's synapses, by part.

    Parameters
    ----------
    memory, access, storage
        As in `ordinary_energy`.
    spikes, synops : float
        Input spikes and synaptic operations per inference.
    steps : int
        Time steps per inference.
    """
    biases = storage.outputs * storage.uses * steps if storage.biased else 0
    located = 2 * spikes if storage.windows else 0
    return {
        "inputs": 2 * spikes * access(memory.queue),  # 5 and 13
        "parameters": (synops + biases) * access(storage.parameters),  # 7 and 8
        "potentials": 2 * synops * access(storage.outputs),  # 9, 10, 14 and 15
        "arithmetic": (synops + biases + spikes) * memory.add,  # 1.4 and 2.4
        "addressing": synops * memory.add + located * memory.multiply_add,  # 16 and 17
    }


def update_energy(
    memory: Memory, access: Access, storage: Storage, units: int, steps: int
) -> Parts:
    """Return the joules per inference of a spiking layer's unit updates, by part.

    Parameters
    ----------
    memory, access, storage
        As in `ordinary_energy`.
    units : int
        Unit updates per time step.
    steps : int
        Time steps per inference.
    """
    updates = units * steps
    return {
        "potentials": 2 * updates * access(units),  # 9, 10, 14 and 15
        "arithmetic": updates * memory.multiply_add if storage.leaky else 0.0,  # 1.3 and 2.3
    }
