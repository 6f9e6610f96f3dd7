"""Slow, obvious versions of kspike_ref's functions, with which the fast ones are compared."""

from __future__ import annotations

import numpy as np


def spiking(rates, dt, voltage):
    """Return spikes and voltage; `rates` (batch, time, *units), `voltage` (batch, *units)."""
    wide = rates.dtype == np.float64
    seconds = np.float64(dt) if wide else np.float64(np.float32(dt))
    height = 1 / seconds if wide else np.float32(1 / seconds)
    v = np.array(voltage, np.float64)
    spikes = np.zeros(rates.shape, rates.dtype)
    for t in range(rates.shape[1]):
        q = np.rint(rates[:, t].astype(np.float64) * (seconds * 2.0**32)) * 2.0**-32
        a = v + q
        n = np.floor(a)
        v = a - n
        spikes[:, t] = (n if wide else n.astype(np.float32)) * height
    return spikes, v


def lowpass(x, tau, dt, level):
    """Return output and level; `x` (batch, time, *units), `tau` broadcasts to units."""
    d = np.exp(-dt / np.asarray(tau, np.float64))
    y = np.array(level, np.float64)
    out = np.zeros(x.shape, x.dtype)
    for t in range(x.shape[1]):
        u = x[:, t].astype(np.float64)
        y = u + d * (y - u)
        out[:, t] = y
    return out, y


def alpha(x, tau, dt, y, p):
    """Return output, y, p = τ·dy/dt; `x` (batch, time, *units), `tau` broadcasts to units."""
    s = dt / np.asarray(tau, np.float64)
    e = np.exp(-s)
    y, p = np.array(y, np.float64), np.array(p, np.float64)
    out = np.zeros(x.shape, x.dtype)
    for t in range(x.shape[1]):
        u = x[:, t].astype(np.float64)
        y, p = e * (s * p + (1 + s) * y) + (1 - e * (1 + s)) * u, e * ((1 - s) * p - s * y + s * u)
        out[:, t] = y
    return out, y, p


def philox(counter, key):
    """Apply Philox4x32-10 of Salmon et al. (2011) to one counter of four words, word by word."""
    c, k = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c[0], 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c[2], 2**32)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def convolve(x, weights, geometry, groups):
    """Convolve `x` (batch, d, h, w, channels) with `weights` (taps, channels of a group, filters).

    Returns the output (batch, positions, filters), computed in float64, and the number of
    multiply-adds of non-zero inputs, counted one by one for each output.
    """
    size, stride, rate, pad, extent = geometry
    per_group, filters = weights.shape[1], weights.shape[2] // groups
    out = np.zeros((len(x), *extent, weights.shape[2]))
    synops = 0
    for at in np.ndindex(*extent):
        for tap, k in enumerate(np.ndindex(*size)):
            place = np.array(at) * stride + np.array(k) * rate - pad
            if (place < 0).any() or (place >= x.shape[1:4]).any():
                continue
            seen = x[:, place[0], place[1], place[2]].astype(np.float64)
            for group in range(groups):
                own = seen[:, group * per_group : (group + 1) * per_group]
                columns = slice(group * filters, (group + 1) * filters)
                out[:, *at, columns] += own @ weights[tap, :, columns].astype(np.float64)
                synops += np.count_nonzero(own) * filters
    return out.reshape(len(x), int(np.prod(extent)), weights.shape[2]), synops
