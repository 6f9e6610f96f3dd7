"""Worker of Sinabs: its integrate-and-fire layer."""

from __future__ import annotations

import sinabs.layers
import torch

from benchmarks.peers import _pytorch
from benchmarks.worker import serve


def run(x: torch.Tensor) -> torch.Tensor:
    """Run all steps from an empty membrane: a new layer costs less than resetting one."""
    return sinabs.layers.IAF()(x)


if __name__ == "__main__":
    serve(_pytorch.offers({"": run}, time_major=False), ["torch", "sinabs"])
