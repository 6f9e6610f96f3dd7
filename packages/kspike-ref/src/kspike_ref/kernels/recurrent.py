"""Loops over time of recurrent layers: SimpleRNN, LSTM and both forms of GRU.

Every loop takes ``projected``, the contributions of the inputs at some steps, multiplies the state
by packed matrices (see `kernels.matmul`), and applies the activations in place. An example has the
same bits in any batch, and the steps may be split into calls anywhere. Where the compiler could
choose which of two products to fuse, products and sums of gates are in separate loops.

``functions`` are numbers from `kernels.activations`. ``mask`` is ``(rows, steps)``; a step where it
is False leaves the state unchanged and outputs it. ``span`` is the range of the steps of ``mask``
and ``out`` that a call computes: the first, and the one after the last.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kspike_ref.kernels import activations, checks, inlined, kernel
from kspike_ref.kernels.activations import activate
from kspike_ref.kernels.matmul import multiply_loop, packed_size, panel_width

Array = Any
Functions = tuple[int, int]  # of the gates, and of the candidate
Span = tuple[int, int]

_PANEL = 4 * panel_width(np.float32)  # bytes per row of a panel
_BOOL = np.dtype(bool)


@inlined
def add_product(x: Array, packed: Array, out: Array) -> None:
    """Add a product with a packed matrix to ``out``."""
    multiply_loop(x, packed, _PANEL // out.itemsize, out)


@kernel
def copy(source: Array, target: Array) -> None:
    """Copy a row. The loop compiles in a fraction of the time of ``target[:] =``."""
    for i in range(source.size):
        target[i] = source[i]


@kernel
def clear(values: Array) -> None:
    """Set a matrix to zero."""
    for row in range(values.shape[0]):
        for i in range(values.shape[1]):
            values[row, i] = 0


@kernel
def copy_step(projected: Array, t: int, out: Array) -> None:
    """Copy the contributions of one step."""
    for row in range(out.shape[0]):
        copy(projected[row, t], out[row])


@kernel
def simple_rnn_loop(
    projected: Array, packed: Array, function: int, mask: Array, span: Span, h: Array, out: Array
) -> None:
    """Compute ``h ← f(x + h·U)``."""
    rows, units = h.shape
    z = np.empty((rows, units), out.dtype)
    for t in range(span[0], span[1]):
        copy_step(projected, t - span[0], z)
        add_product(h, packed, z)
        activate(z.reshape(-1), function)
        for row in range(rows):
            if mask[row, t]:
                copy(z[row], h[row])
            copy(h[row], out[row, t])


@kernel
def lstm_loop(
    projected: Array, packed: Array, functions: Functions, mask: Array, span: Span, h: Array,
    carry: Array, out: Array,
) -> None:  # fmt: skip
    """Compute ``c ← σ(f)·c + σ(i)·g(c̃)`` and ``h ← σ(o)·g(c)``; i, f, c̃, o are ``x + h·U``."""
    rows, units = h.shape
    gate, candidate = functions
    z, new = np.empty((rows, 4 * units), out.dtype), np.empty((rows, units), out.dtype)
    for t in range(span[0], span[1]):
        copy_step(projected, t - span[0], z)
        add_product(h, packed, z)
        for row in range(rows):
            copy(z[row, 2 * units : 3 * units], new[row])
        # Activate all examples and gates at once, even the candidate: long loops cost less.
        activate(new.reshape(-1), candidate)
        activate(z.reshape(-1), gate)
        for row in range(rows):
            if mask[row, t]:
                renew_carry(z[row], new[row], carry[row])
        activate(new.reshape(-1), candidate)
        for row in range(rows):
            if mask[row, t]:
                leaves = z[row, 3 * units :]
                for i in range(units):
                    h[row, i] = leaves[i] * new[row, i]
            copy(h[row], out[row, t])


@kernel
def renew_carry(gates: Array, new: Array, carry: Array) -> None:
    """Compute ``c ← f·c + i·new`` of one example, and set ``new`` to the result."""
    stays = gates[new.size :]
    for i in range(new.size):
        new[i] *= gates[i]
    for i in range(new.size):
        carry[i] = stays[i] * carry[i] + new[i]
        new[i] = carry[i]


@kernel
def gru_loop(
    projected: Array, packed: Array, bias: Array, functions: Functions, mask: Array, span: Span,
    h: Array, out: Array,
) -> None:  # fmt: skip
    """Compute ``h ← z·h + (1 − z)·g(x + r·(h·U + b))``: the reset gate acts after the product."""
    rows, units = h.shape
    gate, candidate = functions
    inner = np.empty((rows, 3 * units), out.dtype)
    for t in range(span[0], span[1]):
        for row in range(rows):
            copy(bias, inner[row])
        add_product(h, packed, inner)
        for row in range(rows):
            if mask[row, t]:
                x, z = projected[row, t - span[0]], inner[row]
                reset, new = z[units : 2 * units], z[2 * units :]
                for i in range(2 * units):
                    z[i] += x[i]
                activate(z[: 2 * units], gate)
                for i in range(units):
                    new[i] = x[2 * units + i] + reset[i] * new[i]
                activate(new, candidate)
                blend(z[:units], new, h[row])
            copy(h[row], out[row, t])


@kernel
def gru_reset_before_loop(
    projected: Array, gates: Array, candidates: Array, functions: Functions, mask: Array,
    span: Span, h: Array, out: Array,
) -> None:  # fmt: skip
    """Compute ``h ← z·h + (1 − z)·g(x + (r·h)·U)``: the reset gate acts before the product."""
    rows, units = h.shape
    gate, candidate = functions
    z, kept = np.empty((rows, 2 * units), out.dtype), np.empty((rows, units), out.dtype)
    new = np.empty((rows, units), out.dtype)
    for t in range(span[0], span[1]):
        x = projected[:, t - span[0]]
        clear(z)
        add_product(h, gates, z)
        for row in range(rows):
            for i in range(2 * units):
                z[row, i] += x[row, i]
            activate(z[row], gate)
            for i in range(units):
                kept[row, i] = z[row, units + i] * h[row, i]
        clear(new)
        add_product(kept, candidates, new)
        for row in range(rows):
            if mask[row, t]:
                for i in range(units):
                    new[row, i] += x[row, 2 * units + i]
                activate(new[row], candidate)
                blend(z[row, :units], new[row], h[row])
            copy(h[row], out[row, t])


@kernel
def blend(share: Array, new: Array, h: Array) -> None:
    """Compute ``h ← z·h + (1 − z)·new``; ``new`` is overwritten."""
    for i in range(h.size):
        new[i] *= 1 - share[i]
    for i in range(h.size):
        h[i] = share[i] * h[i] + new[i]


def simple_rnn(
    projected: Array, packed: Array, functions: Functions, mask: Array, span: Span, h: Array,
    out: Array,
) -> None:  # fmt: skip
    """Run a SimpleRNN over some steps.

    Parameters
    ----------
    projected : (rows, last − first, units) ndarray
        ``x·W + b`` of the steps in ``span``; float32 or float64, like all float arrays here.
    packed : ndarray
        `matmul.pack` of the recurrent matrix, ``(units, units)``.
    functions : tuple of int
        Only the second is used; there are no gates.
    mask : (rows, steps) ndarray
        Bools.
    span : tuple of int
        The first step, and the one after the last.
    h : (rows, units) ndarray
        The state; updated.
    out : (rows, steps, units) ndarray
        Filled within ``span``.
    """
    dtype, units = _check(projected, functions, mask, span, h, out, 1)
    checks.read("packed", packed, dtype, (packed_size(units, units, dtype),))
    simple_rnn_loop(projected, packed, functions[1], mask, span, h, out)


def lstm(
    projected: Array, packed: Array, functions: Functions, mask: Array, span: Span, h: Array,
    carry: Array, out: Array,
) -> None:  # fmt: skip
    """Run an LSTM over some steps; other arguments as in `simple_rnn`.

    Parameters
    ----------
    projected : (rows, last − first, 4·units) ndarray
        Of the gates i and f, the candidate, and the gate o.
    packed : ndarray
        `matmul.pack` of the recurrent matrix, ``(units, 4·units)``.
    carry : (rows, units) ndarray
        The second state; updated.
    """
    dtype, units = _check(projected, functions, mask, span, h, out, 4)
    checks.read("packed", packed, dtype, (packed_size(units, 4 * units, dtype),))
    checks.write("carry", carry, dtype, (len(out), units))
    lstm_loop(projected, packed, functions, mask, span, h, carry, out)


def gru(
    projected: Array, packed: Array, bias: Array, functions: Functions, mask: Array, span: Span,
    h: Array, out: Array,
) -> None:  # fmt: skip
    """Run a GRU whose reset gate acts after the product; other arguments as in `simple_rnn`.

    Parameters
    ----------
    projected : (rows, last − first, 3·units) ndarray
        Of the gates z and r, and the candidate.
    packed : ndarray
        `matmul.pack` of the recurrent matrix, ``(units, 3·units)``.
    bias : (3·units,) ndarray
        Added to the recurrent product.
    """
    dtype, units = _check(projected, functions, mask, span, h, out, 3)
    checks.read("packed", packed, dtype, (packed_size(units, 3 * units, dtype),))
    checks.read("bias", bias, dtype, (3 * units,))
    gru_loop(projected, packed, bias, functions, mask, span, h, out)


def gru_reset_before(
    projected: Array, gates: Array, candidates: Array, functions: Functions, mask: Array,
    span: Span, h: Array, out: Array,
) -> None:  # fmt: skip
    """Run a GRU whose reset gate acts before the product; other arguments as in `simple_rnn`.

    Parameters
    ----------
    projected : (rows, last − first, 3·units) ndarray
        Of the gates z and r, and the candidate.
    gates, candidates : ndarray
        `matmul.pack` of the first ``2·units`` columns of the recurrent matrix, and of the others.
    """
    dtype, units = _check(projected, functions, mask, span, h, out, 3)
    checks.read("gates", gates, dtype, (packed_size(units, 2 * units, dtype),))
    checks.read("candidates", candidates, dtype, (packed_size(units, units, dtype),))
    gru_reset_before_loop(projected, gates, candidates, functions, mask, span, h, out)


def _check(
    projected: Array, functions: Functions, mask: Array, span: Span, h: Array, out: Array,
    width: int,
) -> tuple[Any, int]:  # fmt: skip
    """Check the arguments of all loops; return the type of the floats and the number of units."""
    dtype = checks.floats("out", out, 3, checks.WRITE)
    rows, steps, units = out.shape
    checks.write("h", h, dtype, (rows, units))
    checks.read("mask", mask, _BOOL, (rows, steps))
    for name, pair in (("functions", functions), ("span", span)):
        if type(pair) is not tuple or len(pair) != 2:
            raise TypeError(f"{name} must be two numbers. Received: {pair!r}")
    checks.between("span", span[0], span[1], steps)
    checks.read("projected", projected, dtype, (rows, span[1] - span[0], width * units))
    for function in functions:
        if checks.integer("functions", function) >= activations.COUNT:
            raise ValueError(f"functions must be below {activations.COUNT}. Received: {functions}")
    return dtype, units
