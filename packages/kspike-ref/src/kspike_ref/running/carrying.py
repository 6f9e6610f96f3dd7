"""States of bound layers: each run starts from fresh ones, or goes on from those of a caller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kspike_ref.kernels.checks import FLOAT64
from kspike_ref.layers.base import Array, State, StatefulLayer
from kspike_ref.running.binder import Binder
from kspike_ref.running.plan import Changed, Frame


def bind_state(
    binder: Binder, frame: Frame, layer: StatefulLayer, x: Array, index: int | None
) -> Array | None:
    """Bind a layer with memory for its state, which is set before its calls.

    Parameters
    ----------
    binder : Binder
        Takes the calls.
    frame : Frame
        Where states come from and go to.
    layer : StatefulLayer
        The layer.
    x : ndarray
        Its input.
    index : int or None
        The node that goes on from a state; None if each run starts anew.

    Returns
    -------
    ndarray or None
        The output; None if the layer records no calls.
    """
    states: Any = frame.states
    start = layer.initial_state(len(x), x.shape) if index is None else states[index]
    state = tuple(np.array(one, np.float64, order="C") for one in start)
    at = len(binder.calls)
    out = layer.bind_scan(binder, x, state)
    if out is None:
        return None
    if index is not None:
        binder.calls.insert(at, _resuming(frame, index, state))
        binder.calls.append(_leaving(frame, index, state))
    elif layer.draws_states:
        shape = x.shape
        binder.calls.insert(at, lambda: _refill(state, layer.initial_state(shape[0], shape)))
    else:
        binder.calls[at:at] = [_filling(*pair) for pair in zip(state, start, strict=True)]
    return out


def _resuming(frame: Frame, index: int, state: State) -> Callable[[], None]:
    """Return a call that copies the state of a step before, or raises `Changed`."""
    count, pairs = len(state), [(i, own, own.shape) for i, own in enumerate(state)]

    def resume() -> None:
        given = frame.states.get(index)  # type: ignore[union-attr]
        if type(given) is not tuple or len(given) != count:
            raise Changed
        for i, own, shape in pairs:
            one = given[i]
            if type(one) is not np.ndarray or one.dtype is not FLOAT64 or one.shape != shape:
                raise Changed
            own[...] = one

    return resume


def _leaving(frame: Frame, index: int, state: State) -> Callable[[], None]:
    """Return a call that copies the state after a step for the caller."""
    if len(state) > 1:
        return lambda: frame.after.__setitem__(index, tuple([one.copy() for one in state]))
    (own,) = state  # as nearly always

    def leave() -> None:
        frame.after[index] = (own.copy(),)

    return leave


def _refill(state: State, start: State) -> None:
    for own, one in zip(state, start, strict=True):
        own[...] = one


def _filling(state: Array, start: Array) -> Callable[[], None]:
    """Return a call that sets a state to its start, of which equal rows are kept once."""
    is_repeated = start.ndim > 0 and start.shape[0] > 1 and start.strides[0] == 0
    kept = (start[:1] if is_repeated else start).copy()

    def fill() -> None:
        state[...] = kept

    return fill
