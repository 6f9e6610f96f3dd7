# ruff: noqa: D102 (methods are documented in base.Layer)
"""Layers that run a cell over time."""

from __future__ import annotations

from typing import Any

import numpy as np

from kspike_ref.layers.base import Layer
from kspike_ref.layers.cells import Cell
from kspike_ref.layers.errors import (
    Array,
    Shape,
    State,
    UnsupportedUseError,
    check_mask,
    check_rows,
)
from kspike_ref.layers.keys import TIME_KEYS
from kspike_ref.layers.registry import create, known
from kspike_ref.layers.stateful import StatefulLayer
from kspike_ref.running.counts import Tally
from kspike_ref.saved.archive import ArchiveError


@known("RNN", "SimpleRNN", "LSTM", "GRU")
class RNN(StatefulLayer):
    """A recurrent layer: a cell that runs over time."""

    casts = "biuf"
    takes_tally = True
    keras_arguments = ("initial_state", "mask", "training")

    def setup(self) -> None:
        config = self.config
        self.returns_sequences = self.boolean("return_sequences", False)
        self.reduces = not self.returns_sequences
        self.returns_state = self.boolean("return_state", False)
        self.backwards = self.boolean("go_backwards", False)
        self.time_major = self.boolean("time_major", False)  # of Keras 2
        self.zeros = self.boolean("zero_output_for_mask", False)
        if self.class_name == "RNN":
            cell = create(config["cell"], self.name)
        else:
            outer = ("name", *TIME_KEYS)
            inner = {k: v for k, v in config.items() if k not in outer}
            kind = {"module": "keras.layers", "class_name": f"{self.class_name}Cell"}
            cell = create({**kind, "config": inner}, self.name)
        if not isinstance(cell, Cell):
            raise ArchiveError(f"cell must be a recurrent cell. Received: {cell.class_name}")
        self.cell = cell

    def _step_shape(self, shape: Shape) -> Shape:
        if len(shape) < 3:
            raise ArchiveError(f"layer {self.name!r} needs a time axis. Received: {shape}")
        return (shape[1] if self.time_major else shape[0], *shape[2:])

    def timed(self) -> tuple[list[int], list[int]]:
        return ([], []) if self.time_major else super().timed()

    def parts(self, *shapes: Any) -> list[tuple[str, Layer, tuple[Any, ...]]]:
        return [("cell", self.cell, (self._step_shape(shapes[0]),))]

    def output_shape(self, *shapes: Any, initial_state: Any = None) -> Any:
        shape = shapes[0]
        step = self._step_shape(shape)
        units = self.cell.output_units(step)
        y = (*shape[:2], *units) if self.returns_sequences else (step[0], *units)
        states: list[Any] = [(step[0], *units) for units in self.cell.state_shapes(step)]
        check_states(self.name, [*shapes[1:], initial_state], states)
        return [y, *states] if self.returns_state else y

    def streams(self, *shapes: Any) -> bool:
        return not self.backwards and not self.time_major and len(shapes) == 1

    def initial_state(self, batch: int, *shapes: Any) -> State:
        shape = self._step_shape(shapes[0])
        states = self.cell.initial(batch, shape)
        if self.reduces:  # the last output, for a run of no steps
            units: Any = self.cell.output_units(shape)
            states = [*states, np.zeros((batch, *units), self.dtype)]
        return tuple(states)

    def mask_axes(self, given: Any, *shapes: Any) -> int | None:
        check_mask(given[0], 2)
        if self.time_major and given[0] is not None:
            raise UnsupportedUseError("a mask with time_major=True")
        return given[0] if self.returns_sequences else None

    def call(self, x: Array, initial_state: Any = None, mask: Any = None, *, tally: Tally) -> Any:
        batch = x.shape[1 if self.time_major else 0]
        state = self.initial_state(batch, x.shape)
        if initial_state is not None:
            given = flat(initial_state)
            shapes = self.cell.state_shapes(self._step_shape(x.shape))
            check_rows(self.name, given, shapes, batch)
            self.cell.check_given(given, self.name)
            state = (*given, *state[len(given) :])
        return self.scan(state, x, mask=mask, tally=tally)[0]

    def scan(
        self, state: State, *inputs: Any, mask: Any = None, tally: Any = None
    ) -> tuple[Any, State]:
        x = np.swapaxes(inputs[0], 0, 1) if self.time_major else inputs[0]
        if self.backwards:
            x, mask = x[:, ::-1], None if mask is None else mask[:, ::-1]
        out, states, last = over_time(self.cell, x, state, mask, tally, self.zeros)
        y = (last if out.shape[1] == 0 else out[:, -1].copy()) if self.reduces else out
        if self.time_major and not self.reduces:
            y = np.swapaxes(y, 0, 1)
        kept = (*states, y if self.reduces else last) if last is not None else tuple(states)
        if not self.returns_state:
            return y, kept
        return [y, *(s.astype(self.dtype) for s in states)], kept


