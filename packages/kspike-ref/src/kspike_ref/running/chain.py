"""Finds models that are a chain of dense, spiking and filter layers, and runs them in one loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kspike_ref import activations
from kspike_ref.kernels import chain as _chain
from kspike_ref.kernels.chain import ALPHA, DENSE, LAST, LOWPASS, MEAN, RECTIFY, SPIKE
from kspike_ref.kernels.checks import FLOAT32, FLOAT64
from kspike_ref.layers.activation import Activation, Identity, ReLU
from kspike_ref.layers.base import Array, Layer, StatefulLayer, wrong_batch
from kspike_ref.layers.dense import Dense
from kspike_ref.layers.events import Activity, dense_pays
from kspike_ref.layers.pooling import GlobalAveragePooling1D
from kspike_ref.layers.shape import InputLayer
from kspike_ref.layers.temporal import (
    Alpha,
    AlphaCell,
    KerasSpikingLayer,
    Lowpass,
    LowpassCell,
    SpikingActivation,
    SpikingActivationCell,
)
from kspike_ref.layers.wrapper import TimeDistributed
from kspike_ref.running import interrupt
from kspike_ref.running import threads as _threads
from kspike_ref.running.counts import EVENTS, FIELDS, OPERATIONS, PRODUCTS, SPIKING, SYNOPS, Counts
from kspike_ref.running.graph import Graph, Node, Ref

_FEW = 16  # examples that one thread is done with before another one wakes up
# Numbers in the states of one example, which a chain makes when it is loaded: 32 MiB. A few bytes
# of configuration can ask for more than the memory holds; such a model runs layer by layer.
_MOST_KEPT = 1 << 22
_MOST = 4096  # examples at once, so that a memory map is read piece by piece
# Unit steps below which a thread costs more than it does: half of what a loop over time must have,
# as a step of a chain has a share in a product besides.
_WORTH_THREADS = _threads.WORTH_THREADS // 2
_SHORT = 1 << 27  # operations that are done before anybody could want to stop them: a piece
_PLAIN_RELU = ("max_value", "negative_slope", "threshold")


@dataclass
class _Program:
    """A program while it is written."""

    rows: list[list[int]] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)
    weights: list[Array] = field(default_factory=list)
    constants: list[Array] = field(default_factory=list)
    cells: list[Any] = field(default_factory=list)
    kept: int = 0
    spikes: bool = False
    filled: dict[int, int] = field(default_factory=dict)  # elements so far, by the list's identity

    def add(self, node: int, kind: int, inputs: int, units: int, **fields: int) -> None:
        """Add a row."""
        row = dict.fromkeys(range(_chain.FIELDS), 0)
        row |= {_chain.KIND: kind, _chain.INPUTS: inputs, _chain.UNITS: units, _chain.BIAS: -1}
        row |= {getattr(_chain, name.upper()): value for name, value in fields.items()}
        self.rows.append([row[i] for i in range(_chain.FIELDS)])
        self.nodes.append(node)

    def place(self, pieces: list[Array], piece: Array) -> int:
        """Append a piece of a flat array, and return where it starts."""
        at = self.filled.get(id(pieces), 0)
        pieces.append(np.pad(piece.reshape(-1), (0, -piece.size % 16)))  # on a cache line
        self.filled[id(pieces)] = at + pieces[-1].size
        return at

    def keep(self, node: int, kind: int, units: int, kept: int, cell: Any, constants: int) -> None:
        """Add a row that keeps a state."""
        self.add(node, kind, units, units, state=self.kept, kept=kept, constants=constants)
        self.kept += kept
        self.cells.append((cell, kept))


class Chain:
    """A model that is a chain of layers over time.

    Parameters
    ----------
    program : _Program
        What `Chain.of` wrote.
    length : int or None
        How many time steps the model was made for, if it says.
    """

    def __init__(self, program: _Program, length: int | None) -> None:
        self._length = length
        weights = _joined(program.weights, np.float32)
        constants = _joined(program.constants, np.float64)
        self._program = _chain.Program(program.rows, weights, constants)
        self._kept, self._widest = self._program.kept, self._program.widest
        self.inputs, self.units = self._program.inputs, self._program.units
        self.reduces = self._program.reduces
        self._cells = program.cells
        self.nodes = program.nodes
        work = [
            row[_chain.UNITS] * (row[_chain.INPUTS] if row[_chain.KIND] == DENSE else 1)
            for row in self._program.table.tolist()
        ]
        self._work = max(1, sum(work))  # operations of one example in one step
        self._short = _SHORT * self.inputs // self._work
        self._starts = [_start(cell, kept) for cell, kept in self._cells]
        self._start = None if any(s is None for s in self._starts) else _joined(self._starts, float)

    @staticmethod
    def of(graph: Graph, timed: set[Ref]) -> Chain | None:
        """Return a graph as a chain, or None if it is something else."""
        nodes = graph.nodes
        if (
            graph.masks
            or not isinstance(graph.outputs, Ref)
            or graph.outputs != Ref(len(nodes) - 1, 0)
        ):
            return None
        first = nodes[0]
        if not isinstance(first.layer, InputLayer) or Ref(0, 0) not in timed or len(nodes) < 2:
            return None
        if len(first.output_shapes[0]) != 3 or first.layer.input_dtype != np.float32:
            return None
        program = _Program()
        for i, node in enumerate(nodes[1:], 1):
            follows = _takes_only(node, Ref(i - 1, 0))
            if not follows or node.layer.dtype != np.float32 or len(node.output_shapes) > 1:
                return None
            if not _write(program, i, node):
                return None
        return Chain(program, first.output_shapes[0][1]) if program.cells else None

    def initial_state(self, rows: int) -> Array:
        """Return the state of all layers before the first step, as one flat array."""
        if rows == 1 and self._start is not None:
            return self._start.copy()
        state = np.empty(rows * self._kept)
        at = 0
        for (cell, kept), start in zip(self._cells, self._starts, strict=True):
            piece = state[at : at + rows * kept].reshape(rows, kept)
            piece[...] = cell.initial(rows, ())[0].reshape(rows, kept) if start is None else start
            at += rows * kept
        return state

    def takes(self, x: Any, timesteps: int | None) -> bool:
        """Return whether an input can be given to `predict` or `step` as it is."""
        return (
            type(x) is np.ndarray
            and x.dtype == FLOAT32
            and (timesteps is None or (type(timesteps) is int and timesteps > 0))
            and x.ndim == (3 if timesteps is None else 2)
            and 0 < len(x) <= _FEW
            and x.shape[-1] == self.inputs
            and x.flags.carray
            and 0 < x.size * (timesteps or 1) <= self._short
            and (self._length is None or self._length == (timesteps or x.shape[1]))
        )

    def block_size(self, count: int, steps: int, threads: int) -> int:
        """Return how many examples to give to `predict` at once: a few rounds for each thread."""
        rounds = 4 * threads if count * steps * self._widest > _WORTH_THREADS else 1
        return max(1, min(_MOST, -(-count // rounds)))

    def workspace(self, rows: int, steps: int) -> int:
        """Return how many bytes `predict` takes for so many examples, without its outputs."""
        given = rows * steps * self.inputs * 4  # if they must be copied, and cast
        states = 8 * rows * self._kept
        return self._program.scratch(rows, steps)[1] * 2 * 4 + 2 * states + 2 * given

    def predict(self, x: Array, timesteps: int | None) -> tuple[Array, Array]:
        """Run from the initial state; return the outputs, and what `Program.run` returns.

        Parameters
        ----------
        x : ndarray
            Float32, ``(rows, steps, inputs)``, or ``(rows, inputs)`` to be presented for
            ``timesteps``.
        timesteps : int or None
            How many steps.

        Returns
        -------
        tuple of ndarray
            The outputs in the model's shape, and the counts.
        """
        rows = len(x)
        if timesteps is not None:
            steps, given = timesteps, x.reshape(rows, 1, self.inputs)
        else:
            steps = x.shape[1]
            given = x[:, :1] if steps > 1 and x.strides[1] == 0 else x
            if not given.flags.carray:
                given = np.array(given, order="C")
        kept = 1 if self.reduces else steps
        out = np.empty((rows, kept * self.units), FLOAT32)
        counts = self._run(given, steps, self.initial_state(rows), out)
        return (out if self.reduces else out.reshape(rows, steps, self.units)), counts

    def _run(self, x: Array, steps: int, state: Array, out: Array) -> Array:
        """Run over steps: in one loop, or in several if the run is long and may be stopped."""
        stop = interrupt.current()
        if stop is None:
            return self._program.run(x, steps, state, out)
        piece = max(1, _SHORT // (max(1, len(x)) * self._work))
        if piece >= steps:
            return self._program.run(x, steps, state, out)
        counts: Any = 0
        for first in range(0, steps, piece):
            interrupt.check(stop)
            count = min(piece, steps - first)
            given = x if x.shape[1] == 1 else np.array(x[:, first : first + count], order="C")
            made = np.empty((len(x), self.units * (1 if self.reduces else count)), np.float32)
            counts = counts + self._program.run(given, count, state, made)
            at = 0 if self.reduces else first * self.units
            out[:, at : at + made.shape[1]] = made
        whole: Array = counts
        return whole

    def step(self, x: Array, state: Array) -> tuple[Array, Array, Array]:
        """Run one step; return the outputs, the new state, and the counts."""
        rows = len(x)
        if not isinstance(state, np.ndarray) or state.dtype != FLOAT64 or state.ndim != 1:
            raise TypeError("state must be what initial_state or step of this model returned")
        if state.size != rows * self._kept:
            if not self._kept or state.size % self._kept:
                raise ValueError("state must be of this model. Received: one of another")
            raise wrong_batch("", state.size // self._kept, rows)
        given = np.array(x, order="C") if not x.flags.carray else x
        out = np.empty((rows, self.units), FLOAT32)
        after = state.copy()
        counts = self._program.run(given.reshape(rows, 1, self.inputs), 1, after, out)
        return out, after, counts

    def record(self, counts: Array) -> Counts:
        """Return what `Program.run` counted, with a row for each node."""
        rows = np.zeros((self.nodes[-1] + 1, FIELDS), np.int64)
        for row, node, done in zip(self._program.table, self.nodes, counts, strict=True):
            if row[_chain.KIND] == DENSE:
                rows[node, [OPERATIONS, EVENTS, SYNOPS]] = done
                rows[node, [PRODUCTS, SPIKING]] = 1, row[_chain.EVENTS]
        return rows


def _joined(pieces: list[Any], dtype: Any) -> Array:
    return np.concatenate([*pieces, np.zeros(0)]).astype(dtype)


def _start(cell: Any, kept: int) -> Array | None:
    """Return what one example starts from, or None where each example draws its own."""
    if cell is None:
        return np.zeros(kept)
    if getattr(cell, "seed", 0) is None:
        return None
    return np.array(cell.initial(1, ())[0], np.float64).reshape(-1)


def _write(program: _Program, i: int, node: Node) -> bool:
    """Add a node to a program; return whether that is possible."""
    layer: Layer = node.layer
    if isinstance(layer, TimeDistributed):
        layer = layer.layer
        if not isinstance(layer, Dense | Identity | Activation | ReLU):
            return False
    if isinstance(layer, Identity):
        return True
    units = node.input_shapes[0][-1] or 0
    if isinstance(layer, Dense):
        return _write_dense(program, i, layer, units)
    if _is_relu(layer):
        program.add(i, RECTIFY, units, units)
        return True
    if program.kept + 2 * units > _MOST_KEPT and isinstance(layer, StatefulLayer):
        return False
    if isinstance(layer, GlobalAveragePooling1D):
        if layer.keepdims or layer.axis != 1 or len(node.input_shapes[0]) != 3:
            return False
        program.keep(i, MEAN, units, units + 1, None, 0)
        program.spikes = False
        return True
    if isinstance(layer, KerasSpikingLayer) and len(node.input_shapes[0]) == 3:
        return _write_temporal(program, i, layer, units)
    return False


def _is_relu(layer: Layer) -> bool:
    if isinstance(layer, ReLU):
        return not any(layer.config.get(key) for key in _PLAIN_RELU) and (
            layer.config.get("max_value") is None
        )
    return isinstance(layer, Activation) and layer.function is activations.relu


def _write_dense(program: _Program, i: int, layer: Dense, inputs: int) -> bool:
    if layer.activation not in (activations.linear, activations.relu):
        return False
    at = program.place(program.weights, layer.product.packed)
    bias = program.place(program.weights, layer.weights["bias"]) if layer.use_bias else -1
    relu = int(layer.activation is activations.relu)
    program.add(
        i, DENSE, inputs, layer.units, weights=at, bias=bias, relu=relu,
        events=int(program.spikes), share=_share(layer.units),
    )  # fmt: skip
    program.spikes = False
    return True


def _share(units: int) -> int:
    """Return below how many events of `WHOLE` inputs a layer is faster event by event."""
    low, high = 0, _chain.WHOLE
    while low < high:
        events = (low + high + 1) // 2
        if dense_pays(Activity(_chain.WHOLE, events, 0), units):
            low = events
        else:
            high = events - 1
    return low


def _write_temporal(program: _Program, i: int, layer: KerasSpikingLayer, units: int) -> bool:
    if layer.time_major or layer.returns_state:
        return False
    cell = layer.cell
    if isinstance(layer, SpikingActivation) and isinstance(cell, SpikingActivationCell):
        if cell.function not in (activations.linear, activations.relu):
            return False
        if cell.function is activations.relu:
            program.add(i, RECTIFY, units, units)
        values = np.array([cell.dynamics.gain, float(cell.dynamics.height)])
        at = program.place(program.constants, values)
        program.keep(i, SPIKE, units, units, cell, at)
    elif isinstance(layer, Lowpass) and isinstance(cell, LowpassCell):
        at = program.place(program.constants, cell.dynamics.decay)
        program.keep(i, LOWPASS, units, units, cell, at)
    elif isinstance(layer, Alpha) and isinstance(cell, AlphaCell):
        values = np.concatenate([cell.dynamics.decay, cell.dynamics.ramp])
        program.keep(i, ALPHA, units, 2 * units, cell, program.place(program.constants, values))
    else:
        return False
    program.spikes = isinstance(layer, SpikingActivation)
    if layer.reduces:
        program.add(i, LAST, units, units)
    return True


def _takes_only(node: Node, tensor: Ref) -> bool:
    """Return whether a node is called with one tensor and nothing else; arrays are no tensors."""
    (first, *rest) = node.arguments or (None,)
    return isinstance(first, Ref) and first == tensor and not rest and not node.keywords
