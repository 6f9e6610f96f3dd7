"""States of bound layers: fresh in every run, or taken from and returned to the caller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kspike_ref.layers.errors import Array, State
from kspike_ref.layers.stateful import StatefulLayer
from kspike_ref.running.binder import Binder
from kspike_ref.running.plan import Frame


def bind_state(
    binder: Binder, frame: Frame, layer: StatefulLayer, x: Array, index: int | None
) -> Array | None:
    """Bind a layer to memory for its state, which is set before its calls.

    Parameters
    ----------
    binder : Binder
        Records the calls.
    frame : Frame
        The source and destination of states.
    layer : StatefulLayer
        The layer.
    x : ndarray
        Its input.
    index : int or None
        The index of a node that continues from a state, whose memory goes to ``frame.carried``;
        None if every run starts from a fresh state.

    Returns
    -------
    ndarray or None
        The output, or None if the layer records no calls.
    """
    states: Any = frame.states
    start = layer.initial_state(len(x), x.shape) if index is None else states[index]
    if index is None:
        state = tuple(binder.empty(one.shape, np.float64) for one in start)
    else:
        state = tuple(np.array(one, np.float64, order="C") for one in start)
    at = len(binder.calls)
    out = layer.bind_scan(binder, x, state)
    if out is None:
        return None
    if index is not None:
        frame.carried[index] = state
    elif layer.draws_states:
        shape = x.shape
        binder.calls.insert(at, lambda: _refill(state, layer.initial_state(shape[0], shape)))
    else:
        binder.calls[at:at] = [_filling(*pair) for pair in zip(state, start, strict=True)]
    return out


def _refill(state: State, start: State) -> None:
    for own, one in zip(state, start, strict=True):
        own[...] = one


def _filling(state: Array, start: Array) -> Callable[[], None]:
    """Return a call that sets a state to its initial value; repeated rows are stored once."""
    is_repeated = start.ndim > 0 and start.shape[0] > 1 and start.strides[0] == 0
    kept = (start[:1] if is_repeated else start).copy()

    def fill() -> None:
        state[...] = kept

    return fill
