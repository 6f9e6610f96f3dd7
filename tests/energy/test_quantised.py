"""Tests of the break-even with a quantised network against arXiv 2409.08290."""

import pytest

from kspike_energy import Layer, ModelEnergy, Network
from kspike_energy.quantised import Costs, quantised_rival


@pytest.mark.parametrize(
    ("timesteps", "weight_bits", "published"),
    [(5, 4, 0.057), (2, 4, 0.104), (2, 8, 0.123), (3, 8, 0.082), (1, 8, 0.297)],
)
def test_published_break_even(timesteps, weight_bits, published):
    # Version 4 of the paper; 0.0005 is half a unit of the last digit of most figures.
    rival = quantised_rival(timesteps, weight_bits)
    assert rival.spikes == pytest.approx(published, abs=6e-4)


def test_published_sensitivity():
    rival = quantised_rival(5, 4)
    assert rival.low == pytest.approx(0.0341, abs=1e-4)
    assert rival.high == pytest.approx(0.1080, abs=3e-4)
    ranges = {name: sorted(pair) for name, *pair in rival.sensitivity}
    assert ranges["reading a weight"] == pytest.approx([0.0539, 0.0608], abs=1e-4)
    # "at most 0.05 percentage points" for additions and multiplications, of 5.74 here
    for name in ("an addition", "a multiply-add"):
        assert ranges[name] == pytest.approx([rival.spikes] * 2, abs=6e-4)


def test_bits_are_exact_for_any_number_of_steps():
    # 2⁵³ steps tell 2⁵³ + 1 values apart, which a floating-point logarithm takes for 2⁵³.
    for power in (1, 7, 49, 53, 60):
        assert quantised_rival(2**power - 1, 8).bits == power
        assert quantised_rival(2**power, 8).bits == power + 1


def test_by_hand():
    costs = Costs(move_event=4.0, move=1.0, read=0.5, add=1.0, multiply=2.0)
    # 7 steps: 3 bits. Quantised: 3 + 2 · 0.5 + 2 = 6; a spike: 4 + 1 + 1 = 6, seven times.
    assert costs.break_even(7, 2) == pytest.approx(6 / 42)
    # 1 step, by frames: 1 + 1 + s · 1 = 1 · 1 + 1 + 2; by events only (1 + 1 + 2) / 6.
    assert costs.break_even(1, 2) == pytest.approx(2.0)


def test_a_comparison_says_that_two_energies_are_inferred():
    network = Network([Layer("a", 1000, 10, rate=2.0)])
    text = " ".join(str(ModelEnergy(network).compare(["loihi"], timesteps=5)).split())
    assert "The energies of weights and multiply-adds are inferred from the results" in text


def test_verdict():
    rival = quantised_rival(5, 4)
    assert [rival.verdict(s) for s in (0.01, 0.04, 0.1, 0.2, None)] == [
        "yes", "close", "close", "no", "?",
    ]  # fmt: skip
