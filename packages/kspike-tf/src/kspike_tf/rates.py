"""Firing rates of a spiking model on data, and a verdict on each layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from kspike_energy.checks import told_options
from kspike_tf.conversion.calibrate import batches
from kspike_tf.conversion.compare import correlation, relative_error, repeated
from kspike_tf.conversion.graph import Node, read_graph
from kspike_tf.conversion.inputs import arrays, input_tensors
from kspike_tf.conversion.report import aligned
from kspike_tf.describing import as_html
from kspike_tf.layers import SpikingActivation
from kspike_tf.types import Arrays, ReferenceModel, SpikingModel

_FEW = 1.0  # spikes per active neuron below which an activation is lost
_COARSE = 3.0
_MANY_SATURATED = 0.05
_MANY_SILENT = 0.5


@dataclasses.dataclass(frozen=True)
class LayerRates:
    """Firing rates of a spiking layer.

    Attributes
    ----------
    name : str
        Name of the layer.
    mean_rate : float
        Mean firing rate of all neurons in Hz; negative spikes count as spikes.
    median_rate, high_rate : float
        Median and 99th percentile of the neurons' mean rates in Hz.
    spikes : float
        Expected number of spikes in the presentation, averaged over nonzero activations.
    silent : float
        Fraction of neurons that fire for no example.
    saturated : float
        Fraction of neurons whose activation demands a spike in every step for some example.
    correlation : float
        Correlation of time-averaged spikes with the time-averaged activation.
    error : float
        Root mean square difference of the two, relative to the root mean square activation.
    seconds : float
        Length of the presentation in seconds.
    neurons : int
        Number of neurons.
    """

    name: str
    mean_rate: float
    median_rate: float
    high_rate: float
    spikes: float
    silent: float
    saturated: float
    correlation: float
    error: float
    seconds: float
    neurons: int

    @property
    def verdict(self) -> str:
        """Whether the rates can carry the activation, in words."""
        if self.spikes == 0:
            return f"{self.name} is silent: its activation is zero for all examples."
        once = f"{self.spikes:.2g}" == "1"
        shown = (
            f"{self.name} fires at {self.mean_rate:.3g} Hz; in {self.seconds * 1000:.4g} ms an "
            f"active neuron fires {self.spikes:.2g} time{'' if once else 's'}: "
        )
        if self.spikes < _FEW:
            return shown + (
                "too few to carry the activation. Raise max_rate or show the input longer."
            )
        if self.saturated > _MANY_SATURATED:
            return shown + (
                f"{self.saturated:.0%} of the neurons fire in every step. Lower max_rate or dt."
            )
        if self.spikes < _COARSE:
            return shown + "a coarse copy of the activation."
        if self.silent > _MANY_SILENT:
            return shown + f"fine, though {self.silent:.0%} of the neurons never fire."
        return shown + "fine."


@dataclasses.dataclass(frozen=True)
class RateReport:
    """Firing rates of every spiking layer of a model; prints as a table.

    Attributes
    ----------
    layers : tuple of LayerRates
        Spiking layers in order.
    examples : int
        Number of examples shown.
    timesteps : int
        Number of steps for which they were shown.
    """

    layers: tuple[LayerRates, ...]
    examples: int
    timesteps: int

    def to_records(self) -> list[dict[str, Any]]:
        """Return a dictionary for each layer, with its verdict."""
        return [{**dataclasses.asdict(each), "verdict": each.verdict} for each in self.layers]

    def _rows(self) -> list[tuple[str, ...]]:
        head = (
            "layer", "mean", "median", "99%", "spikes", "silent", "saturated", "correlation",
            "error",
        )  # fmt: skip
        return [
            head,
            *(
                (
                    each.name,
                    *(f"{r:.1f} Hz" for r in (each.mean_rate, each.median_rate, each.high_rate)),
                    f"{each.spikes:.2f}",
                    *(f"{part:.0%}" for part in (each.silent, each.saturated)),
                    "-" if np.isnan(each.correlation) else f"{each.correlation:.3f}",
                    f"{each.error:.1%}",
                )
                for each in self.layers
            ),
        ]

    def __str__(self) -> str:
        return "\n".join([*aligned(self._rows()), *(each.verdict for each in self.layers)])

    def __repr__(self) -> str:
        rates = ", ".join(f"{each.name} {each.mean_rate:.3g} Hz" for each in self.layers)
        return f"<RateReport of {self.examples} examples, {self.timesteps} steps: {rates}>"

    def _repr_html_(self) -> str:
        caption = f"Firing rates of {self.examples} examples, {self.timesteps} steps"
        return as_html(self._rows(), caption, [each.verdict for each in self.layers])


class _Shown(NamedTuple):
    """Time averages and spike counts of a spiking layer for a batch: (batch, units)."""

    name: str
    dt: float
    outputs: np.ndarray
    activations: np.ndarray
    demands: np.ndarray  # of the activations' magnitudes: negative spikes count as spikes
    spikes: np.ndarray


@told_options
def rate_report(model: SpikingModel, x: Arrays, timesteps: int | None = None) -> RateReport:
    """Measure the firing rates of a model's spiking layers on data.

    Parameters
    ----------
    model : keras.Model or kspike_ref.Model
        A model with `SpikingActivation` layers; a Keras model is Sequential or Functional.
    x : structure of (batch, time, ...) array
        Inputs; without a time axis if ``timesteps`` is passed.
    timesteps : int, optional
        Number of steps to show inputs that have no time axis.

    Returns
    -------
    RateReport
        Rates, comparison with the ordinary activation, and a verdict for each layer.

    Raises
    ------
    TypeError
        If the model is of another kind.
    ValueError
        If it has no spiking layer, or the inputs have no time axis.

    Examples
    --------
    >>> import keras, kspike_tf, numpy as np
    >>> spiking = kspike_tf.SpikingActivation("relu", seed=0, name="hidden")
    >>> model = keras.Sequential([keras.Input((None, 3)), spiking])
    >>> report = rate_report(model, np.full((2, 3), 20.0), timesteps=50)
    >>> print(report.layers[0].verdict)
    hidden fires at 20 Hz; in 50 ms an active neuron fires 1 time: a coarse copy of the activation.
    """
    x = arrays(x, model)
    if timesteps is not None:
        x = repeated(x, timesteps)
    first = keras.tree.flatten(x)[0]
    if first.ndim < 3:
        raise ValueError(
            "x must have a time axis, (batch, time, ...); pass timesteps=N for inputs without one. "
            f"Received: shape={first.shape}"
        )
    count, steps = first.shape[:2]
    show = _show_reference if isinstance(model, ReferenceModel) else _show_keras
    shown = [list(show(model, batch)) for batch in batches(x, count)]
    if not shown or not shown[0]:
        raise ValueError(f"model must have a SpikingActivation layer. Received: model={model!r}")
    return RateReport(
        layers=tuple(_measured(parts, steps) for parts in zip(*shown, strict=True)),
        examples=count,
        timesteps=steps,
    )


def _measured(parts: Sequence[_Shown], steps: int) -> LayerRates:
    """Return the rates of a layer from the averages of all batches."""
    first = parts[0]
    outputs, activations, demands, spikes = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("outputs", "activations", "demands", "spikes")
    )
    seconds = steps * first.dt
    rates = spikes / seconds
    of_units = rates.mean(axis=0)
    active = demands != 0
    return LayerRates(
        name=first.name,
        mean_rate=float(rates.mean()),
        median_rate=float(np.median(of_units)),
        high_rate=float(np.percentile(of_units, 99)),
        spikes=float(demands[active].mean()) * seconds if active.any() else 0.0,
        silent=float(np.mean(spikes.max(axis=0) == 0)),
        saturated=float(np.mean(demands.max(axis=0) * first.dt >= 1)),
        correlation=correlation(outputs, activations),
        error=relative_error(outputs, activations) if activations.any() else 0.0,
        seconds=seconds,
        neurons=rates.shape[1],
    )


def _averaged(name: str, dt: float, outputs: np.ndarray, activations: np.ndarray) -> _Shown:
    flat = (len(outputs), -1)
    return _Shown(
        name,
        dt,
        outputs.mean(axis=1).reshape(flat),
        activations.mean(axis=1).reshape(flat),
        np.abs(activations).mean(axis=1).reshape(flat),
        (np.abs(outputs) * dt).sum(axis=1).reshape(flat),
    )


def _show_keras(model: keras.Model, batch: Any) -> Iterator[_Shown]:
    """Yield the time averages of every spiking layer of a Keras model."""
    graph = read_graph(model)
    tensors = input_tensors(graph, batch)
    with keras.StatelessScope():  # states of stateful layers stay as they are
        for node in graph.nodes:
            if isinstance(node.layer, SpikingActivation):
                yield _show_layer(node, tensors)
            outputs = keras.tree.flatten(node.call(node.layer, tensors))
            tensors.update(zip(node.outputs, outputs, strict=True))


def _show_layer(node: Node, tensors: dict[int, Any]) -> _Shown:
    layer, x = node.layer, tensors[node.inputs[0]]
    if layer.time_major:
        x = keras.ops.swapaxes(x, 0, 1)
    cell = layer.layer.cell
    start = cell.get_initial_state(batch_size=x.shape[0])
    outputs, _ = cell.call_sequence(x, start, training=False, fresh=True)
    folded = keras.ops.reshape(x, (-1, *x.shape[2:]))
    activations = keras.ops.reshape(cell.activation(folded), x.shape)
    dt = float(cell.step_length())
    return _averaged(node.name, dt, *map(keras.ops.convert_to_numpy, (outputs, activations)))


def _show_reference(model: ReferenceModel, batch: Any) -> Iterator[_Shown]:
    """Yield the time averages of every spiking layer of a kspike_ref model."""
    outputs = list(model.activity(batch).values())
    for node, made in zip(model.nodes, outputs, strict=True):
        if node.layer.key.endswith("kspike_tf>SpikingActivation"):
            cell = node.layer.cell
            given = outputs[node.inputs[0].node]
            folded = np.asarray(given).reshape(-1, *np.shape(given)[2:])
            rates = cell.rates(folded).reshape(np.shape(given))
            yield _averaged(node.name, float(cell.dt), np.asarray(made), rates)
