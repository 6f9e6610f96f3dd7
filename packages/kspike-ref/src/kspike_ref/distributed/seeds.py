"""Seeds for layers that have none: the same draws in every process of a run."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from kspike_ref.layers.base import Layer
from kspike_ref.layers.temporal import SpikingActivation
from kspike_ref.layers.temporal_cells import SpikingActivationCell

Model = Any  # kspike_ref.Model, which imports this module


def seeded(model: Model, seed: int | None = None) -> Model:
    """Return a model whose spiking layers all have a seed.

    A spiking layer that was saved without a seed draws new initial voltages for every example in
    every call. In a run on a cluster, the results would then depend on how the data is cut, and on
    which blocks were computed twice because a machine failed. With a seed, the voltages are drawn
    once for the units of a layer, and all examples start from them.

    Your own layers with a true `StatefulLayer.draws_states` are not changed.

    Parameters
    ----------
    model : Model
        The model. It is not changed; the new model shares its weights.
    seed : int, optional
        The seed from which those of the layers are derived; drawn by the operating system if None.

    Returns
    -------
    Model
        The model itself if all its spiking layers have a seed.
    """
    if not any(_unseeded(model)):
        return model
    weights = {id(w): w for layer in model.layers for w in layer.weights.values()}
    own = copy.deepcopy(model, weights)
    cells = list(_unseeded(own))
    draws = np.random.SeedSequence(seed).generate_state(len(cells), np.uint64)
    for cell, draw in zip(cells, draws, strict=True):
        cell.seed = cell.config["seed"] = int(draw)
    for layer in _all_layers(own):
        if isinstance(layer, SpikingActivation):
            layer.config["seed"] = layer.cell.config["seed"]
    return own


def _unseeded(model: Model) -> Iterator[SpikingActivationCell]:
    """Yield the cells that draw initial voltages without a seed, in the order of the layers."""
    for layer in _all_layers(model):
        if isinstance(layer, SpikingActivationCell) and layer.seed is None:
            yield layer


def _all_layers(model: Model) -> Iterator[Layer]:
    """Yield the layers and cells of a model, including nested ones."""
    seen: set[int] = set()
    layers: list[Layer] = list(reversed(model.layers))
    while layers:
        layer = layers.pop()
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        yield layer
        for value in vars(layer).values():
            inner = value if isinstance(value, list | tuple) else [value]
            layers += [one for one in inner if isinstance(one, Layer)]
