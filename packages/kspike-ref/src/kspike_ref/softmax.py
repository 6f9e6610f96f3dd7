"""Activation functions along an axis: softmax, log-softmax and sparsemax."""

from __future__ import annotations

import numpy as np

from kspike_ref.kernels import softmax as loops
from kspike_ref.kernels.memory import frozen
from kspike_ref.signals import Floats

Out = Floats | None


def into(values: Floats, out: Out) -> Floats:
    """Return ``values``, copied into ``out`` if that is an array."""
    if out is None:
        return values
    out[...] = values
    return out


def softmax(x: Floats, axis: int | tuple[int, ...] = -1, out: Out = None) -> Floats:
    """eˣ, divided by its sum along an axis."""
    if is_last(axis, x.ndim) and has_short_rows(x):
        made = np.empty(x.shape, x.dtype) if out is None else out
        if out is None or _fits(out, x):
            columns = x.shape[-1]
            loops.softmax(frozen(x.reshape(-1, columns)), made.reshape(-1, columns))
            return made
    y = np.subtract(x, x.max(axis=axis, keepdims=True, initial=-np.inf), out=out)
    np.exp(y, out=y)
    y /= y.sum(axis=axis, keepdims=True)
    return y


def is_last(axis: int | tuple[int, ...], rank: int) -> bool:
    """Return whether an axis, or the only one of several, is the last one of ``rank`` axes."""
    return axis in (-1, rank - 1, (-1,), (rank - 1,))


def has_short_rows(x: Floats) -> bool:
    """Return whether the compiled loops take an array."""
    return (
        type(x) is np.ndarray
        and x.dtype.char in "fd"
        and x.dtype.isnative
        and x.size > 0
        and x.ndim > 0
        and x.shape[-1] <= loops.LONGEST
        and x.flags.c_contiguous
        and x.flags.aligned
    )


def _fits(out: Floats, x: Floats) -> bool:
    """Return whether the compiled loops write to ``out``, which may be ``x`` itself."""
    return (
        type(out) is np.ndarray
        and out.dtype is x.dtype
        and out.shape == x.shape
        and (out is x or not np.may_share_memory(out, x))
        and out.flags.carray
    )


def log_softmax(x: Floats, axis: int = -1, out: Out = None) -> Floats:
    """log(softmax(x))."""
    y = np.subtract(x, x.max(axis=axis, keepdims=True, initial=-np.inf), out=out)
    y -= np.log(np.exp(y).sum(axis=axis, keepdims=True))
    return y


def sparsemax(x: Floats, axis: int = -1, out: Out = None) -> Floats:
    """Return max(x − τ, 0), with τ as Keras 3 computes it.

    Martins and Astudillo (2016, algorithm 1) use τ = (S − 1)/k, with k the size of the support and
    S the sum of its k largest values, so that the result adds up to 1. Keras (3.15) adds up all
    partial sums of the support instead, so its result adds up to less. Models are trained with it.
    """
    z = np.moveaxis(x, axis, -1)
    descending = -np.sort(-z, axis=-1)
    partial = descending.cumsum(axis=-1)
    support = descending - (partial - 1) / np.arange(1, z.shape[-1] + 1, dtype=x.dtype) > 0
    total = np.where(support, partial, 0).sum(axis=-1, keepdims=True, dtype=x.dtype)
    with np.errstate(divide="ignore", invalid="ignore"):  # empty support where x lacks precision
        tau = (total - 1) / support.sum(axis=-1, keepdims=True, dtype=x.dtype)
    return into(np.moveaxis(np.maximum(z - tau, 0), -1, axis), out)
