# ruff: noqa: D102 (methods are documented in base.Layer)
"""The cells of kspike_tf: spikes and synaptic filters, all steps at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from kspike_ref import activations
from kspike_ref.kernels import time as loops
from kspike_ref.kernels.memory import frozen
from kspike_ref.layers.activation import activation, bind_activation, keeps_shape
from kspike_ref.layers.base import Layer
from kspike_ref.layers.cells import Cell
from kspike_ref.layers.dense import activation_parts
from kspike_ref.layers.errors import Array, Shape
from kspike_ref.layers.registry import known
from kspike_ref.running import threads
from kspike_ref.running.binder import Binder
from kspike_ref.running.counts import Tally
from kspike_ref.saved.archive import ArchiveError, Weights
from kspike_ref.spiking import SpikingDynamics, check_voltage, initial_voltage
from kspike_ref.synapses import AlphaDynamics, LowpassDynamics

SPIKING_KEYS = "dt activation spiking_aware_training"  # options of layers and cells
FILTER_KEYS = "dt apply_during_training"


def read_dt(value: Any) -> float:
    """Return the seconds that a number or a serialised variable holds; None is the default."""
    for _ in range(4):  # a serialised object within a serialised object
        if not isinstance(value, Mapping):
            break
        value = value.get("value", value.get("config"))
    seconds = 0.001 if value is None else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise ArchiveError(f"dt must be a number of seconds. Received: {value!r:.80}")
    if seconds == 0:
        raise ArchiveError(
            "dt must be positive. Received: 0, as in a model that was saved before its variable dt "
            "was set; pass dt=... to load_model"
        )
    # Below the smallest normal float32, 1/dt is infinite or nearly so, and spikes of 0/dt are NaN.
    if not (0 < seconds < 1e30 and np.float32(seconds) >= np.finfo(np.float32).tiny):
        raise ArchiveError(
            f"dt must be positive and finite, from 1.2e-38 to 1e30 s. Received: {value!r}"
        )
    return float(seconds)


class SpikingCell(Cell):
    """Base class of the cells: a size, a time step, and a loop over all steps."""

    is_owned = False  # by a layer, which loads the cell's inner layers
    state_axes: ClassVar[tuple[int, ...]] = ()  # of a state, between the batch and the units
    dynamics: Any

    def carried(self, shape: Shape) -> list[tuple[str, Layer, tuple[Any, ...]]]:
        """Return the cell's inner layers, in the form of `parts`."""
        return []

    def parts(self, shape: Shape) -> list[tuple[str, Layer, tuple[Any, ...]]]:
        return [] if self.is_owned else self.carried(shape)

    def setup(self) -> None:
        seconds = read_dt(self.config.get("dt"))
        # As in kspike_tf, so that a number and a float32 variable give the same outputs.
        self.dt = seconds if self.dtype == np.float64 else float(np.float32(seconds))
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

    def flat(self, state: Array) -> Array:
        """Return a contiguous state in the form of the loops, with one axis for all units."""
        return state.reshape(len(state), *self.state_axes, math.prod(self.size))

    def scan(self, x: Array, states: list[Array], tally: Tally) -> tuple[Array, list[Array]]:
        batch, steps = x.shape[:2]
        units = math.prod(self.size)
        given = self.rates(x[:, :1] if steps > 1 and x.strides[1] == 0 else x)
        rows = np.ascontiguousarray(given, self.dtype).reshape(batch, given.shape[1], units)
        out = np.empty((batch, steps, units), self.dtype)
        state = np.array(states[0], np.float64, order="C")
        self.run(rows, self.flat(state), out)
        return out.reshape(batch, steps, *self.size), [state]

    def rates(self, x: Array) -> Array:
        """Return the input of the time loop."""
        return x

    def run(self, rows: Array, state: Array, out: Array) -> None:
        """Step through time: rows and out are ``(batch, time, units)``; the state is updated."""
        self.dynamics.run(rows, state, out)

    def bind_run(self, binder: Binder, rows: Array, state: Array, out: Array) -> bool:
        """Record the calls of `rates` and `run`; return whether that is possible."""
        if is_long(out):
            binder.call(self.run, rows, state, out)
        else:
            binder.call(*self.run_call(rows, state, out))
        return True

    def run_call(self, rows: Array, state: Array, out: Array) -> tuple[Any, ...]:
        """Return the loop of `run` for one thread, and its arguments, checked."""
        raise NotImplementedError


