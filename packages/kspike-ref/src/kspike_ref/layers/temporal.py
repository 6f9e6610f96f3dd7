# ruff: noqa: D102 (what the methods do is documented in base.Layer)
"""The layers of kspike_tf: spikes and synaptic filters over time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from kspike_ref.archive import ArchiveError, Weights
from kspike_ref.layers.activation import activation
from kspike_ref.layers.base import Array, Shape, State, StatefulLayer, known
from kspike_ref.spiking import SpikingDynamics, initial_voltage
from kspike_ref.synapses import AlphaDynamics, LowpassDynamics


def read_dt(value: Any) -> float:
    """Return the time step that a configuration holds.

    Parameters
    ----------
    value : float, dict or None
        Seconds; or a serialised variable, whose value is read; or None for the default.

    Returns
    -------
    float
        Seconds.

    Raises
    ------
    ArchiveError
        If it is not positive and finite.
    """
    while isinstance(value, Mapping):
        inner = value.get("config", value.get("value"))
        value = inner.get("value") if isinstance(inner, Mapping) else inner
    if value is None:
        value = 0.001
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ArchiveError(f"dt must be a number of seconds. Received: {value!r}")
    if not (math.isfinite(value) and value > 0 and float(np.float32(value)) > 0):
        raise ArchiveError(f"dt must be positive and finite. Received: {value!r}")
    return float(value)


class KerasSpikingLayer(StatefulLayer):
    """What the three layers share: a time axis, and sequences or the last value as output."""

    pointwise_from = 2

    def setup(self) -> None:
        self.dt = read_dt(self.config.get("dt"))
        self.reduces = not self.config.get("return_sequences", True)
        self.returns_state = bool(self.config.get("return_state", False))
        self.time_major = bool(self.config.get("time_major", False))

    def units(self, shape: Shape) -> tuple[int, ...]:
        """Return the shape of the units, which must be known."""
        units = tuple(n for n in shape[2:] if n is not None)
        if len(shape) < 2 or len(units) != len(shape) - 2:
            raise ArchiveError(f"layer {self.name!r} needs known units. Received: {shape}")
        return units

    def output_shape(self, shape: Shape) -> Any:
        self.units(shape)
        batch = shape[1] if self.time_major else shape[0]
        y = (batch, *shape[2:]) if self.reduces else shape
        return [y, (batch, *self.state_units(shape))] if self.returns_state else y

    def state_units(self, shape: Shape) -> Shape:
        """Return the shape of one example's state."""
        return shape[2:]

    def call(self, x: Array, initial_state: Any = None) -> Any:
        batch = x.shape[1 if self.time_major else 0]
        if initial_state is None:
            state = self.initial_state(batch, x.shape)
        else:
            first = initial_state[0] if isinstance(initial_state, list | tuple) else initial_state
            state = (np.array(first, np.float64),)
        return self.scan(state, x)[0]

    def scan(self, state: State, x: Array) -> tuple[Any, State]:
        if self.time_major:
            x = np.moveaxis(x, 0, 1)
        batch, steps = x.shape[:2]
        size = math.prod(x.shape[2:])
        given = self.rates(x[:, :1] if steps > 1 and x.strides[1] == 0 else x)
        rows = np.ascontiguousarray(given).reshape(batch, given.shape[1], size)
        out = np.empty((batch, steps, size), rows.dtype)
        carried = state[0].copy()
        self.run(rows, carried, out)
        y = out.reshape(x.shape)
        if self.reduces:
            y = y[:, -1]
        elif self.time_major:
            y = np.moveaxis(y, 1, 0)
        return ([y, carried] if self.returns_state else y), (carried,)

    def rates(self, x: Array) -> Array:
        """Return what goes into the time loop."""
        return x

    def run(self, rows: Array, state: Array, out: Array) -> None:
        """Step through time: rows and out are ``(batch, time, units)``; the state is changed."""
        raise NotImplementedError


@known("custom:kspike_tf>SpikingActivation")
class SpikingActivation(KerasSpikingLayer):
    """Firing rates to spikes."""

    def setup(self) -> None:
        super().setup()
        self.function = activation(self.config.get("activation"))
        seed = self.config.get("seed")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise ArchiveError(f"seed must be an integer or null. Received: {seed!r}")
        self.seed = seed
        self.dynamics = SpikingDynamics(self.dt, self.dtype)

    def initial_state(self, batch: int, shape: Shape) -> State:
        units = self.units(shape)
        if self.seed is None:
            words = np.random.default_rng().integers(0, 2**32, (batch, *units), np.uint32)
            return (words * 2.0**-32,)
        voltage = initial_voltage(units, self.seed)
        return (np.broadcast_to(voltage, (batch, *units)).copy(),)

    def rates(self, x: Array) -> Array:
        return self.function(x)

    def run(self, rows: Array, state: Array, out: Array) -> None:
        self.dynamics.run(rows, state.reshape(len(state), -1), out)


class Filter(KerasSpikingLayer):
    """What the two filters share: trained time constants and initial levels."""

    def load(self, store: Weights, path: str, *shapes: Any) -> None:
        super().load(store, f"{path}/layer/cell", *shapes)


@known("custom:kspike_tf>Lowpass")
class Lowpass(Filter):
    """An exponential synapse."""

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        units = (1, *self.units(shape))
        return {"initial_level": units, "tau": units}

    def prepare(self) -> None:
        self.dynamics = LowpassDynamics(self.weights["tau"].reshape(-1), self.dt)

    def initial_state(self, batch: int, shape: Shape) -> State:
        level = self.weights["initial_level"].astype(np.float64)
        return (np.broadcast_to(level, (batch, *level.shape[1:])).copy(),)

    def run(self, rows: Array, state: Array, out: Array) -> None:
        self.dynamics.run(rows, state.reshape(len(state), -1), out)


@known("custom:kspike_tf>Alpha")
class Alpha(Filter):
    """An alpha synapse."""

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        size = (math.prod(self.units(shape)),)
        return {"initial_level": size, "tau": size}

    def state_units(self, shape: Shape) -> Shape:
        return (2, math.prod(self.units(shape)))

    def prepare(self) -> None:
        self.dynamics = AlphaDynamics(self.weights["tau"], self.dt)

    def initial_state(self, batch: int, shape: Shape) -> State:
        level = self.weights["initial_level"].astype(np.float64)
        state = np.zeros((batch, 2, level.size))
        state[:, 0] = level
        return (state,)

    def run(self, rows: Array, state: Array, out: Array) -> None:
        self.dynamics.run(rows, state, out)
