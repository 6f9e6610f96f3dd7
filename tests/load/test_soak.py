"""Long streams: the bits of one run, and memory and time that do not grow."""

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
    for one in found:
        assert one.grew < 48, str(one)  # MiB; blocks of inputs and their outputs come and go
        if neuron_steps > 1e7:
            # A step that grows with the number of those before it would take 100 times as long.
            assert one.late < 10 * one.early, str(one)


def test_a_lost_state_is_noticed():
    def forgetful(x, state):
        return soak.lowpass(x, None if x.shape[1] % 2 else state)

    with pytest.raises(AssertionError, match="differs from one run"):
        soak.stream("forgetful", forgetful, (4, 8), 10_000)