def over_time(
    cell: Cell, x: Array, state: State, mask: Any, tally: Tally, zero: bool = False
) -> tuple[Array, list[Array], Any]:
    """Run a cell over time.

    Parameters
    ----------
    cell : Cell
        The cell.
    x : (batch, time, …) ndarray
        The inputs.
    state : tuple of ndarray
        The states before the first step; then the last output, if the layer keeps it.
    mask : (batch, time) ndarray, optional
        Bools: False at steps that keep the states and repeat the output.
    tally : Tally
        Takes the counts of operations.
    zero : bool
        Whether outputs of masked steps are 0 instead.

    Returns
    -------
    tuple
        The outputs, the states after the last step, and the last output or None.
    """
    states = list(state[: cell.state_count])
    if mask is not None and mask.shape != x.shape[:2]:
        raise ValueError(
            f"mask of layer {cell.name!r} must have the shape {x.shape[:2]}. Received: {mask.shape}"
        )
    last: Any = state[-1] if len(state) > cell.state_count else None
    if mask is not None:
        if last is None:
            units: Any = cell.output_units((x.shape[0], *x.shape[2:]))
            last = np.zeros((x.shape[0], *units), cell.dtype)
        if not mask.all():
            return cell.scan_masked(x, states, mask, last, zero, tally)
    out, states = cell.scan(x, states, tally)
    if last is not None and out.shape[1]:
        last = out[:, -1].copy()
    return out, states, last


def check_states(name: str, given: list[Any], wanted: list[Shape]) -> None:
    """Refuse initial states from the model that do not fit a layer.

    ``given`` holds the arguments after the input: None, or the shapes of the states, nested.
    """
    given = [value for value in given if value is not None]
    if not given:
        return
    shapes = _at_the_ends(given)
    # Only the number of examples may be unknown; it is checked when the model runs.
    fits = len(shapes) == len(wanted) and all(
        isinstance(shape, tuple)
        and shape[1:] == one[1:]
        and None not in shape[1:]
        and (None in (shape[0], one[0]) or shape[0] == one[0])
        for shape, one in zip(shapes, wanted, strict=True)
    )
    if not fits:
        raise ArchiveError(f"layer {name!r} needs states of {wanted}. Received: {shapes!r:.200}")


def _at_the_ends(values: Any) -> list[Any]:
    """Return the elements of nested lists as a flat list; shapes are tuples."""
    if isinstance(values, list):
        return [end for value in values for end in _at_the_ends(value)]
    return [values]


def flat(values: Any) -> list[Array]:
    """Return nested states as a flat list."""
    if isinstance(values, list | tuple):
        return [array for value in values for array in flat(value)]
    return [values]


