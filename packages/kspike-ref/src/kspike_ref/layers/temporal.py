# ruff: noqa: D102 (methods are documented in base.Layer)
"""The layers of kspike_tf: spikes and synaptic filters over time."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from kspike_ref.layers.base import Layer
from kspike_ref.layers.errors import Array, Shape, State, check_mask, check_rows
from kspike_ref.layers.keys import TIME_KEYS
from kspike_ref.layers.recurrent import check_states, flat, over_time
from kspike_ref.layers.registry import known
from kspike_ref.layers.stateful import StatefulLayer
from kspike_ref.layers.temporal_cells import (
    FILTER_KEYS,
    SPIKING_KEYS,
    AlphaCell,
    LowpassCell,
    SpikingActivationCell,
    SpikingCell,
)
from kspike_ref.running.binder import Binder
from kspike_ref.running.counts import Tally
from kspike_ref.saved.archive import ArchiveError, Weights
from kspike_ref.spiking import on_grid

_TIME = " ".join(TIME_KEYS)


class KerasSpikingLayer(StatefulLayer):
    """A cell that runs over time, created for the units of the input."""

    casts = "biuf"
    cell_class: ClassVar[type[SpikingCell]]

    def setup(self) -> None:
        self.reduces = not self.boolean("return_sequences", True)
        self.returns_state = self.boolean("return_state", False)
        self.time_major = self.boolean("time_major", False)
        self.cell = self._cell([1])  # checks the configuration, before shapes are known

    def _cell(self, size: list[Any]) -> SpikingCell:
        return self.cell_class(self.name, self.class_name, {**self.config, "size": size})

    def _step_shape(self, shape: Shape) -> Shape:
        if len(shape) < 2 or None in shape[2:]:
            raise ArchiveError(
                f"layer {self.name!r} needs a known number of units. Received: {shape}"
            )
        return (shape[1] if self.time_major else shape[0], *shape[2:])

    def load(self, store: Weights, path: str, *shapes: Any) -> None:
        self.cell = self._cell(list(self._step_shape(shapes[0])[1:]))
        self.cell.is_owned = True
        super().load(store, path, *shapes)

    def parts(self, *shapes: Any) -> list[tuple[str, Layer, tuple[Any, ...]]]:
        step = self._step_shape(shapes[0])
        # Keras saves an activation with weights in the first object that holds it: the layer
        return [*self.cell.carried(step), ("layer/cell", self.cell, (step,))]

    def output_shape(self, *shapes: Any, initial_state: Any = None, constants: Any = None) -> Any:
        shape = shapes[0]
        step = self._step_shape(shape)
        y = step if self.reduces else shape
        cell = self._cell(list(step[1:]))
        states: list[Any] = [(step[0], *units) for units in cell.state_shapes(step)]
        if self.cell.is_owned and self.cell.size != cell.size:
            raise ArchiveError(
                f"layer {self.name!r} was built for units of {self.cell.size}, not {shape}"
            )
        if constants is not None:
            raise ArchiveError(
                f"layer {self.name!r} takes no constants. Received: {constants!r:.80}"
            )
        check_states(self.name, [*shapes[1:], initial_state], states)
        return [y, *states] if self.returns_state else y

    def check_again(self, *shapes: Any) -> None:
        """Do nothing: `output_shape` compares the units."""

    def streams(self, *shapes: Any) -> bool:
        return len(shapes) == 1 and not self.time_major

    def initial_state(self, batch: int, *shapes: Any) -> State:
        return tuple(self.cell.initial(batch, self._step_shape(shapes[0])))

    def mask_axes(self, given: Any, *shapes: Any) -> int | None:
        check_mask(given[0], 2)
        return None if self.reduces else given[0]

    def hears(self, count: int) -> bool:
        return True

    def call(
        self, x: Array, initial_state: Any = None, constants: Any = None, mask: Any = None
    ) -> Any:
        batch = x.shape[1 if self.time_major else 0]
        if initial_state is None:
            return self.scan(self.initial_state(batch, x.shape), x, mask=mask)[0]
        given = self.started([np.asarray(state, np.float64) for state in flat(initial_state)])
        shapes = self.cell.state_shapes(self._step_shape(x.shape))
        check_rows(self.name, given, shapes, batch)
        return self.scan(given, x, mask=mask)[0]

    def started(self, states: list[Array]) -> State:
        """Return the states that a call starts from; refuse values that the cell does not take."""
        self.cell.check_given(states, self.name)
        return tuple(states)

    @property
    def draws_states(self) -> bool:
        return getattr(self.cell, "seed", 0) is None

    def bind_scan(self, binder: Binder, x: Array, state: State) -> Array | None:
        if self.time_major or self.returns_state:
            return None
        batch, given, *size = x.shape
        steps, units = binder.steps if given == 1 else given, math.prod(size)
        rows = binder.view(x, (batch, given, units))
        out = binder.empty((batch, steps, units), self.dtype)
        if not self.cell.bind_run(binder, rows, self.cell.flat(state[0]), out):
            return None
        if not self.reduces:
            return out.reshape(batch, steps, *size)
        last = binder.empty((batch, *size), self.dtype)
        binder.call(np.copyto, last.reshape(batch, units), out[:, -1])
        return last

    def scan(self, state: State, *inputs: Any, mask: Any = None) -> tuple[Any, State]:
        x = np.moveaxis(inputs[0], 0, 1) if self.time_major else inputs[0]
        mask = mask.T if self.time_major and mask is not None else mask
        y, after, last = over_time(self.cell, x, state, mask, Tally())
        if self.reduces:
            y = y[:, -1].copy() if y.shape[1] else np.zeros_like(y, shape=(len(y), *y.shape[2:]))
        elif self.time_major:
            y = np.moveaxis(y, 1, 0)
        kept = tuple(after) if last is None else (*after, last)
        if not self.returns_state:
            return y, kept
        return [y, *(s.copy() for s in after)], kept  # float64, as in Keras


@known("custom:kspike_tf>SpikingActivation", keys=f"{SPIKING_KEYS} {_TIME}")
class SpikingActivation(KerasSpikingLayer):
    """Firing rates to spikes."""

    cell_class = SpikingActivationCell

    def started(self, states: list[Array]) -> State:
        # The layer rounds initial voltages to the grid, as in Keras; a cell alone does not.
        return tuple(map(on_grid, super().started(states)))


@known("custom:kspike_tf>Lowpass", keys=f"{FILTER_KEYS} {_TIME}")
class Lowpass(KerasSpikingLayer):
    """An exponential synapse."""

    cell_class = LowpassCell


@known("custom:kspike_tf>Alpha", keys=f"{FILTER_KEYS} {_TIME}")
class Alpha(KerasSpikingLayer):
    """An alpha synapse."""

    cell_class = AlphaCell
