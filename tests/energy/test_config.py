"""Tests of the default time step."""

import pytest

from kspike_energy import DefaultManager, Layer, ModelEnergy, Network, default


def test_default():
    assert default.dt == 0.001
    assert repr(DefaultManager(0.5)) == "DefaultManager(dt=0.5)"


def test_estimates_use_it():
    energy = ModelEnergy(Network([Layer("a", 10, rate=5.0)]))
    before = energy.total_energy("loihi")
    default.dt = 0.002
    try:
        assert energy.total_energy("loihi") == pytest.approx(2 * before)
        assert energy.total_energy("loihi", dt=0.001) == before
    finally:
        default.dt = 0.001


@pytest.mark.parametrize("dt", [0, -1, float("nan"), float("inf")])
def test_dt_must_be_positive(dt):
    with pytest.raises(ValueError, match=r"dt must be positive and finite. Received: dt="):
        DefaultManager(dt)
    with pytest.raises(ValueError, match=r"dt must be positive and finite. Received: dt="):
        ModelEnergy(Network([])).total_energy("cpu", dt=dt)


@pytest.mark.parametrize("dt", ["1", None, True])
def test_dt_must_be_a_number(dt):
    with pytest.raises(TypeError, match=r"dt must be a real number. Received: dt="):
        default.dt = dt
