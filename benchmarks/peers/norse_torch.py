"""Worker of Norse: its integrate-and-fire sequence, which resets to zero (and so loses charge)."""

from __future__ import annotations

import norse.torch as norse
import torch

from benchmarks.peers import _pytorch
from benchmarks.worker import serve


def run(x: torch.Tensor) -> torch.Tensor:
    """Run the sequence from an empty membrane."""
    state = norse.IAFFeedForwardState(v=torch.zeros_like(x[0]))
    return norse.IAF()(x, state)[0]


if __name__ == "__main__":
    serve(_pytorch.offers({"": run}, time_major=True), ["torch", "norse"])
