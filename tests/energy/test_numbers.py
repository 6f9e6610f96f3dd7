"""Tests of numbers that are infinite, NaN, negative or too large, and of misspelt names."""

import math
from fractions import Fraction

import keras
import numpy as np
import pytest

from kspike_energy import Device, Layer, ModelEnergy, Network, default

HUGE = 10**400
NOT_FINITE = [math.inf, math.nan, -1.0, HUGE]


def one(**options):
    return ModelEnergy(Network([Layer("a", 1000, 10, **options)]))


EVERY_ESTIMATE = [
    lambda e: e.total_energy("loihi"),
    lambda e: e.layer_energy("a", "loihi"),
    lambda e: e.energy_range("loihi"),
    lambda e: e.compare(["loihi"]),
    lambda e: e.to_dict(["loihi"]),
    lambda e: e.to_json(["loihi"]),
    lambda e: e.to_records(["loihi"]),
    lambda e: e.summary_string(("name", "energy loihi")),
    lambda e: e.summary_string(("name", "synops")),
]


@pytest.mark.parametrize("estimate", EVERY_ESTIMATE)
def test_a_rate_that_gives_infinite_energy(estimate):
    with pytest.raises(ValueError, match=r"layer 'a' is too large .*check the firing rates"):
        estimate(one(rate=1e308))


def test_sums_that_overflow():
    layers = [Layer(name, 1, rate=1.5e308) for name in "ab"]
    ModelEnergy.register_device("hot", 1.0, 1.0, spiking=True)
    energy = ModelEnergy(Network(layers))
    assert energy.layer_energy("a", "hot", dt=1.0)[0] == 1.5e308
    for estimate in (energy.total_energy, energy.energy_range):
        with pytest.raises(ValueError, match=r"energ.* on 'hot' is too large"):
            estimate("hot", dt=1.0)


def test_devices_time_steps_and_dt_that_overflow():
    ModelEnergy.register_device("hot", 1e308, 1e308, spiking=False)
    with pytest.raises(ValueError, match="energy of layer 'a' on 'hot' is too large"):
        one().total_energy("hot")
    with pytest.raises(ValueError, match="too large"):
        one(rate=1e300).total_energy("loihi", timesteps_per_inference=2**60)
    with pytest.raises(ValueError, match="too large"):
        one(rate=1e10).total_energy("loihi", dt=1e300)
    inp = keras.Input((4,))
    dense = ModelEnergy(
        keras.Model(inp, keras.layers.Dense(3)(inp)), np.ones((2, 4)), input_coding="dense"
    )
    with pytest.raises(ValueError, match="too large"):
        dense.total_energy("loihi", 1, dt=5e-324)  # the rate is 1/dt


def test_a_ratio_that_overflows():
    ModelEnergy.register_device("cold", 5e-324, 0.0, spiking=False)
    with pytest.raises(ValueError, match="divided by that on 'cold' is too large"):
        one().compare(["cpu"], baseline="cold")


@pytest.mark.parametrize("value", NOT_FINITE)
def test_arguments_that_are_no_finite_amounts(value):
    wrong = r"finite|negative|must be positive"
    with pytest.raises(ValueError, match=wrong):
        one(rate=value)
    with pytest.raises(ValueError, match=wrong):
        one(dt=value)
    with pytest.raises(ValueError, match=wrong):
        default.dt = value
    with pytest.raises(ValueError, match=wrong):
        one().total_energy("cpu", dt=value)
    for name in ("energy_per_synop", "energy_per_neuron"):
        figures = {"energy_per_synop": 1.0, "energy_per_neuron": 1.0, name: value}
        with pytest.raises(ValueError, match=f"{name} must not be negative"):
            ModelEnergy.register_device("x", **figures, spiking=True)
    with pytest.raises(ValueError, match="synop_range must not be negative"):
        Device("x", 1.0, 1.0, True, synop_range=(0.5, value))
    assert default.dt == 0.001


def test_a_range_that_is_no_pair():
    for limits in (3.0, (1.0,), "ab", None):
        if limits is None:
            assert not Device("x", 1.0, 1.0, True, synop_range=limits).has_range
        else:
            with pytest.raises((TypeError, ValueError), match="synop_range must be"):
                Device("x", 1.0, 1.0, True, synop_range=limits)


