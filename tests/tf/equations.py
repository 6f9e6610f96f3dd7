"""Spikes from the scan and from the equations, on the same inputs."""

import numpy as np

from kspike_tf import scan

DT = 0.003


def spikes_by_steps(rates, voltage, dt=DT):
    """Follow the equations step by step, in NumPy."""
    outputs = []
    height = rates.dtype.type(1 / dt)
    for t in range(rates.shape[1]):
        a = voltage + np.rint(rates[:, t].astype(np.float64) * (dt * 2**32)) * 2.0**-32
        count = np.floor(a)
        outputs.append(count.astype(rates.dtype) * height)
        voltage = a - count
    return np.stack(outputs, 1) if outputs else np.empty_like(rates), voltage


def spiking_data(shape, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    rates = rng.uniform(-500, 2000, shape).astype(dtype)
    return rates, rng.integers(0, 2**32, (shape[0], shape[2])) * 2.0**-32


def spikes(rates, voltage):
    return scan.spikes(rates, voltage, np.float64(DT))