@known("custom:kspike_tf>SpikingActivationCell", keys=f"{SPIKING_KEYS} size")
class SpikingActivationCell(SpikingCell):
    """Firing rates to spikes.

    Attributes
    ----------
    fuses_relu : bool
        Whether the loop itself computes a ReLU activation.
    """

    fuses_relu: ClassVar[bool] = True

    def setup(self) -> None:
        super().setup()
        self.function = activation(self.config.get("activation"))
        seed = self.config.get("seed")
        if seed is not None and (type(seed) is not int or not 0 <= seed < 2**64):
            raise ArchiveError(f"seed must be 0 to 2**64 - 1, or null. Received: {seed!r}")
        self.seed = seed
        self.dynamics = SpikingDynamics(self.dt, self.dtype)

    def carried(self, shape: Shape) -> list[tuple[str, Layer, tuple[Any, ...]]]:
        return activation_parts(self.function, shape)

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

    def bind_run(self, binder: Binder, rows: Array, state: Array, out: Array) -> bool:
        if not keeps_shape(self.function):
            return False
        if self.fuses_relu and self.function is activations.relu and not is_long(out):
            binder.call(*self._spike_call(rows, state, out, rectifies=True))
            return True
        if self.function is not activations.linear:
            given = binder.over(rows)
            bind_activation(binder, self.function, rows, given)
            rows = frozen(given)
        return super().bind_run(binder, rows, state, out)

    def run_call(self, rows: Array, state: Array, out: Array) -> tuple[Any, ...]:
        return self._spike_call(rows, state, out, rectifies=False)

    def _spike_call(
        self, rows: Array, state: Array, out: Array, rectifies: bool
    ) -> tuple[Any, ...]:
        gain, height = self.dynamics.gain, float(self.dynamics.height)
        return loops.spike_call(rows, gain, height, rectifies, whole(out), state, out)


@known("custom:kspike_tf>LowpassCell", keys=f"{FILTER_KEYS} size")
class LowpassCell(SpikingCell):
    """An exponential synapse."""

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(["initial_level", "tau"], (1, *self.size))

    def prepare(self) -> None:
        self.dynamics = LowpassDynamics(self.weights["tau"].reshape(-1), self.dt)

    def initial(self, batch: int, shape: Shape) -> list[Array]:
        level = self.weights["initial_level"].astype(np.float64)
        return [np.broadcast_to(level, (batch, *self.size))]

    def run_call(self, rows: Array, state: Array, out: Array) -> tuple[Any, ...]:
        return loops.lowpass_call(rows, self.dynamics.decay, whole(out), state, out)


@known("custom:kspike_tf>AlphaCell", keys=f"{FILTER_KEYS} size")
class AlphaCell(SpikingCell):
    """An alpha synapse: its state is the output y and its slope, p = τ·dy/dt."""

    state_axes = (2,)
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

    def run_call(self, rows: Array, state: Array, out: Array) -> tuple[Any, ...]:
        decay, ramp = self.dynamics.decay, self.dynamics.ramp
        return loops.alpha_call(rows, decay, ramp, whole(out), state, out)


def whole(out: Array) -> tuple[int, int, int, int]:
    """Return the region of all rows and units."""
    return (0, out.shape[0], 0, out.shape[2])


def is_long(out: Array) -> bool:
    """Return whether a run is worth several threads."""
    return out.size > threads.WORTH_THREADS