@pytest.mark.parametrize("value", [-1, HUGE, 2**63])
def test_counts_that_are_out_of_range(value):
    wrong = r"must (not be negative|be below 2\*\*63|be at least 1)"
    for name in ("connections", "neurons", "params"):
        with pytest.raises(ValueError, match=f"{name} of layer 'a' {wrong}"):
            Layer("a", **{name: value})
    with pytest.raises(ValueError, match=f"params of network 'n' {wrong}"):
        Network([], "n", params=value)
    for call in (one().total_energy, one().energy_range):
        with pytest.raises(ValueError, match=f"timesteps_per_inference {wrong}"):
            call("cpu", timesteps_per_inference=value)
    with pytest.raises(ValueError, match=f"batch_size {wrong}"):
        ModelEnergy(Network([]), batch_size=value)
    inp = keras.Input((4,))
    ModelEnergy.register_layer(keras.layers.Dense)(lambda node: {"neurons": value})
    with pytest.raises(ValueError, match=f"neurons of layer 'd' {wrong}"):
        ModelEnergy(keras.Model(inp, keras.layers.Dense(3, name="d")(inp)))


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.5, True, "1", None])
def test_statistics_that_are_no_counts(value):
    inp = keras.Input((4,))
    ModelEnergy.register_layer(keras.layers.Dense)(lambda node: {"neurons": value})
    with pytest.raises(TypeError, match="neurons of layer 'd' must be a whole number"):
        ModelEnergy(keras.Model(inp, keras.layers.Dense(3, name="d")(inp)))


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1e308])
def test_data_that_cannot_be_added_up(value):
    inp = keras.Input((4,), dtype="float64")
    model = keras.Model(inp, keras.layers.Flatten(name="flat")(inp))
    data = np.full((3, 4), value)
    for batch_size in (1, 3):
        with pytest.raises(ValueError, match=r"activity at the input of layer .* is infinite"):
            ModelEnergy(model, data, batch_size=batch_size)


def test_numbers_of_other_types_are_fine():
    energy = one(rate=Fraction(1, 2))
    assert energy.total_energy("loihi", np.int64(2), np.float32(0.5)) > 0
    assert Device("x", 1, np.float32(2), True).energy_per_neuron == 2


@pytest.mark.parametrize(
    ("use", "meant"),
    [
        (lambda e: e.total_energy("spinaker2"), "spinnaker2"),
        (lambda e: e.total_energy("CPU"), "cpu"),
        (lambda e: e.total_energy("xeon"), "xeon-e5-2630"),  # by letters alone, "reckon" is nearer
        (lambda e: e.total_energy("e5-2630"), "xeon-e5-2630"),
        (lambda e: e.compare(["lohi"]), "loihi"),
        (lambda e: e.layer_energy("hiden", "cpu"), "hidden"),
        (lambda e: e.summary_string(("nmae",)), "name"),
        (lambda e: e.summary_string(("enrgy cpu",)), "energy"),
        (lambda e: e.summary_string(("energy lohi",)), "loihi"),
        (lambda e: ModelEnergy(e.network, padding="count"), "counted"),
        (lambda e: ModelEnergy(e.network, normalization="fold"), "folded"),
        (lambda e: ModelEnergy(e.network, events="exakt"), "exact"),
        (lambda e: ModelEnergy(e.network, input_coding="rates"), "rate"),
    ],
)
def test_a_misspelt_name_gets_a_suggestion(use, meant):
    energy = ModelEnergy(Network([Layer("hidden", 1000, 10, rate=5.0)]))
    with pytest.raises(ValueError, match=f"did you mean '{meant}'"):
        use(energy)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda e: ModelEnergy(e.network, exampledata=1), "ModelEnergy takes .*'example_data'"),
        (lambda e: e.total_energy("cpu", timestep=1), "total_energy takes .*'timesteps'"),
        (lambda e: e.layer_energy("hidden", "cpu", bt=1), r"layer_energy takes .*Received: bt"),
        (lambda e: e.energy_range("cpu", timestep=1), "energy_range takes .*'timesteps'"),
        (lambda e: e.compare(device=["cpu"]), "compare takes .*'devices'"),
        (lambda e: e.summary(colums=("name",)), "summary takes .*'columns'"),
        (lambda e: e.to_html(paht="x"), "to_html takes .*'path'"),
        (lambda e: ModelEnergy.register_device(energy_per_synops=1), "takes .*'energy_per_synop'"),
    ],
)
def test_a_misspelt_option_gets_a_suggestion(use, message):
    energy = ModelEnergy(Network([Layer("hidden", 1000, 10, rate=5.0)]))
    with pytest.raises(TypeError, match=message):
        use(energy)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'device'"):
        energy.total_energy()  # a right name, but another mistake


def test_a_misspelt_statistic_gets_a_suggestion():
    inp = keras.Input((4,))
    ModelEnergy.register_layer(keras.layers.Dense)(lambda node: {"connection": 1})
    with pytest.raises(ValueError, match=r"Received: 'connection'; did you mean 'connections'"):
        ModelEnergy(keras.Model(inp, keras.layers.Dense(3)(inp)))


def test_nothing_is_suggested_for_what_is_far_from_everything():
    with pytest.raises(ValueError, match=r"Received: device='tpu-v9'$"):
        one().total_energy("tpu-v9")


def test_the_name_of_a_file_is_no_model(tmp_path):
    for path in ("x.keras", tmp_path / "x.keras"):
        with pytest.raises(TypeError, match=r"Load it with kspike_ref.load_model\('.*x.keras'\)"):
            ModelEnergy(path)
