"""Operating points of a spiking model on data, for one time step and one scale of rates."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from concurrent.futures import Executor
from importlib import metadata
from typing import Any

import keras
import numpy as np

from kspike_energy import Application, ModelEnergy
from kspike_energy.adapters import find_adapter
from kspike_tf.conversion.graph import read_graph
from kspike_tf.conversion.inputs import arranged, arrays
from kspike_tf.sweeping.activity import SPIKING, Activity, batch_size, measure, uncounted
from kspike_tf.sweeping.arguments import Grid, shown
from kspike_tf.sweeping.energy import Signals, counted, energies
from kspike_tf.sweeping.metrics import Metric
from kspike_tf.sweeping.prefixes import prefix_runner
from kspike_tf.sweeping.result import Point
from kspike_tf.sweeping.variants import fingerprint, seeded, update, variant
from kspike_tf.types import ReferenceModel


class Study:
    """A model, data, and the settings of a sweep.

    Parameters
    ----------
    model, x, y, metric, input_coding
        As in `sweep`.
    grid : Grid
        The parameter values.

    Attributes
    ----------
    examples : int
        Number of examples.
    metric : Metric
        The metric.
    """

    def __init__(
        self, model: Any, x: Any, y: Any, grid: Grid, metric: Any, input_coding: str
    ) -> None:
        self.model, self.grid, self.input_coding = model, grid, input_coding
        is_loader = not hasattr(model, "predict")
        self._own = variant(model, None, 1.0) if is_loader else model
        self.x = arrays(x, self._own)
        self._has_warned = False
        self.y, self.metric = np.asarray(y), Metric(metric)
        counts = {len(array) for array in keras.tree.flatten(self.x)}
        self.examples = counts.pop()
        if counts or not self.examples or len(self.y) != self.examples:
            raise ValueError(
                "x and y must not be empty and must have the same number of examples. Received: "
                f"{[len(array) for array in keras.tree.flatten(self.x)]} and {len(self.y)}"
            )

    def points(
        self, dt: float | None, scale: float, timesteps: Sequence[int], pool: Executor, bar: Any
    ) -> dict[int, Point]:
        """Return points by number of steps, from runs of the longest presentation.

        Parameters
        ----------
        dt : float or None
            Time step in seconds; None for the model's own.
        scale : float
            Factor of rates.
        timesteps : sequence of int
            Numbers of steps.
        pool : Executor
            Runs batches.
        bar : keras.utils.Progbar or None
            Receives the number of finished examples.
        """
        model = variant(self.model, dt, scale)
        adapter, longest = find_adapter(model), max(timesteps)
        nodes = list(adapter.applications(model))
        self._warn_of(uncounted(nodes))
        x = self.x if isinstance(model, ReferenceModel) else arranged(read_graph(model), self.x)
        whole, run = shown(x, nodes, longest), prefix_runner(model, adapter, nodes)
        step = dt or _own_dt(adapter, nodes, scale)
        size = batch_size(nodes, longest)

        def one(start: int) -> tuple[Any, Activity]:
            batch = keras.tree.map_structure(lambda array: array[start : start + size], whole)
            count = len(keras.tree.flatten(batch)[0])
            outputs, signals = run(batch, timesteps)
            return outputs, measure(signals, nodes, (count, longest))

        parts, total = [], Activity({}, 0)
        with seeded(model):
            for outputs, activity in pool.map(one, range(0, self.examples, size)):
                parts.append(outputs)
                total.add(activity)
                if bar is not None:
                    bar.add(activity.examples)
        signals, network = Signals(nodes, total, scale), counted(model, whole, self.input_coding)
        return {
            steps: self._point(_joined(parts, steps), signals, network, (step, scale, steps))
            for steps in timesteps
        }

    def _warn_of(self, names: Sequence[str]) -> None:
        """Warn once about neurons whose spikes are not counted."""
        if names and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"{', '.join(names)}: neurons other than SpikingActivation layers; their spikes "
                "are not included in spikes, rates and energy",
                stacklevel=4,
            )

    def _point(
        self, outputs: Any, signals: Signals, network: Any, at: tuple[float, float, int]
    ) -> Point:
        dt, scale, steps = at
        layers = signals.spikes(dt, steps)
        spikes = sum(made for made, _ in layers.values())
        neurons, seconds = sum(count for _, count in layers.values()), dt * steps
        return Point(
            dt=dt,
            scale=scale,
            timesteps=steps,
            score=self.metric(self.y, outputs),
            spikes=spikes,
            rate=spikes / neurons / seconds,
            rates={name: made / count / seconds for name, (made, count) in layers.items()},
            energy=energies(network, signals, self.grid.devices, dt, steps),
        )

    def identity(self) -> list[Any]:
        """Return what points depend on, apart from their own parameter values."""
        digest = hashlib.sha256()
        for array in [*keras.tree.flatten(self.x), self.y]:
            update(digest, array)
        figures = [str(ModelEnergy.devices.get_device(name)) for name in self.grid.devices]
        options = self.metric.identity, self.input_coding, figures, _versions()
        return [fingerprint(self._own), digest.hexdigest(), options]


def _versions() -> dict[str, str]:
    """Return the versions of kspike's packages, because counts may change with an upgrade."""
    found = {each.name: each.version for each in metadata.distributions()}
    return {name: found[name] for name in sorted(filter(None, found)) if "kspike" in name}


def _own_dt(adapter: Any, nodes: Sequence[Application], scale: float) -> float:
    """Return the time step of a model's first spiking layer, without the factor of rates."""
    for node in nodes:
        if node.spec.kind == SPIKING:
            return float(adapter.layer_dt(node.spec.layer)) / scale
    raise ValueError("model must have a SpikingActivation layer: without one there are no spikes")


def _joined(parts: Sequence[Any], steps: int) -> Any:
    """Return the outputs of all batches."""
    return keras.tree.map_structure(
        lambda *arrays: np.concatenate(arrays), *[part[steps] for part in parts]
    )
