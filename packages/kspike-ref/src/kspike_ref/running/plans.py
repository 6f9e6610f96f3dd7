"""A cache of plans by the kind of their inputs, within a limit on memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from threading import RLock
from typing import Any
from weakref import WeakSet

from kspike_ref.layers.errors import Array
from kspike_ref.running.counts import Counts
from kspike_ref.running.graph import Ref
from kspike_ref.running.once import is_static, repeats
from kspike_ref.running.plan import Changed, Plan, States, readable
from kspike_ref.running.planner import make_plan
from kspike_ref.running.tasks import LayerCallError, Task

Put = Callable[[Sequence[Array]], None]

MAX_KINDS = 16  # kinds of inputs for which plans are kept
MAX_BYTES = 1 << 28  # buffers of all idle plans
_FORMS = 64  # known forms of arrays that need no checks


class Kind(list[Plan]):
    """The idle plans for one kind of inputs.

    Parameters
    ----------
    inputs : sequence of ndarray
        Inputs of this kind, in the types that the model takes.
    ends : sequence of Ref
        The tensors to return.
    streams : bool
        Whether a run is a step of a stream.

    Attributes
    ----------
    steps : tuple of int
        For every input, the number of steps it is presented for; 0 if it holds all steps.
    used : int
        The time of the last use: a counter that grows with every use.
    """

    def __init__(self, inputs: Sequence[Array], ends: Sequence[Ref], streams: bool) -> None:
        super().__init__()
        self.ends, self.streams = ends, streams
        self.steps = repeats(inputs)
        self.used = 0


class Plans:
    """The plans of a model. A plan serves one caller at a time; a second caller gets another one.

    Idle plans are kept for at most `MAX_KINDS` kinds, and take at most `MAX_BYTES` in all; a plan
    that needs more than a quarter of that is not kept. Plans of the least recently used kinds are
    dropped first.

    A signal handler may run the model while this thread holds the lock. The lock is therefore
    reentrant, and loops under the lock iterate over copies.

    Parameters
    ----------
    tasks : list of Task
        The model's tasks.
    timed : dict of Ref to bool
        For each output, whether it has a time axis, which a step of a stream leaves out.
    """

    def __init__(self, tasks: list[Task], timed: dict[Ref, bool]) -> None:
        self._tasks, self._timed = tasks, timed
        self._start()

    def _start(self) -> None:
        self._carrying = sum(task.is_carried for task in self._tasks)
        self._kinds: dict[Any, Kind] = {}
        self._forms: dict[Any, Kind] = {}  # by the forms of arrays that need no further checks
        self._clock, self._made = count(1), 0  # number of plans made
        self.renew_lock()
        _all.add(self)

    def renew_lock(self) -> None:
        """Replace the lock: in a forked child, its owner may be a thread that does not exist."""
        self._lock = RLock()

    def __getstate__(self) -> tuple[Any, ...]:
        return self._tasks, self._timed

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._tasks, self._timed = state
        self._start()

    @property
    def nbytes(self) -> int:
        """The size of the buffers of all idle plans, in bytes."""
        return sum(plan.nbytes for kind in list(self._kinds.values()) for plan in kind)

    def kind(self, inputs: Sequence[Array], ends: Sequence[Ref], streams: bool) -> Kind:
        """Return the idle plans for inputs of a kind; arguments as in `Kind`."""
        key = (streams, *ends, *((x.shape, x.dtype, is_static(x)) for x in inputs))
        with self._lock:
            found = self._kinds.get(key)
            if found is None:
                found = self._kinds[key] = Kind(inputs, ends, streams)
            found.used = next(self._clock)
            if len(self._kinds) > MAX_KINDS:
                oldest, dropped = min(list(self._kinds.items()), key=lambda one: one[1].used)
                self._kinds.pop(oldest, None)
                for form, held in list(self._forms.items()):
                    if held is dropped:
                        self._forms.pop(form, None)
        return found

    def run(
        self, kind: Kind, inputs: Sequence[Array], put: Put, states: States | None = None
    ) -> tuple[Counts, States]:
        """Run the model.

        Parameters
        ----------
        kind : Kind
            The kind of the inputs.
        inputs : sequence of ndarray
            In the types that the model takes.
        put : callable
            Called with the resulting arrays, which it must copy.
        states : dict, optional
            The states before a step of a stream.

        Returns
        -------
        tuple
            The counts, and the states after the step.

        Raises
        ------
        LayerCallError
            If a layer does not take its inputs.
        """
        steps, before = kind.steps, self._made
        given = [readable(x[:, :1] if n else x) for x, n in zip(inputs, steps, strict=True)]
        try:
            plan = kind.pop()
            made = plan.run(given, states)
        except (IndexError, Changed):  # make another plan; a layer's IndexError is wrapped
            without_time = [kind.streams and self._timed.get(ref, False) for ref in kind.ends]
            plan = make_plan(self._tasks, given, steps, kind.ends, without_time, states)
            made = plan.first
            self._made += 1
        put(made)
        counts, after = plan.frame.counts.copy(), plan.frame.after
        plan.clear()
        if self._made == before:
            kind.append(plan)
        else:
            self._keep(plan, kind)
        return counts, after

    def once(self, inputs: Sequence[Array], ends: Sequence[Ref]) -> list[Array]:
        """Return tensors, computing only what they need, with a plan that is not kept.

        Parameters
        ----------
        inputs, ends
            As in `run` and `kind`.
        """
        nodes = {ref.node for ref in ends}
        needed: list[Task] = []
        for task in reversed(self._tasks):
            if task.index in nodes:
                nodes.update(ref.node for ref in task.inputs)
                needed.insert(0, task)
        steps = repeats(inputs)
        given = [readable(x[:, :1] if n else x) for x, n in zip(inputs, steps, strict=True)]
        return make_plan(needed, given, steps, ends, [False] * len(ends)).first

    def _keep(self, plan: Plan, kind: Kind) -> None:
        """Keep an idle plan; drop plans of the least recently used kinds beyond the limit."""
        if plan.nbytes > MAX_BYTES // 4:
            return
        with self._lock:
            kind.append(plan)
            excess = self.nbytes - MAX_BYTES
            if excess > 0:
                for oldest in sorted(self._kinds.values(), key=lambda one: one.used):
                    while oldest and excess > 0:
                        with suppress(IndexError):  # another thread took the last one
                            excess -= oldest.pop(0).nbytes

    def remember(self, form: Any, kind: Kind) -> None:
        """Record that arrays of some form need no further checks.

        Parameters
        ----------
        form : tuple
            The argument of `repeat`: shape, type, and time steps or "step".
        kind : Kind
            The kind of the only input, after the checks.
        """
        with self._lock:
            last = next(iter(kind[-1:]), None)  # `run` takes plans without the lock
            if last is None or (kind.streams and len(last.frame.carried) < self._carrying):
                return  # states of layers that are not bound are checked at every step
            if len(self._forms) >= _FORMS:
                self._forms.clear()
            self._forms[form] = kind
            if not any(one is kind for one in list(self._kinds.values())):  # dropped meanwhile
                self._forms.pop(form, None)

    def repeat(
        self, form: Any, x: Array, states: States | None = None
    ) -> tuple[list[Array], Counts, States] | None:
        """Run the model on an array of a form that `remember` recorded.

        Parameters
        ----------
        form : tuple
            As in `remember`.
        x : ndarray
            The only input.
        states : dict, optional
            The states before a step of a stream.

        Returns
        -------
        tuple or None
            Outputs, counts and states; None if `run` is needed.
        """
        kind, before = self._forms.get(form), self._made
        if not kind:
            return None
        try:
            plan = kind.pop()
            outputs = [y.copy() for y in plan.repeat(x, states)]
        except (IndexError, Changed, LayerCallError):  # `run` reports the cause
            return None
        counts, after = plan.frame.counts.copy(), plan.frame.after
        plan.clear()
        kind.used = next(self._clock)
        if self._made == before:
            kind.append(plan)
        else:
            self._keep(plan, kind)
        return outputs, counts, after


_all: WeakSet[Plans] = WeakSet()


def _renew_locks() -> None:
    for plans in _all:
        plans.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
