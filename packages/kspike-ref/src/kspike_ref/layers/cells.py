# ruff: noqa: D102 (methods are documented in base.Layer)
"""Recurrent cells: one step of a layer over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kspike_ref import activations
from kspike_ref.kernels import activations as compiled
from kspike_ref.kernels import recurrent as loops
from kspike_ref.kernels.memory import frozen
from kspike_ref.layers.activation import activation, hard_sigmoid_of_keras_2
from kspike_ref.layers.base import Layer
from kspike_ref.layers.errors import Array, Shape
from kspike_ref.layers.product import Product
from kspike_ref.layers.registry import create, known, saved_parts
from kspike_ref.running import interrupt
from kspike_ref.running.counts import Tally
from kspike_ref.saved.archive import ArchiveError

COMPILED: dict[Any, int] = {
    activations.linear: compiled.LINEAR,
    activations.relu: compiled.RELU,
    activations.tanh: compiled.TANH,
    activations.sigmoid: compiled.SIGMOID,
    activations.hard_sigmoid: compiled.HARD_SIGMOID,
    hard_sigmoid_of_keras_2: compiled.HARD_SIGMOID_OF_KERAS_2,
}
# Numbers of projected inputs per piece: they fit the L2 cache, and their memory is reused instead
# of requested from the system. Between two pieces, the loops check for Ctrl-C.
PIECE = 1 << 16


class Cell(Layer):
    """One step of a recurrent layer.

    `project` does the work that does not depend on the state, for many steps at once.
    """

    state_count = 1

    def setup(self) -> None:
        self.units = self.integer("units")
        self.use_bias = self.boolean("use_bias", True)
        self.activation = activation(self.config.get("activation", "tanh"))
        self.gate = activation(self.config.get("recurrent_activation", "sigmoid"))

    def output_units(self, shape: Shape) -> Shape:
        """Return the shape of one example's output."""
        return (self.units,)

    def state_shapes(self, shape: Shape) -> list[Shape]:
        """Return the shapes of one example's states."""
        return [(self.units,)]

    def output_shape(self, shape: Shape) -> Shape:
        return (shape[0], *self.output_units(shape))

    def initial(self, batch: int, shape: Shape) -> list[Array]:
        """Return the states before the first step."""
        shapes: Any = self.state_shapes(shape)
        if any(None in units for units in shapes):
            raise ValueError(f"layer {self.name!r} needs known input lengths. Received: {shape}")
        return [np.zeros((batch, *units), self.dtype) for units in shapes]

    def check_given(self, states: Sequence[Array], name: str) -> None:
        """Refuse initial states whose values the layer ``name`` cannot start from."""

    def project(self, x: Array, tally: Tally) -> Array:
        """Return the contributions of inputs, ``(batch, time, …)``, that do not need the state."""
        return x

    def step(self, x: Array, states: list[Array], tally: Tally) -> tuple[Array, list[Array]]:
        """Return the output of one step and the new states."""
        raise NotImplementedError

    def scan(self, x: Array, states: list[Array], tally: Tally) -> tuple[Array, list[Array]]:
        """Return the outputs of all steps, ``(batch, time, …)``, and the states after them."""
        projected = self.project(x, tally)
        own = tally.without_spikes()  # for the products of the cell's own output
        units: Any = self.output_units(x.shape[:1] + x.shape[2:])
        out = np.empty((*x.shape[:2], *units), self.dtype)
        stop = interrupt.current()
        for t in range(x.shape[1]):
            interrupt.check(stop)
            out[:, t], states = self.step(projected[:, t], states, own)
        return out, states

    def scan_masked(
        self, x: Array, states: list[Array], mask: Array, last: Array, zero: bool, tally: Tally
    ) -> tuple[Array, list[Array], Array]:
        """Run over steps, some of them masked: these keep the states and repeat the output.

        The mask is False at masked steps, ``last`` is the output before the first step. With
        ``zero``, outputs of masked steps are 0. Returns the outputs, and the states and the output
        after the last step.
        """
        out = np.empty((*x.shape[:2], *last.shape[1:]), self.dtype)
        stop = interrupt.current()
        for t in range(x.shape[1]):
            interrupt.check(stop)
            y, new = self.scan(x[:, t : t + 1], states, tally)
            counts = mask[:, t]
            last = choose(counts, y[:, 0], np.zeros_like(last) if zero else last)
            states = [choose(counts, a, b) for a, b in zip(new, states, strict=True)]
            out[:, t] = last
        return out, states, last


