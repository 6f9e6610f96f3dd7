"""Common code of the PyTorch libraries.

Every library gets its fastest layout, currents in units of the threshold (rate × dt, prepared
beforehand) and no activation function in front. That is less work than kspike's layers do.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Mapping

import numpy as np
import torch

from benchmarks import works
from benchmarks.worker import Builder, Job

Run = Callable[[torch.Tensor], torch.Tensor]

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))


def current(work: works.Work, time_major: bool) -> torch.Tensor:
    """Return rate × dt in the library's layout."""
    x = works.rates(work) * np.float32(works.DT)
    return torch.from_numpy(np.ascontiguousarray(np.swapaxes(x, 0, 1)) if time_major else x)


def _batch_major(y: torch.Tensor, time_major: bool) -> np.ndarray:
    array = y.detach().numpy()
    return np.swapaxes(array, 0, 1) if time_major else array


def forward(run: Run, time_major: bool) -> Builder:
    """Return a builder of the forward pass without gradients."""

    def build(work: works.Work, _: pathlib.Path) -> Job:
        x = current(work, time_major)

        def call() -> torch.Tensor:
            with torch.inference_mode():
                return run(x)

        height = np.float32(1 / works.DT)
        return Job(call, lambda y: works.check_forward(work, _batch_major(y, time_major) * height))

    return build


def gradient(run: Run, time_major: bool) -> Builder:
    """Return a builder of one forward and backward pass, loss Σ y²."""

    def build(work: works.Work, _: pathlib.Path) -> Job:
        x = current(work, time_major).requires_grad_()

        def call() -> torch.Tensor:
            x.grad = None
            run(x).square().sum().backward()
            return x.grad

        return Job(call, lambda g: works.check_gradient(work, _batch_major(g, time_major)))

    return build


def offers(runs: Mapping[str, Run], time_major: bool) -> dict[str, dict[str, Builder]]:
    """Return the work that an integrate-and-fire layer offers: spikes and gradients, by mode."""
    return {
        "spiking": {mode: forward(run, time_major) for mode, run in runs.items()},
        "spiking-gradient": {mode: gradient(run, time_major) for mode, run in runs.items()},
    }
