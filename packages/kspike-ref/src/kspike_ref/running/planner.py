"""Construction of plans: layers are bound one after another, or their calls recorded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import numpy as np

from kspike_ref.kernels.memory import frozen
from kspike_ref.layers.base import Layer
from kspike_ref.layers.errors import Array
from kspike_ref.layers.stateful import StatefulLayer
from kspike_ref.layers.wrapper import Fold, Unfold
from kspike_ref.running import interrupt
from kspike_ref.running.binder import Binder
from kspike_ref.running.carrying import bind_state
from kspike_ref.running.counts import FIELDS, Tally
from kspike_ref.running.graph import Ref, flat_arguments, is_flat, substitute
from kspike_ref.running.masking import call_masked
from kspike_ref.running.once import Spread, Tensor, narrowed, spread
from kspike_ref.running.plan import READABLE, Changed, Frame, Plan, States
from kspike_ref.running.tasks import LayerCallError, Task, is_of_inputs

# The largest input, in bytes, that is copied to the plan's own memory: the arguments of calls are
# then fixed in advance, which saves more than the copy costs.
_COPIED = 1 << 14


def make_plan(
    tasks: Sequence[Task],
    inputs: Sequence[Array],
    steps: Sequence[int],
    ends: Sequence[Ref],
    without_time: Sequence[bool],
    states: States | None = None,
) -> Plan:
    """Make the plan of a graph by running the graph for the first time.

    Parameters
    ----------
    tasks : sequence of Task
        The graph's tasks.
    inputs : sequence of ndarray
        C-contiguous, aligned and read-only; one step if an input is the same at all steps.
    steps : sequence of int
        For every input, the number of steps it stands for; 0 if it holds all steps.
    ends : sequence of Ref
        The tensors to return.
    without_time : sequence of bool
        Whether to return a tensor without axis 1, a time axis of one step; one value per tensor.
    states : dict, optional
        The states of the nodes that carry one, before a step of a stream.

    Raises
    ------
    LayerCallError
        If a layer does not take its inputs.
    """
    frame = Frame(
        np.zeros((tasks[-1].index + 1 if tasks else 0, FIELDS), np.int64),
        list(inputs),
        states=states,
    )
    planner = _Planner(frame, steps, set(ends))
    stop = interrupt.current()
    for task in tasks:
        interrupt.check(stop)
        planner.add(task)
    return planner.plan(inputs, ends, without_time)


class _Planner:
    """A plan under construction.

    Parameters
    ----------
    frame : Frame
        Holds the inputs.
    steps : sequence of int
        As in `make_plan`.
    kept : set of Ref
        The tensors whose memory is not reused.
    """

    def __init__(self, frame: Frame, steps: Sequence[int], kept: set[Ref]) -> None:
        self._frame, self._kept = frame, kept
        self._is_stream = frame.states is not None
        self._binder = Binder(frame.values)
        self._alive: dict[Ref, Tensor] = {}
        self._passing: list[Tensor] = []  # different arrays in every run
        self._inputs = len(frame.values)
        pairs = zip(frame.values, steps, strict=True)
        self._owned = [self._own_input(i, x, count) for i, (x, count) in enumerate(pairs)]

    def _own_input(self, i: int, x: Array, steps: int) -> Array | None:
        """Register an input; return the memory that it is copied to, or None."""
        if x.nbytes > _COPIED or x.dtype.kind == "O":
            self._binder.enter(i, x)
            self._enter(Ref(i, 0), Tensor(x, i, (), steps))
            return None
        own = self._binder.empty(x.shape, x.dtype)
        own[...] = x
        self._enter(Ref(i, 0), self._output(own, steps, 0))
        self._binder.end()
        return own

    def plan(
        self, inputs: Sequence[Array], ends: Sequence[Ref], without_time: Sequence[bool]
    ) -> Plan:
        """Return the plan of the tasks that were added."""
        tensors = [self._alive[ref] for ref in ends]
        for tensor in self._passing:
            tensor.array = None  # releases the first caller's array
        self._binder.finish()
        calls, states = self._binder.calls, self._frame.carried.values()
        nbytes = self._binder.nbytes + sum(own.nbytes for memory in states for own in memory)
        return Plan(self._frame, calls, inputs, self._owned, tensors, without_time, nbytes)

    def add(self, task: Task) -> None:
        """Bind a task or record its call, and run it for the first time."""
        given = [self._alive[ref] for ref in task.inputs]
        dying = [ref for ref in task.frees if ref not in self._kept]
        try:
            made = self._bound(task, given, dying) or self._recorded(task, given)
        except Exception as error:
            if is_of_inputs(error):
                raise LayerCallError(task.node, error) from error
            raise
        for ref, tensor in zip(task.outputs, made, strict=False):
            self._enter(ref, tensor)
        self._binder.end()
        dead = [self._alive.pop(ref) for ref in dying]
        for buffer in (buffer for tensor in dead for buffer in tensor.buffers):
            buffer.users -= 1
        slots = [t.slot for t in dead if t.slot is not None and t.slot >= self._inputs]
        if slots:
            self._record(partial(_forget, self._frame.values, slots))

    def _enter(self, ref: Ref, tensor: Tensor) -> None:
        self._alive[ref] = tensor
        if tensor.slot is not None:
            self._passing.append(tensor)
        for buffer in tensor.buffers:
            buffer.users += 1

    def _record(self, call: Callable[[], None]) -> None:
        """Record a call and run it for the first time."""
        self._binder.calls.append(call)
        call()

    def _bound(
        self, task: Task, given: Sequence[Tensor], dying: Collection[Ref]
    ) -> list[Tensor] | None:
        """Bind a layer that records its own calls and return its output; None for other layers."""
        layer, binder = task.node.layer, self._binder
        if task.is_masked or not task.is_plain or not _binds(layer):
            return None
        found = spread(task, given, self._is_stream)
        if found is None or not all(_takes(layer, tensor.array) for tensor in given):
            return None
        arguments = substitute(task.node.arguments, lambda ref: self._alive[ref].array)
        spreads = task.is_stateful or layer.broadcasts
        steps = max(tensor.steps for tensor in given) or 1 if spreads else 1
        tally = Tally(task.takes_spikes, self._frame.counts[task.index])
        last = {id(self._alive[ref].array) for ref in dying}
        binder.begin(tally, steps, found.is_step, last)
        before = len(binder.calls)
        if isinstance(layer, Fold | Unfold):
            out: Any = _refolded(binder, layer, given)
        elif isinstance(layer, StatefulLayer):
            out = self._bound_scan(task, layer, arguments)
        else:
            out = layer.bind(binder, *arguments)
        if out is None:
            return None
        for call in binder.calls[before:]:
            call()
        return [self._output(out, 0 if task.is_stateful else found.steps, found.folded)]

    def _bound_scan(self, task: Task, layer: StatefulLayer, arguments: Sequence[Any]) -> Any:
        """Bind a layer with a state; return its output, or None."""
        if len(arguments) != 1:
            return None
        index = task.index if self._is_stream and task.is_carried else None
        return bind_state(self._binder, self._frame, layer, arguments[0], index)

    def _output(self, out: Array, steps: int, folded: int) -> Tensor:
        """Return the output of a bound layer as a tensor."""
        source = self._binder.source_of(out)
        if source is None:
            buffer = self._binder.buffer_of(out)
            return Tensor(frozen(out), None, () if buffer is None else (buffer,), steps, folded)
        old, shape = source
        values, slot = self._frame.values, len(self._frame.values)

        def reshape() -> None:
            values[slot] = values[old] if shape is None else values[old].reshape(shape)

        values.append(None)
        self._record(reshape)
        self._binder.enter(slot, values[slot])
        return Tensor(values[slot], slot, (), steps, folded)

    def _recorded(self, task: Task, given: Sequence[Tensor]) -> list[Tensor]:
        """Call a layer that was not bound, record the call, and return its outputs."""
        compute, steps, folded = self._call(task, given)
        made = _listed(compute())
        # An output may be a view of an input, whose memory must not be reused meanwhile.
        buffers = tuple({id(b): b for tensor in given for b in tensor.buffers}.values())
        if task.is_masked:
            for buffer in buffers:
                buffer.users += 1  # and so may a mask
        values, tensors, kinds = self._frame.values, [], []
        for y in made:
            narrow, length = narrowed(y)
            tensors.append(Tensor(narrow, len(values), buffers, length or steps, folded))
            kinds.append((len(values), _kind(narrow), length))
            if isinstance(narrow, np.ndarray):
                self._binder.enter(len(values), narrow)
            values.append(narrow)
        self._binder.calls.append(partial(_run, task, compute, values, kinds))
        return tensors

    def _call(self, task: Task, given: Sequence[Tensor]) -> tuple[Callable[[], Any], int, int]:
        """Return a call of a layer, and the ``steps`` and ``folded`` of its output."""
        node, layer, frame = task.node, task.node.layer, self._frame
        found = None if task.is_stateful else spread(task, given, self._is_stream)
        once = found is not None and (found.steps > 0 or found.folded > 0)
        form = found if found and once else Spread(0, 0, self._is_stream and task.is_stepped)
        is_step = form.is_step
        tensors, row = dict(zip(task.inputs, given, strict=True)), frame.counts[task.index]
        options = {"tally": Tally(task.takes_spikes, row)} if layer.takes_tally else {}
        is_carried = self._is_stream and task.is_carried
        values = frame.values

        def full(ref: Ref) -> Any:
            return tensors[ref].full(values)

        def value(ref: Ref) -> Any:
            return tensors[ref].value(values) if once else full(ref)

        def scan(arguments: Any, keywords: dict[str, Any]) -> Any:
            return _scanned(task, frame, arguments, keywords)

        def compute() -> Any:
            row[:] = 0
            if task.is_masked:
                carry = scan if is_carried else None
                return call_masked(task, value, full, frame.masks, options, is_step, carry)
            arguments = substitute(node.arguments, value)
            keywords = substitute(node.keywords, value) | options
            if is_step:
                return layer.call_step(*layer.received(arguments), **keywords)
            if is_carried:
                return scan(arguments, keywords)
            return layer(*arguments, **keywords)

        look_up = flat_arguments(node, value)

        def compute_flat() -> Any:
            row[:] = 0
            return layer(*look_up(), **options)

        if is_flat(node) and not (task.is_masked or is_step or is_carried):
            compute = compute_flat  # skips the walk through nested arguments
        return compute, form.steps, form.folded


def _run(
    task: Task, compute: Callable[[], Any], values: list[Any], kinds: Sequence[tuple[int, Any, int]]
) -> None:
    """Call a layer; raise `Changed` if its outputs are of other kinds than before."""
    try:
        made = _listed(compute())
    except Exception as error:
        if is_of_inputs(error):
            raise LayerCallError(task.node, error) from error
        raise
    if len(made) != len(kinds):
        raise Changed
    for (slot, kind, length), y in zip(kinds, made):  # noqa: B905 (each microsecond counts)
        narrow, own = narrowed(y)
        if own != length or _kind(narrow) != kind:
            raise Changed
        values[slot] = narrow


def _scanned(task: Task, frame: Frame, arguments: Any, options: dict[str, Any]) -> Any:
    """Run a step of a layer that carries a state."""
    layer: Any = task.node.layer
    states: Any = frame.states
    given = layer.received(arguments)
    y, frame.after[task.index] = layer.scan(states[task.index], *given, **options)
    return y


def _forget(values: list[Any], slots: Sequence[int]) -> None:
    """Release arrays that no later call needs."""
    for slot in slots:
        values[slot] = None


def _refolded(binder: Binder, layer: Layer, given: Sequence[Tensor]) -> Array:
    """Return the output of `Fold` or `Unfold`: the same elements with other leading axes."""
    x = given[0].array
    if isinstance(layer, Fold):
        return binder.view(x, (x.shape[0] * x.shape[1], *x.shape[2:]))
    return binder.view(x, (*given[1].array.shape[:2], *x.shape[1:]))


def _binds(layer: Layer) -> bool:
    """Return whether a layer may record calls."""
    if isinstance(layer, StatefulLayer):
        return layer.binds
    return isinstance(layer, Fold | Unfold) or type(layer).bind is not Layer.bind


def _takes(layer: Layer, x: Any) -> bool:
    """Return whether a layer takes an array as it is, and kernels take its memory layout."""
    if type(x) is not np.ndarray or x.flags.num & READABLE != READABLE:
        return False
    if not x.size or x.dtype.kind == "O":
        return False
    return layer.received(x) is x


def _listed(y: Any) -> Sequence[Any]:
    return y if isinstance(y, list | tuple) else (y,)


def _kind(y: Any) -> Any:
    """Return the type, shape and memory layout of an array; the class of anything else."""
    if isinstance(y, np.ndarray):
        return y.dtype, y.shape, y.flags.num & READABLE
    return type(y)
