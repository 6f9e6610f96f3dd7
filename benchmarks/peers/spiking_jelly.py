"""Worker of SpikingJelly: its integrate-and-fire node, several steps at once."""

from __future__ import annotations

import torch
from spikingjelly.activation_based import functional, neuron

from benchmarks.peers import _pytorch
from benchmarks.worker import serve

node = neuron.IFNode(v_threshold=1.0, v_reset=None, step_mode="m")


def run(x: torch.Tensor) -> torch.Tensor:
    """Run all steps from an empty membrane."""
    functional.reset_net(node)
    return node(x)


if __name__ == "__main__":
    serve(_pytorch.offers({"": run}, time_major=True), ["torch", "spikingjelly"])
