"""Worker of the machine's limits: a parallel copy of memory, and the matrix products of BLAS."""

from __future__ import annotations

import pathlib

import numba
import numpy as np

from benchmarks import works
from benchmarks.worker import Job, serve


@numba.njit(parallel=True, nogil=True, cache=True)
def copy(x, out):
    """Copy ``x`` to ``out``, on all threads."""
    for i in numba.prange(x.shape[0]):
        out[i] = x[i]


def copied(work: works.Work, _: pathlib.Path) -> Job:
    """Copy as many bytes as a layer reads and writes."""
    x = works.rates(work).reshape(-1)
    out = np.empty_like(x)
    return Job(lambda: copy(x, out))


def copied_fresh(work: works.Work, _: pathlib.Path) -> Job:
    """Copy into newly allocated memory, as the functions of a library do."""
    x = works.rates(work).reshape(-1)
    return Job(lambda: copy(x, np.empty_like(x)))


def products(images: int, frames: int, work: works.Work, data: pathlib.Path) -> Job:
    """Multiply the matrices: ``images`` rows in the first layer, ``frames`` in the last one."""
    found = works.digits(data, work)
    first = np.resize(found["images"], (images, work.units))
    hidden = np.ones((frames, found["hidden_kernel"].shape[1]), np.float32)
    return Job(lambda: (first @ found["hidden_kernel"], hidden @ found["scores_kernel"]))


def products_static(work: works.Work, data: pathlib.Path) -> Job:
    """Multiply both layers once per image: before time begins, and after its end."""
    return products(work.batch, work.batch, work, data)


def products_varying(work: works.Work, data: pathlib.Path) -> Job:
    """Multiply the first layer at every step, and the last one at the end."""
    return products(work.batch * work.steps, work.batch, work, data)


COPIES = {"parallel copy": copied, "parallel copy, fresh output": copied_fresh}
OFFERS = {
    **dict.fromkeys(works.DYNAMICS, COPIES),
    "predict-static": {"BLAS GEMM": products_static},
    "predict-varying": {"BLAS GEMM": products_varying},
    "one-image": {"BLAS GEMM": products_static},
    "stream-step": {"BLAS GEMM": products_static},
}

if __name__ == "__main__":
    serve(OFFERS, ["numba", "numpy"])
