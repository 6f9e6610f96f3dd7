"""Plans that wait for inputs of their kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kspike_ref.kernels.memory import frozen
from kspike_ref.layers.errors import Array
from kspike_ref.running.counts import Counts
from kspike_ref.running.graph import Ref
from kspike_ref.running.once import is_static
from kspike_ref.running.plan import READABLE, Changed, Plan, States
from kspike_ref.running.planner import make_plan
from kspike_ref.running.tasks import Task

Put = Callable[[Sequence[Array]], None]

_KINDS = 16  # of inputs that plans are kept for
_KEPT = 1 << 26  # bytes of buffers of a plan that is kept


class Plans:
    """The plans of a model. Each serves one caller at a time; a second caller gets another one.

    Parameters
    ----------
    tasks : list of Task
        The model's tasks.
    """

    def __init__(self, tasks: list[Task]) -> None:
        self._tasks = tasks
        self._waiting: dict[Any, list[Plan]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"_tasks": self._tasks, "_waiting": {}}

    def waiting(self, inputs: Sequence[Array], ends: Sequence[Ref], streams: bool) -> list[Plan]:
        """Return the plans that wait for inputs of a kind, a list from which one is popped."""
        key = (streams, *ends, *((x.shape, x.dtype, is_static(x)) for x in inputs))
        found = self._waiting.get(key)
        if found is None:
            if len(self._waiting) >= _KINDS:
                self._waiting.clear()
            found = self._waiting[key] = []
        return found

    def run(
        self,
        inputs: Sequence[Array],
        ends: Sequence[Ref],
        put: Put,
        states: States | None = None,
    ) -> tuple[Counts, States]:
        """Run the model.

        Parameters
        ----------
        inputs : sequence of ndarray
            In the types that the model takes.
        ends : sequence of Ref
            The tensors that are wanted.
        put : callable
            Takes the arrays, which it must copy.
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
        waiting = self.waiting(inputs, ends, states is not None)
        steps = [x.shape[1] if is_static(x) else 0 for x in inputs]
        given = [_contiguous(x[:, :1] if n else x) for x, n in zip(inputs, steps, strict=True)]
        plan = made = None
        try:
            plan = waiting.pop()
            made = plan.run(given, states)
        except (IndexError, Changed):  # another one is made; an IndexError of a layer is wrapped
            plan = make_plan(self._tasks, given, steps, ends, states)
            made = plan.first
        put(made)
        counts, after = plan.frame.counts.copy(), plan.frame.after
        plan.clear()
        if plan.nbytes <= _KEPT:
            waiting.append(plan)
        return counts, after


def _contiguous(x: Array) -> Array:
    """Return an array as kernels take it, read-only; copied where its memory layout differs."""
    return frozen(x if x.flags.num & READABLE == READABLE else np.array(x, order="C"))
