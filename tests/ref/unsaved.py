"""Models from configurations alone, with random weights and without a file."""

from __future__ import annotations

from unittest import mock

import numpy as np

from kspike_ref.layers.base import Layer
from kspike_ref.model import Model
from kspike_ref.saved.build import build
from kspike_ref.saved.config import parse

POSITIVE = ("tau", "moving_variance", "variance", "kernel_scale", "embeddings_scale")


class _Drawn:
    """Store that claims to hold whatever is asked for."""

    def __init__(self, rng):
        self.rng = rng

    def holds(self, path):
        return True

    assets = None
    repeats_shared = False

    def read(self, path, name, shape, layer):
        return self.rng.normal(0, 1, shape)

    def names(self, path):
        return []

    def check_all_read(self):
        """Do nothing: it holds nothing that is not read."""


def unsaved(config, seed=0, **options):
    """Return a model with random weights of whatever shapes it needs."""
    rng = np.random.default_rng(seed)

    def load(layer, store, path, *shapes):
        for name, shape in layer.weight_shapes(*shapes).items():
            values = rng.uniform(0.01, 0.1, shape) if name in POSITIVE else rng.normal(0, 1, shape)
            layer.weights[name] = values.astype(layer.dtype)
        for place, part, part_shapes in layer.parts(*shapes):
            part.load(store, f"{path}/{place}", *part_shapes)
            layer.weights |= {f"{place}/{name}": w for name, w in part.weights.items()}
        layer.prepare()

    with mock.patch.object(Layer, "load", load):
        return Model(build(parse(config), _Drawn(rng)), **options)
