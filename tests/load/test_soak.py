"""Long streams: the bits of one run, and memory and time that do not grow."""

import numpy as np
import pytest
import soak


@pytest.mark.parametrize(
    "neuron_steps",
    [
        pytest.param(2_000_000, id="everyday"),
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


def test_time_that_grows_is_noticed():
    slow = soak.Stream("slow", 10**6, 1e-9, 4e-9, 0.0)
    slow.check(timed=False)  # too short a stream to tell
    with pytest.raises(AssertionError, match="grew"):
        slow.check(timed=True)


def test_a_lost_state_is_noticed():
    def forgetful(x, state):
        return soak.lowpass(x, None if x.shape[1] % 2 else state)

    with pytest.raises(AssertionError, match="differs from one run"):
        soak.stream("forgetful", forgetful, (4, 8), 10_000)