def choose(mask: Array, one: Array, other: Array) -> Array:
    """Return rows of ``one`` where a mask is True, and of ``other`` elsewhere."""
    return np.where(mask.reshape(-1, *[1] * (one.ndim - 1)), one, other)


class GatedCell(Cell):
    """A cell with one matrix for its input and one for its own output.

    With the usual activations, its steps run in a compiled loop. Other activations, including those
    of users, run in the loop of `Cell`.
    """

    gates = 1
    loop: Any  # of `kernels.recurrent`

    def bias_shape(self) -> tuple[int, ...]:
        """Return the shape of the biases."""
        return (self.gates * self.units,)

    def output_units(self, shape: Shape) -> Shape:
        if len(shape) != 2:
            raise ArchiveError(f"cell {self.name!r} takes (batch, units) a step. Received: {shape}")
        return super().output_units(shape)

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        width = self.gates * self.units
        shapes: dict[str, Any] = {
            "kernel": (shape[-1], width),
            "recurrent_kernel": (self.units, width),
        }
        return shapes | ({"bias": self.bias_shape()} if self.use_bias else {})

    def prepare(self) -> None:
        self.inward = Product(self.weights["kernel"])
        self.recurrent = Product(self.weights["recurrent_kernel"])

    def project(self, x: Array, tally: Tally) -> Array:
        return self.inward.over_last_axis(x, self.weights.get("bias"), tally)

    def functions(self) -> tuple[int, int] | None:
        """Return the numbers of the compiled activations, or None if one is not compiled."""
        gate, candidate = COMPILED.get(self.gate), COMPILED.get(self.activation)
        return None if gate is None or candidate is None else (gate, candidate)

    def matrices(self) -> tuple[Array, ...]:
        """Return the weights that the compiled loop takes."""
        return (self.recurrent.packed,)

    def scan(self, x: Array, states: list[Array], tally: Tally) -> tuple[Array, list[Array]]:
        functions = self.functions()
        if functions is None:
            return super().scan(x, states, tally)
        return self._run(x, states, functions, np.ones(x.shape[:2], bool), tally)

    def scan_masked(
        self, x: Array, states: list[Array], mask: Array, last: Array, zero: bool, tally: Tally
    ) -> tuple[Array, list[Array], Array]:
        functions = self.functions()
        if functions is None:
            return super().scan_masked(x, states, mask, last, zero, tally)
        out, states = self._run(x, states, functions, np.ascontiguousarray(mask), tally)
        # The loop repeats the state at masked steps. Before the first unmasked step, the state may
        # be an initial state from the model, which is not an output.
        has_begun = np.logical_or.accumulate(mask, axis=1)
        out = np.where((mask if zero else has_begun)[..., None], out, 0 if zero else last[:, None])
        return out, states, out[:, -1].copy()

    def _run(
        self, x: Array, states: list[Array], functions: tuple[int, int], mask: Array, tally: Tally
    ) -> tuple[Array, list[Array]]:
        """Return the outputs of all steps, and the states after the last one."""
        rows, steps = x.shape[:2]
        width = self.gates * self.units
        if rows * steps * self.units:
            tally.add(rows * steps * self.units * width)
        after = [np.array(state, self.dtype, order="C") for state in states]
        out = np.empty((rows, steps, self.units), self.dtype)
        stop = interrupt.current()
        piece = max(1, PIECE // max(1, rows * width))
        for first in range(0, steps, piece):
            interrupt.check(stop)
            span = first, min(steps, first + piece)
            projected = frozen(self.project(x[:, slice(*span)], tally))
            self.loop(projected, *self.matrices(), functions, mask, span, *after, out)
        return out, after


@known("SimpleRNNCell")
class SimpleRNNCell(GatedCell):
    """``h ← f(W·x + U·h + b)``."""

    loop = staticmethod(loops.simple_rnn)

    def step(self, x: Array, states: list[Array], tally: Tally) -> tuple[Array, list[Array]]:
        h = self.activation(self.recurrent.add(states[0], x.copy(), tally))
        return h, [h]


@known("LSTMCell")
class LSTMCell(GatedCell):
    """Long short-term memory: gates i, f, candidate c, and o."""

    gates = 4
    state_count = 2
    loop = staticmethod(loops.lstm)

    def state_shapes(self, shape: Shape) -> list[Shape]:
        return [(self.units,), (self.units,)]

    def step(self, x: Array, states: list[Array], tally: Tally) -> tuple[Array, list[Array]]:
        z = self.recurrent.add(states[0], x.copy(), tally)
        i, f, c, o = (z[:, k * self.units : (k + 1) * self.units] for k in range(4))
        carry = self.gate(f) * states[1] + self.gate(i) * self.activation(c)
        h = self.gate(o) * self.activation(carry)
        return h, [h, carry]


@known("GRUCell")
class GRUCell(GatedCell):
    """Gated recurrent unit: gates z and r, and a candidate reset before or after the product."""

    gates = 3

    def setup(self) -> None:
        super().setup()
        self.reset_after = self.boolean("reset_after", True)
        self.loop = loops.gru if self.reset_after else loops.gru_reset_before

    def bias_shape(self) -> tuple[int, ...]:
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def prepare(self) -> None:
        kernel, bias = self.weights["recurrent_kernel"], self.weights.get("bias")
        self.inward = Product(self.weights["kernel"])
        if self.reset_after:
            self.recurrent = Product(kernel)
            inner = np.zeros(3 * self.units, self.dtype) if bias is None else bias[1]
            self.inner_bias = frozen(inner)
        else:
            self.both = Product(kernel[:, : 2 * self.units])
            self.candidate = Product(kernel[:, 2 * self.units :])

    def project(self, x: Array, tally: Tally) -> Array:
        bias = self.weights.get("bias")
        if bias is not None and self.reset_after:
            bias = bias[0]
        return self.inward.over_last_axis(x, bias, tally)

    def matrices(self) -> tuple[Array, ...]:
        if self.reset_after:
            return self.recurrent.packed, self.inner_bias
        return self.both.packed, self.candidate.packed

    def step(self, x: Array, states: list[Array], tally: Tally) -> tuple[Array, list[Array]]:
        h, n = states[0], self.units
        if self.reset_after:
            inner = self.recurrent(h, self.inner_bias, tally)
            gates = self.gate(x[:, : 2 * n] + inner[:, : 2 * n])
            recurrent = gates[:, n:] * inner[:, 2 * n :]
        else:
            gates = self.gate(x[:, : 2 * n] + self.both(h, tally=tally))
            recurrent = self.candidate(gates[:, n:] * h, tally=tally)
        z = gates[:, :n]
        h = z * h + (1 - z) * self.activation(x[:, 2 * n :] + recurrent)
        return h, [h]


@known("StackedRNNCells")
class StackedRNNCells(Cell):
    """Cells that run one after another within a step."""

    def setup(self) -> None:
        self.cells: list[Any] = []
        for i, config in enumerate(self.config["cells"]):
            cell = create(config, f"{self.name}/{i}")
            if not isinstance(cell, Cell):
                raise ArchiveError(f"cells must be recurrent cells. Received: {cell.class_name}")
            self.cells.append(cell)
        if not self.cells:
            raise ArchiveError("cells must not be empty")
        self.state_count = sum(cell.state_count for cell in self.cells)

    def _shapes(self, shape: Shape) -> list[Shape]:
        """Return the input shape of each cell, and the last one's output shape."""
        shapes = [shape]
        for cell in self.cells:
            shapes.append((shape[0], *cell.output_units(shapes[-1])))
        return shapes

    def parts(self, shape: Shape) -> list[tuple[str, Layer, tuple[Any, ...]]]:
        return saved_parts("cells", self.cells, self._shapes(shape))

    def output_units(self, shape: Shape) -> Shape:
        return self._shapes(shape)[-1][1:]

    def state_shapes(self, shape: Shape) -> list[Shape]:
        pairs = zip(self.cells, self._shapes(shape), strict=False)
        return [state for cell, s in pairs for state in cell.state_shapes(s)]

    def initial(self, batch: int, shape: Shape) -> list[Array]:
        pairs = zip(self.cells, self._shapes(shape), strict=False)
        return [state for cell, s in pairs for state in cell.initial(batch, s)]

    def check_given(self, states: Sequence[Array], name: str) -> None:
        for cell in self.cells:
            cell.check_given(states[: cell.state_count], name)
            states = states[cell.state_count :]

    def scan(self, x: Array, states: list[Array], tally: Tally) -> tuple[Array, list[Array]]:
        after = []
        for cell in self.cells:
            count = cell.state_count
            x, new = cell.scan(x, states[:count], tally)
            tally = tally.without_spikes()
            states = states[count:]
            after += new
        return x, after
