"""Rates in Hz of every signal, and the energy that devices need for them."""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kspike_energy import Application, ModelEnergy, Network
from kspike_tf.sweeping.activity import SPIKING, Activity, is_timed


def counted(model: Any, x: Any, input_coding: str) -> Network:
    """Return a model's connections and neurons, without rates.

    Parameters
    ----------
    model : keras.Model or kspike_ref.Model
        The model.
    x : structure of (batch, time, ...) array
        Inputs, which give the lengths of axes that the model leaves open, except batch and time.
    input_coding : str
        As in `kspike_energy.ModelEnergy`.
    """

    def shape(array: Any) -> tuple[int | None, ...]:
        return (None, None, *array.shape[2:])

    shapes: Any = [shape(each) for each in keras.tree.flatten(x)]
    if isinstance(x, dict):
        shapes = {key: shape(array) for key, array in x.items()}
    options: Any = {"input_coding": input_coding, "input_shape": shapes}  # ModelEnergy checks them
    return ModelEnergy(model, **options).network


class Signals:
    """Rates of a model's signals, for any number of steps.

    A filtered spike train has the mean of the spikes. After a layer that only scales, such as the
    one from rates to activations, values are no longer rates, so the rates of its inputs count.
    Signals after the end of the time axis have the rates of those that they are read out of.

    Parameters
    ----------
    nodes : sequence of Application
        The applications of the model's layers.
    activity : Activity
        The measured activity.
    scale : float
        Factor of rates: the firing rate in Hz for a neuron's output of 1.
    """

    def __init__(self, nodes: Sequence[Application], activity: Activity, scale: float) -> None:
        self.nodes, self.activity, self.scale = nodes, activity, scale

    def at(self, steps: int) -> dict[int, tuple[float, float]]:
        """Return the rate in Hz and the nonzero fraction of values, by signal."""
        means = {k: p[:, :steps].mean(axis=1) for k, p in self.activity.profiles.items()}
        hertz: dict[int, float] = {}  # of a value of 1, where values come from spikes
        rates: dict[int, float] = {}
        for node in self.nodes:
            given = [k for k in node.input_ids if k in rates and k not in node.output_ids]
            before = float(np.mean([rates[k] for k in given])) if given else None
            units = [hertz[k] for k in given if k in hertz]
            for index, key in enumerate(node.output_ids):
                if key in rates or key not in means:
                    continue
                own = float(means[key][0])
                if node.spec.kind == SPIKING:
                    hertz[key] = self.scale
                elif units:
                    hertz[key] = float(np.mean(units))
                    if before is not None and own and _only_scales(node):
                        hertz[key] = before / own
                rates[key] = own * hertz.get(key, 1.0)
                if before is not None and not is_timed(node, index):
                    rates[key] = before
        return {key: (rate, float(means[key][1])) for key, rate in rates.items()}

    def spikes(self, dt: float, steps: int) -> dict[str, tuple[float, int]]:
        """Return the spikes per example and the number of neurons, by spiking layer."""
        found: dict[str, tuple[float, int]] = {}
        examples = self.activity.examples
        for node in self.nodes:
            if node.spec.kind == SPIKING:
                values = self.activity.profiles[node.output_ids[0]][0, :steps]
                neurons = int(np.prod([n or 1 for n in node.outputs[0][2:]]))
                whole = round(float(values.sum()) * dt * self.scale * neurons * examples)
                made = whole / examples
                others = found.get(node.spec.name, (0.0, 0))  # of a shared layer
                found[node.spec.name] = made + others[0], neurons + others[1]
        return found


def _only_scales(node: Application) -> bool:
    """Return whether a layer multiplies every value, or every channel, by a factor."""
    if node.spec.kind == "EinsumDense":
        inputs, _, rest = str(node.spec.config["equation"]).partition(",")
        return rest == f"{inputs[-1]}->{inputs}"
    return node.spec.kind == "Rescaling" and not np.any(node.spec.config["offset"])


def energies(
    network: Network, signals: Signals, devices: Sequence[str], dt: float, steps: int
) -> dict[str, float]:
    """Return the energy of an inference of some steps in joules, by device."""
    measured = signals.at(steps)
    uses: dict[str, list[Application]] = defaultdict(list)
    for node in signals.nodes:
        uses[node.spec.name].append(node)
    layers = []
    for layer in network.layers:
        made = copy.copy(layer)
        made.dt = None
        made.synapses = [
            _with_rates(terms, node, measured)
            for terms, node in zip(layer.synapses, uses[layer.name], strict=True)
        ]
        layers.append(made)
    energy = ModelEnergy(Network(layers, network.name))
    with warnings.catch_warnings():  # ModelEnergy has already warned of layers it cannot count
        warnings.simplefilter("ignore")
        return {name: energy.total_energy(name, steps, dt) for name in devices}


def _with_rates(
    terms: Sequence[Any], node: Application, measured: dict[int, tuple[float, float]]
) -> list[Any]:
    """Return the synapses of one application with the rates of its inputs."""
    known = [measured[key] for key in node.input_ids if key in measured]
    if not known:
        return list(terms)
    pairs = known if len(known) == len(terms) else [tuple(np.mean(known, axis=0))] * len(terms)
    return [
        dataclasses.replace(term, rate=float(rate), active=float(active), dt=None)
        for term, (rate, active) in zip(terms, pairs, strict=True)
    ]
