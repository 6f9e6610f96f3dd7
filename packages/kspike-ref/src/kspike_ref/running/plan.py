"""A graph as a list of calls on buffers, for inputs of one kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kspike_ref.layers.errors import Array, State
from kspike_ref.running import interrupt
from kspike_ref.running.graph import Ref
from kspike_ref.running.once import Tensor

States = dict[int, State]

READABLE = 0x101  # of NumPy's array flags: C-contiguous and aligned


class Changed(Exception):  # noqa: N818 (no error: the plan is made anew)
    """Says that an array is of another kind than in the first run."""


@dataclass
class Frame:
    """What the calls of a plan share and change.

    Attributes
    ----------
    counts : (nodes, FIELDS) ndarray of int64
        The operations and events of the run.
    values : list of ndarray
        Arrays that differ from run to run: the inputs first.
    masks : dict of Ref to ndarray
        The masks of tensors that carry one.
    states, after : dict
        The states before and after a step of a stream, of the nodes that carry one. Without
        states, all steps run from fresh ones.
    """

    counts: NDArray[np.int64]
    values: list[Any]
    masks: dict[Ref, Any] = field(default_factory=dict)
    states: States | None = None
    after: States = field(default_factory=dict)


class Plan:
    """The calls that a graph takes for inputs of one kind, and their memory.

    A plan serves one caller at a time. What a run returns is overwritten by the next run.

    Parameters
    ----------
    frame : Frame
        As the calls left it when they first ran.
    calls : sequence of callable
        What to call, in order.
    inputs : sequence of ndarray
        Those of the first run.
    ends : sequence of Tensor
        The tensors to return.
    nbytes : int
        The memory of all buffers.
    checks_states : bool
        Whether the calls raise `Changed` for states of other shapes or types.

    Attributes
    ----------
    first : list of ndarray
        What the first run made.
    """

    def __init__(
        self,
        frame: Frame,
        calls: Sequence[Callable[[], Any]],
        inputs: Sequence[Array],
        ends: Sequence[Tensor],
        nbytes: int,
        checks_states: bool,
    ) -> None:
        self.frame, self.nbytes, self.checks_states = frame, nbytes, checks_states
        self._calls = list(calls)
        self._inputs = [(i, x.dtype, x.shape) for i, x in enumerate(inputs)]
        self._ends = ends
        is_own = all(t.slot is None and not t.steps and not t.folded for t in ends)
        self._own_ends = [tensor.array for tensor in ends] if is_own else []
        self._nothing = [None] * len(frame.values)
        self.first = self._made()

    def run(self, inputs: Sequence[Array], states: States | None = None) -> list[Array]:
        """Run the calls on inputs of the plan's kind, which are read-only.

        Raises
        ------
        LayerCallError
            If a layer does not take its inputs.
        Changed
            If an input or a state is of another kind than in the first run, or a layer made another
            kind of output; the plan is of no use then.
        """
        frame = self.frame
        for i, dtype, shape in self._inputs:
            x = inputs[i]
            if x.dtype is not dtype or x.shape != shape or x.flags.num & READABLE != READABLE:
                raise Changed
            frame.values[i] = x
        frame.states, frame.after = states, {}
        stop = interrupt.current()
        if stop is None:
            for call in self._calls:
                call()
        else:
            for call in self._calls:
                call()
                interrupt.check(stop)
        return self._own_ends or self._made()

    def clear(self) -> None:
        """Let go of all arrays that are not the plan's own."""
        frame = self.frame
        frame.values[:] = self._nothing
        frame.masks.clear()
        frame.states = None
        self.first = []

    def _made(self) -> list[Array]:
        return [tensor.full(self.frame.values) for tensor in self._ends]
