"""Worker of snnTorch: its Leaky neuron without a leak, reset by subtraction."""

from __future__ import annotations

import pathlib

import snntorch
import torch

from benchmarks import works
from benchmarks.peers import _pytorch
from benchmarks.worker import Job, serve

neuron = snntorch.Leaky(beta=1.0, threshold=1.0, reset_mechanism="subtract")
compiled = torch.compile(neuron, dynamic=False)


def run(step):
    """Return a loop over time around one step."""

    def over_time(x: torch.Tensor) -> torch.Tensor:
        membrane = torch.zeros_like(x[0])
        spikes = []
        for current in x:
            spike, membrane = step(current, membrane)
            spikes.append(spike)
        return torch.stack(spikes)

    return over_time


def convolution(work: works.Work, _: pathlib.Path) -> Job:
    """Run PyTorch's convolution alone, on spikes prepared beforehand."""
    spikes = torch.from_numpy(works.conv_spikes(work)).permute(0, 3, 1, 2)
    layer = torch.nn.Conv2d(work.units, works.CONV_FILTERS, 3).to(memory_format=torch.channels_last)

    def call() -> torch.Tensor:
        with torch.inference_mode():
            return layer(spikes)

    return Job(call)


OFFERS = {
    **_pytorch.offers({"": run(neuron), "step compiled": run(compiled)}, time_major=True),
    **{kind: {"torch.nn.Conv2d alone": convolution} for kind in works.CONVOLUTIONS},
}

if __name__ == "__main__":
    serve(OFFERS, ["torch", "snntorch"])