@known("Bidirectional")
class Bidirectional(Layer):
    """A recurrent layer that runs forwards and one that runs backwards."""

    casts = "biuf"
    takes_tally = True
    keras_arguments = ("initial_state", "mask", "training")
    uses_mask = True

    def setup(self) -> None:
        self.forward = self._recurrent(self.config["layer"])
        self.backward = self._recurrent(self.config.get("backward_layer") or self._reversed())
        self.mode = self.config.get("merge_mode", "concat")
        if self.mode not in ("concat", "sum", "mul", "ave", None):
            raise ArchiveError(
                f"merge_mode must be concat, sum, mul, ave or None. Received: {self.mode!r}"
            )
        self.masked_outputs = 1 if self.mode else 2
        pair = self.forward, self.backward
        if pair[0].backwards == pair[1].backwards or any(
            getattr(pair[0], name) != getattr(pair[1], name)
            for name in ("returns_sequences", "returns_state")
        ):
            raise ArchiveError(
                "backward_layer must run in the other direction, and its return_sequences and "
                "return_state must be those of the forward layer"
            )

    def _recurrent(self, config: Any) -> RNN:
        layer = create(config, self.name)
        if not isinstance(layer, RNN):
            raise ArchiveError(f"layer must be a recurrent layer. Received: {layer.class_name}")
        if layer.time_major:
            raise UnsupportedUseError(f"{self.name}: Bidirectional with time_major=True")
        return layer

    def _reversed(self) -> dict[str, Any]:
        forward = self.config["layer"]
        backwards = not forward["config"].get("go_backwards", False)
        return {**forward, "config": {**forward["config"], "go_backwards": backwards}}

    def timed(self) -> tuple[list[int], list[int]]:
        return [0], [0] if self.forward.returns_sequences else []

    def parts(self, *shapes: Any) -> list[tuple[str, Layer, tuple[Any, ...]]]:
        return [
            ("forward_layer", self.forward, shapes[:1]),
            ("backward_layer", self.backward, shapes[:1]),
        ]

    def output_shape(self, *shapes: Any, initial_state: Any = None) -> Any:
        one, other = (_listed(r.output_shape(shapes[0])) for r in (self.forward, self.backward))
        if self.mode == "concat":
            merged = [(*one[0][:-1], one[0][-1] + other[0][-1])]
        elif self.mode and one[0] != other[0]:
            raise ArchiveError(f"layer {self.name!r} cannot merge {one[0]} and {other[0]}")
        else:
            merged = [one[0]] if self.mode else [one[0], other[0]]
        outputs = [*merged, *one[1:], *other[1:]]
        states: list[Any] = []
        for layer in (self.forward, self.backward):
            units = layer.cell.state_shapes((shapes[0][0], *shapes[0][2:]))
            states += [(shapes[0][0], *lengths) for lengths in units]
        check_states(self.name, [*shapes[1:], initial_state], states)
        if self.forward.cell.state_count != self.backward.cell.state_count and (
            len(shapes) > 1 or initial_state is not None
        ):
            raise ArchiveError(f"layer {self.name!r} cannot take states for cells of two kinds")
        return outputs[0] if len(outputs) == 1 else outputs

    def mask_axes(self, given: Any, *shapes: Any) -> int | None:
        check_mask(given[0], 2)
        return given[0] if self.forward.returns_sequences else None

    def call(self, x: Array, initial_state: Any = None, mask: Any = None, *, tally: Tally) -> Any:
        halves: list[Any] = [None, None]
        if initial_state is not None:
            given = flat(initial_state)
            halves = [given[: len(given) // 2], given[len(given) // 2 :]]
        one = _listed(self.forward.call(x, halves[0], mask, tally=tally))
        other = _listed(self.backward.call(x, halves[1], mask, tally=tally))
        y = other[0]
        if self.forward.returns_sequences:
            y = y[:, ::-1]
        outputs = [*self._merged(one[0], y), *one[1:], *other[1:]]
        return outputs[0] if len(outputs) == 1 else outputs

    def _merged(self, x: Array, y: Array) -> list[Array]:
        if self.mode == "concat":
            return [np.concatenate([x, y], axis=-1)]
        if self.mode is None:
            return [x, np.ascontiguousarray(y)]
        merged = x * y if self.mode == "mul" else x + y
        return [merged / 2 if self.mode == "ave" else merged]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
