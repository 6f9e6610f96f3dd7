"""Tests of long streams: the bits of one run, and constant memory and work per step."""

import numpy as np
import pytest
import soak

from kspike_ref.layers import registry
from kspike_ref.layers.cells import Cell
from kspike_ref.layers.stateful import StatefulLayer


@pytest.mark.parametrize(
    "neuron_steps",
    [
        pytest.param(500_000, id="everyday"),
        pytest.param(100_000_000, id="1e8", marks=pytest.mark.slow),
    ],
)
def test_streams_have_the_bits_of_one_run(neuron_steps):
    found = soak.soak(neuron_steps)
    assert sum(one.neuron_steps for one in found) > 0.99 * neuron_steps  # whole steps


def test_memory_that_grows_is_noticed():
    held = []

    def leaky(x, state):
        held.append(np.ones(2**20))  # 8 MiB
        return soak.lowpass(x, state)

    with pytest.raises(AssertionError, match="grew"):
        soak.stream("leaky", leaky, (4, 8), 10_000)


@pytest.mark.parametrize("growing", ["work", "state"])
def test_work_that_grows_is_noticed(growing):
    steps = []

    def slower(x, state):
        y, level = soak.lowpass(x, None if state is None else state[:4])
        steps.append(len(steps))
        if growing == "work":
            for step in steps:
                abs(step)
            return y, level
        return y, np.resize(level, (4 + len(steps), *level.shape[1:]))

    with pytest.raises(AssertionError, match="the work of a step grew"):
        soak.stream("slower", slower, (4, 8), 10_000)


def test_objects_that_are_left_behind_are_noticed():
    held = []

    def leaky(x, state):
        held.extend([] for step in range(x.shape[1]))
        return soak.lowpass(x, state)

    with pytest.raises(AssertionError, match=r"grew.* objects"):
        soak.stream("leaky", leaky, (4, 8), 10_000)


def kinds(config):
    """Yield all classes in a configuration, at any depth."""
    if isinstance(config, dict):
        if "class_name" in config:
            yield config["class_name"]
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            yield from kinds(value)


def test_every_layer_with_a_state_is_there():
    known = registry._registry.items()
    stateful = {name for name, cls in known if issubclass(cls, StatefulLayer | Cell)}
    found = {kind for entry in soak.MODELS.values() for kind in kinds(entry.config)}
    without_a_layer = {"ConvLSTM1DCell", "ConvLSTM2DCell", "ConvLSTM3DCell"}  # part of ConvLSTM
    missing = {name.removeprefix("custom:kspike_tf>") for name in stateful} - found
    assert missing == without_a_layer


def test_masks_are_there():
    x = next(soak.blocks((64, 16), 100))
    resting = ~x.any(axis=2)
    assert 0.02 < resting.mean() < 0.1
    assert not resting.all(axis=0).any()  # some examples are not masked


def test_a_lost_state_is_noticed():
    def forgetful(x, state):
        return soak.lowpass(x, None if x.shape[1] % 2 else state)

    with pytest.raises(AssertionError, match="differs from one run"):
        soak.stream("forgetful", forgetful, (4, 8), 10_000)
