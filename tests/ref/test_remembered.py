"""Tests that what a model stores about shapes it ran does not affect other shapes."""

from __future__ import annotations

import numpy as np
import pytest
from archives import dense, input_layer, layer, sequential
from unsaved import unsaved

from kspike_ref.running.batches import block_size
from kspike_ref.running.inputs import Inputs


def _spikes():
    return layer("SpikingActivation", "s", "kspike_tf", activation="relu", dt=0.01, seed=0)


CHAIN = sequential(input_layer(None, 5), dense("a", 40), _spikes(), dense("b", 3))
IMAGES = sequential(
    input_layer(None, None, 2),
    layer("Conv2D", "c", filters=3, kernel_size=[3, 3], strides=[2, 1], padding="same"),
    layer("MaxPooling2D", "p", pool_size=[2, 2], strides=[2, 2], padding="valid"),
)
SHAPES = {
    # One example at one step comes first, so that its buffers are too small for all others.
    "chain": (CHAIN, [(1, 1, 5), (16, 50, 5), (2, 50, 5), (16, 2, 5), (3, 7, 5), (1, 1, 5)]),
    "images": (IMAGES, [(1, 4, 4, 2), (1, 9, 12, 2), (2, 12, 9, 2), (1, 4, 4, 2)]),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_model_that_ran_other_shapes_gives_what_a_new_one_gives(name):
    config, shapes = SHAPES[name]
    model, rng = unsaved(config), np.random.default_rng(0)
    for shape in shapes:
        x = (9 * rng.normal(size=shape)).astype(np.float32)
        np.testing.assert_array_equal(model.predict(x), unsaved(config).predict(x))


def test_block_sizes_are_those_of_the_shapes_and_the_threads():
    model = unsaved(IMAGES)
    shapes = [((count, side, 16, 2),) for count in (3, 400) for side in (4, 300)]
    cases = 2 * [(shape, threads) for shape in shapes for threads in (1, 7)]
    found = [model._engine.budget.block_size(*case) for case in cases]
    assert found == [block_size(model.nodes, *case) for case in cases]
    assert len(set(found)) > 2


def test_layers_cannot_write_into_the_input_of_a_step(monkeypatch):
    model, x, seen = unsaved(CHAIN), np.ones((2, 5), np.float64), []
    cast = Inputs.cast
    monkeypatch.setattr(Inputs, "cast", lambda self, given: seen.append(given) or cast(self, given))
    model.step(x, model.initial_state(2))
    ((given,),) = seen
    assert given.shape == (2, 1, 5)
    assert np.shares_memory(given, x)
    assert not given.flags.writeable
    assert x.flags.writeable
