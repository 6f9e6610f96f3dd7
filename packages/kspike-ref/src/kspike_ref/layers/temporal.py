# ruff: noqa: D102 (what the methods do is documented in base.Layer)
"""The layers and cells of kspike_tf: spikes and synaptic filters over time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from kspike_ref import activations
from kspike_ref.kernels import time as loops
from kspike_ref.layers.activation import activation, bind_activation, keeps_shape
from kspike_ref.layers.base import (
    Array,
    Layer,
    Shape,
    State,
    StatefulLayer,
    check_mask,
    check_rows,
)
from kspike_ref.layers.cells import Cell
from kspike_ref.layers.dense import activation_parts
from kspike_ref.layers.keys import TIME_KEYS
from kspike_ref.layers.recurrent import check_states, flat, over_time
from kspike_ref.layers.registry import known
from kspike_ref.running import threads
from kspike_ref.running.binder import Binder
from kspike_ref.running.counts import Tally
from kspike_ref.saved.archive import ArchiveError, Weights
from kspike_ref.signals import frozen
from kspike_ref.spiking import SpikingDynamics, check_voltage, initial_voltage, on_grid
from kspike_ref.synapses import AlphaDynamics, LowpassDynamics

_SPIKING = "dt activation spiking_aware_training"  # options of layers and cells
_FILTER = "dt apply_during_training"
_TIME = " ".join(TIME_KEYS)


def read_dt(value: Any) -> float:
    """Return the time step that a configuration holds.

    Parameters
    ----------
    value : float, dict or None
        Seconds; or a serialised variable, whose value is read; or None for the default.

    Returns
    -------
    float
        Seconds, rounded to float32, as the layers do it in every precision.

    Raises
    ------
    ArchiveError
        If it is not positive and finite.
    """
    for _ in range(4):  # a serialised object within a serialised object
        if not isinstance(value, Mapping):
            break
        value = value.get("value", value.get("config"))
    seconds = 0.001 if value is None else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise ArchiveError(f"dt must be a number of seconds. Received: {value!r:.80}")
    # Below the smallest normal float32, 1/dt is infinite or nearly so, and spikes of 0/dt are NaN.
    if not (0 < seconds < 1e30 and np.float32(seconds) >= np.finfo(np.float32).tiny):
        raise ArchiveError(
            f"dt must be positive and finite, from 1.2e-38 to 1e30 s. Received: {value!r}"
        )
    return float(np.float32(seconds))


class SpikingCell(Cell):
    """What the three cells share: a size, a time step, and a loop over time in one piece."""

    is_owned = False  # by a layer, which loads what the cell carries

    def setup(self) -> None:
        self.dt = read_dt(self.config.get("dt"))
        size = self.config.get("size", 1)
        self.size = tuple(size) if isinstance(size, list) else (size,)
        if not all(type(n) is int and n >= 0 for n in self.size):
            raise ArchiveError(f"size must hold lengths. Received: {size!r:.80}")

    def output_units(self, shape: Shape) -> Shape:
        if shape[1:] != self.size:
            raise ArchiveError(f"layer {self.name!r} has {self.size} units. Received: {shape}")
        return self.size

    def state_shapes(self, shape: Shape) -> list[Shape]:
        return [self.size]

    def scan(self, x: Array, states: list[Array], tally: Tally) -> tuple[Array, list[Array]]:
        batch, steps = x.shape[:2]
        units = math.prod(self.size)
        given = self.rates(x[:, :1] if steps > 1 and x.strides[1] == 0 else x)
        rows = np.ascontiguousarray(given, self.dtype).reshape(batch, given.shape[1], units)
        out = np.empty((batch, steps, units), self.dtype)
        state = np.array(states[0], np.float64, order="C")
        self.run(rows, state, out)
        return out.reshape(batch, steps, *self.size), [state]

    def rates(self, x: Array) -> Array:
        """Return what goes into the time loop."""
        return x

    def run(self, rows: Array, state: Array, out: Array) -> None:
        """Step through time: rows and out are ``(batch, time, units)``; the state is changed."""
        raise NotImplementedError

    def bind_run(self, binder: Binder, rows: Array, state: Array, out: Array) -> bool:
        """Record the calls of `rates` and `run`; return whether that is possible."""
        if out.size > threads.WORTH_THREADS:
            binder.call(self.run, rows, state, out)
        else:
            binder.call(*self.run_call(rows, state, out))
        return True

    def run_call(self, rows: Array, state: Array, out: Array) -> tuple[Any, ...]:
        """Return the loop of `run` for one thread, and its arguments, checked."""
        raise NotImplementedError


@known("custom:kspike_tf>SpikingActivationCell", keys=f"{_SPIKING} size")
class SpikingActivationCell(SpikingCell):
    """Firing rates to spikes."""

    def setup(self) -> None:
        super().setup()
        self.function = activation(self.config.get("activation"))
        seed = self.config.get("seed")
        if seed is not None and (type(seed) is not int or not 0 <= seed < 2**64):
            raise ArchiveError(f"seed must be 0 to 2**64 - 1, or null. Received: {seed!r}")
        self.seed = seed
        self.dynamics = SpikingDynamics(self.dt, self.dtype)

    def parts(self, shape: Shape) -> list[tuple[str, Layer, tuple[Any, ...]]]:
        return [] if self.is_owned else activation_parts(self.function, shape)

    def initial(self, batch: int, shape: Shape) -> list[Array]:
        if self.seed is None:
            words = np.random.default_rng().integers(0, 2**32, (batch, *self.size), np.uint32)
            return [words * 2.0**-32]
        voltage = initial_voltage(self.size, self.seed)
        return [np.broadcast_to(voltage, (batch, *self.size))]

    def check_given(self, states: Sequence[Array], name: str) -> None:
        check_voltage(states[0], name)

    def rates(self, x: Array) -> Array:
        y: Array = self.function(x)
        return y

    def run(self, rows: Array, state: Array, out: Array) -> None:
        self.dynamics.run(rows, state.reshape(len(state), out.shape[2]), out)

    def bind_run(self, binder: Binder, rows: Array, state: Array, out: Array) -> bool:
        function, is_short = self.function, out.size <= threads.WORTH_THREADS
        if not keeps_shape(function):
            return False
        rectifies = function is activations.relu and is_short
        if function is not activations.linear and not rectifies:
            given = binder.over(rows)
            bind_activation(binder, function, rows, given)
            rows = frozen(given)
        if not is_short:
            binder.call(self.run, rows, state, out)
            return True
        voltage = state.reshape(len(state), out.shape[2])
        gain, height = self.dynamics.gain, float(self.dynamics.height)
        region = _whole(out)
        binder.call(*loops.spike_call(rows, gain, height, rectifies, region, voltage, out))
        return True


@known("custom:kspike_tf>LowpassCell", keys=f"{_FILTER} size")
class LowpassCell(SpikingCell):
    """An exponential synapse."""

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(["initial_level", "tau"], (1, *self.size))

    def prepare(self) -> None:
        self.dynamics = LowpassDynamics(self.weights["tau"].reshape(-1), self.dt)

    def initial(self, batch: int, shape: Shape) -> list[Array]:
        level = self.weights["initial_level"].astype(np.float64)
        return [np.broadcast_to(level, (batch, *self.size))]

    def run(self, rows: Array, state: Array, out: Array) -> None:
        self.dynamics.run(rows, state.reshape(len(state), out.shape[2]), out)

    def run_call(self, rows: Array, state: Array, out: Array) -> tuple[Any, ...]:
        level = state.reshape(len(state), out.shape[2])
        return loops.lowpass_call(rows, self.dynamics.decay, _whole(out), level, out)


@known("custom:kspike_tf>AlphaCell", keys=f"{_FILTER} size")
class AlphaCell(SpikingCell):
    """An alpha synapse: its state is the output y and its slope, p = τ·dy/dt."""

    has_flat_weights = False

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        held = (math.prod(self.size),) if self.has_flat_weights else (1, *self.size)
        return dict.fromkeys(["initial_level", "tau"], held)

    def load(self, store: Weights, path: str, *shapes: Any) -> None:
        try:
            super().load(store, path, *shapes)
        except ArchiveError as error:
            self.has_flat_weights = True  # as in files of earlier versions
            try:
                super().load(store, path, *shapes)
            except ArchiveError:
                raise error from None

    def state_shapes(self, shape: Shape) -> list[Shape]:
        return [(2, math.prod(self.size))]

    def prepare(self) -> None:
        self.dynamics = AlphaDynamics(self.weights["tau"].reshape(-1), self.dt)

    def initial(self, batch: int, shape: Shape) -> list[Array]:
        level = self.weights["initial_level"].astype(np.float64).reshape(-1)
        at_rest = np.stack([level, np.zeros_like(level)])
        return [np.broadcast_to(at_rest, (batch, 2, level.size))]

    def run(self, rows: Array, state: Array, out: Array) -> None:
        self.dynamics.run(rows, state, out)

    def run_call(self, rows: Array, state: Array, out: Array) -> tuple[Any, ...]:
        decay, ramp = self.dynamics.decay, self.dynamics.ramp
        return loops.alpha_call(rows, decay, ramp, _whole(out), state, out)


def _whole(out: Array) -> tuple[int, int, int, int]:
    """Return the region of all rows and units."""
    return (0, out.shape[0], 0, out.shape[2])


class KerasSpikingLayer(StatefulLayer):
    """A cell over time, made for the units of the input."""

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
            raise ArchiveError(f"layer {self.name!r} needs known units. Received: {shape}")
        return (shape[1] if self.time_major else shape[0], *shape[2:])

    def parts(self, *shapes: Any) -> list[tuple[str, Layer, tuple[Any, ...]]]:
        step = self._step_shape(shapes[0])
        self.cell = self._cell(list(step[1:]))
        # Keras saves an activation with weights of its own with the first that holds it: the layer
        inner = self.cell.parts(step)
        self.cell.is_owned = True
        return [*inner, ("layer/cell", self.cell, (step,))]

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
        """Do nothing: `output_shape` has compared the units."""

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
        given = tuple(np.asarray(state, np.float64) for state in flat(initial_state))
        shapes = self.cell.state_shapes(self._step_shape(x.shape))
        check_rows(self.name, given, shapes, batch)
        return self.scan(given, x, mask=mask)[0]

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
        if not self.cell.bind_run(binder, rows, state[0], out):
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


@known("custom:kspike_tf>SpikingActivation", keys=f"{_SPIKING} {_TIME}")
class SpikingActivation(KerasSpikingLayer):
    """Firing rates to spikes."""

    cell_class = SpikingActivationCell
    bind_scan = KerasSpikingLayer.bind_scan

    def call(
        self, x: Array, initial_state: Any = None, constants: Any = None, mask: Any = None
    ) -> Any:
        # The layer puts voltages that it is given on the grid, as in Keras; a cell alone does not.
        if initial_state is not None:
            given = [np.asarray(v, np.float64) for v in flat(initial_state)]
            self.cell.check_given(given, self.name)
            initial_state = [on_grid(v) for v in given]
        return super().call(x, initial_state, constants, mask)


@known("custom:kspike_tf>Lowpass", keys=f"{_FILTER} {_TIME}")
class Lowpass(KerasSpikingLayer):
    """An exponential synapse."""

    cell_class = LowpassCell


@known("custom:kspike_tf>Alpha", keys=f"{_FILTER} {_TIME}")
class Alpha(KerasSpikingLayer):
    """An alpha synapse."""

    cell_class = AlphaCell
