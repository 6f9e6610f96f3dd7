"""Worker of SciPy's lfilter: one thread, one time constant for all units."""

from __future__ import annotations

import pathlib

import numpy as np
from scipy.signal import lfilter

from benchmarks import works
from benchmarks.worker import Job, serve


def coefficients(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return numerator and denominator of the filter for inputs held over a step."""
    s = works.DT / works.TAU
    e = np.exp(-s)
    if kind == "lowpass":
        return np.array([1 - e]), np.array([1, -e])
    gain = 1 - e * (1 + s)
    # y's row of the state space (see the design of the dynamics), with the state p eliminated
    return np.array([gain, e * (e + s - 1)]), np.array([1, -2 * e, e * e])


def filtered(dtype: type):
    """Return a builder that computes in ``dtype``."""

    def build(work: works.Work, _: pathlib.Path) -> Job:
        x = works.rates(work)
        b, a = (c.astype(dtype) for c in coefficients(work.kind))
        return Job(lambda: lfilter(b, a, x, axis=1), lambda y: works.check_forward(work, y))

    return build


MODES = {"float32": filtered(np.float32), "float64": filtered(np.float64)}

if __name__ == "__main__":
    serve({"lowpass": MODES, "alpha": MODES}, ["scipy", "numpy"])
