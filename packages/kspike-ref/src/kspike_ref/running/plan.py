"""Plans: a graph as a list of calls on buffers, for inputs of one kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kspike_ref.kernels.checks import FLOAT64
from kspike_ref.kernels.memory import frozen
from kspike_ref.layers.errors import Array, State
from kspike_ref.running import interrupt
from kspike_ref.running.graph import Ref
from kspike_ref.running.once import Tensor

States = dict[int, State]

READABLE = 0x101  # of NumPy's array flags: C-contiguous and aligned
_WRITABLE = 0x400


class Changed(Exception):  # noqa: N818 (not an error: another plan is made)
    """Raised if an array is of another kind than in the first run: the plan does not fit."""


@dataclass
class Frame:
    """The data that the calls of a plan share and change.

    Attributes
    ----------
    counts : (nodes, FIELDS) ndarray of int64
        The operations and events of the run.
    values : list of ndarray
        Arrays that differ from run to run, inputs first.
    masks : dict of Ref to ndarray
        The masks of tensors that carry one.
    states, after : dict
        The states before and after a step of a stream, by node. Without ``states``, all steps run
        from fresh states.
    carried : dict of int to tuple of ndarray
        The memory from which bound calls read these states, and to which they write them.
    """

    counts: NDArray[np.int64]
    values: list[Any]
    masks: dict[Ref, Any] = field(default_factory=dict)
    states: States | None = None
    after: States = field(default_factory=dict)
    carried: States = field(default_factory=dict)


class Plan:
    """The calls that compute a graph for inputs of one kind, and their memory.

    A plan serves one caller at a time. A run overwrites the results of the previous run.

    Parameters
    ----------
    frame : Frame
        The data after the first run of the calls.
    calls : sequence of callable
        The calls, in order.
    inputs : sequence of ndarray
        The inputs of the first run.
    owned : sequence of ndarray or None
        The memory to which inputs are copied; None for an input that calls take from the frame.
    ends : sequence of Tensor
        The tensors to return.
    without_time : sequence of bool
        Whether to return a tensor without axis 1, a time axis of one step; one value per tensor.
    nbytes : int
        The memory of all buffers.

    Attributes
    ----------
    first : list of ndarray
        The results of the first run.
    """

    def __init__(
        self,
        frame: Frame,
        calls: Sequence[Callable[[], Any]],
        inputs: Sequence[Array],
        owned: Sequence[Array | None],
        ends: Sequence[Tensor],
        without_time: Sequence[bool],
        nbytes: int,
    ) -> None:
        self.frame, self.nbytes = frame, nbytes
        self._calls = list(calls)
        self._inputs = [(x.shape, x.dtype, own) for x, own in zip(inputs, owned, strict=True)]
        self._carried = [
            (index, place, len(memory), own, own.shape)
            for index, memory in frame.carried.items()
            for place, own in enumerate(memory)
        ]
        self._carrying = len(frame.carried)
        self._leave_states()
        self._entry = np.empty(0)  # the only input's memory, in the last argument's shape
        self._ends = list(zip(ends, without_time, strict=True))
        self._own_ends: list[Array] = []
        self.first = self._made()
        if all(t.slot is None and not t.steps and not t.folded for t in ends):
            self._own_ends = self.first

    def run(self, inputs: Sequence[Array], states: States | None = None) -> list[Array]:
        """Run the calls on read-only inputs of the plan's kind.

        Raises
        ------
        LayerCallError
            If a layer does not take its inputs.
        Changed
            If an input or a state is of another kind than in the first run, or a layer returned
            another kind of output; the plan must be discarded then.
        """
        for i, (shape, dtype, own) in enumerate(self._inputs):
            x = inputs[i]
            if own is not None:
                own[...] = x
                continue
            if x.dtype is not dtype or x.shape != shape or x.flags.num & READABLE != READABLE:
                raise Changed
            self.frame.values[i] = x
        return self._run(states)

    def repeat(self, x: Array, states: States | None = None) -> list[Array]:
        """Run the calls on the only input, which may lack a time axis of one step; see `run`."""
        ((shape, _, own),) = self._inputs
        if states is not None and (type(states) is not dict or len(states) != self._carrying):
            raise Changed
        if own is None:
            return self.run([readable(x.reshape(shape))], states)
        if self._entry.shape != x.shape:
            self._entry = own.reshape(x.shape)
        self._entry[...] = x
        return self._run(states)

    def clear(self) -> None:
        """Release all arrays that do not belong to the plan."""
        frame = self.frame
        frame.values[:] = [None] * len(frame.values)
        frame.masks.clear()
        frame.states = None
        self.first = []

    def _run(self, states: States | None) -> list[Array]:
        if states is not None:
            self._take_states(states)
        stop = interrupt.current()
        if stop is None:
            for call in self._calls:
                call()
        else:
            for call in self._calls:
                call()
                interrupt.check(stop)
        if states is not None:
            self._leave_states()
        return self._own_ends or self._made()

    def _take_states(self, states: States) -> None:
        """Copy the states of the previous step to the memory of bound calls."""
        frame = self.frame
        frame.states, frame.after = states, {}
        for index, place, count, own, shape in self._carried:
            given = states.get(index)
            if type(given) is not tuple or len(given) != count:
                raise Changed
            one = given[place]
            if type(one) is not np.ndarray or one.dtype is not FLOAT64 or one.shape != shape:
                raise Changed
            own[...] = one

    def _leave_states(self) -> None:
        """Copy the states from the memory of bound calls, for the caller."""
        after = self.frame.after
        for index, memory in self.frame.carried.items():
            if len(memory) == 1:  # the usual case
                after[index] = (memory[0].copy(),)
            else:
                after[index] = tuple([own.copy() for own in memory])

    def _made(self) -> list[Array]:
        values = self.frame.values
        return [
            tensor.full(values)[:, 0] if is_without else tensor.full(values)
            for tensor, is_without in self._ends
        ]


def readable(x: Array) -> Array:
    """Return a read-only array in the memory layout of kernels; copy it if its layout differs."""
    flags = x.flags.num
    if flags & READABLE != READABLE:
        return frozen(np.array(x, order="C"))
    return frozen(x) if flags & _WRITABLE else x
