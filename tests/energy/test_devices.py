"""Tests of devices: figures, ranges, sources."""

import warnings

import pytest

from kspike_energy import Device, Layer, ModelEnergy, Network

# Copied from the sources on the reference page, not imported from the package.
REFERENCE = {
    "cpu": (8.6e-9, 8.6e-9, False),
    "gpu": (0.3e-9, 0.3e-9, False),
    "arm": (0.9e-9, 0.9e-9, False),
    "loihi": ((23.6 + 3.5) * 1e-12, 81e-12, True),
    "spinnaker": (13.3e-9, 26e-9, True),
    "spinnaker2": (450e-12, 2.19e-9, True),
}
SURVEY = {
    "truenorth": 2.5,
    "tianjic": 1.54,
    "neuronflow": 20,
    "odin": 12.7,
    "reckon": 5.3,
    "ubrain": 26,
    "seneca": 2.8,
}


def test_figures_of_the_reference_page():
    for name, (synop, neuron, spiking) in REFERENCE.items():
        device = ModelEnergy.devices[name]
        assert device.energy_per_synop == pytest.approx(synop)
        assert (device.energy_per_neuron, device.spiking) == (neuron, spiking)
    assert list(ModelEnergy.devices)[:6] == list(REFERENCE)


def test_figures_of_the_survey():
    for name, picojoules in SURVEY.items():
        device = ModelEnergy.devices[name]
        assert device.energy_per_synop == pytest.approx(picojoules * 1e-12)
        assert device.energy_per_neuron is None
        assert device.spiking
    assert ModelEnergy.devices["spinnaker"].synop_low_high[0] == 45e-12
    assert ModelEnergy.devices["spinnaker2"].synop_low_high[0] == 10e-12
    assert ModelEnergy.devices["loihi"].synop_low_high[0] == 23.6e-12


def test_every_number_has_a_citation():
    for device in ModelEnergy.devices.values():
        assert "20" in device.source, device.name  # the source names a year
        assert device.description
    table = str(ModelEnergy.devices)
    for device in ModelEnergy.devices.values():
        assert device.name in table
        assert device.source in table
    assert "per synop" in table
    assert "27.1 pJ" in table


def test_as_records_and_html():
    records = ModelEnergy.devices.to_records()
    assert records[0]["name"] == "cpu"
    assert {"source", "energy_per_synop", "spiking"} <= set(records[0])
    html = ModelEnergy.devices._repr_html_()
    assert ">loihi</td>" in html
    assert ">23.6 pJ to 27.1 pJ</td>" in html
    assert "Höppner et al., &#x27;Dynamic" in html


def test_one_device_in_a_notebook():
    loihi = ModelEnergy.devices["loihi"]._repr_html_()
    assert "<caption>loihi</caption>" in loihi
    assert ">27.1 pJ<" in loihi
    assert "Davies et al." in loihi
    assert ">not published<" in ModelEnergy.devices["odin"]._repr_html_()
    board = ModelEnergy.devices["quadro-k4000"]._repr_html_()
    assert ">20.7 mJ<" in board
    assert ">1.47 nJ<" in board
    assert ">3.1 pJ<" in ModelEnergy.devices["45nm-int32-sram"]._repr_html_()


def test_range_of_an_estimate():
    energy = ModelEnergy(Network([Layer("a", 1000, 10, rate=100.0)]))
    low, high = energy.energy_range("spinnaker2", timesteps_per_inference=10)
    operations = 1000 * 100 * 0.001 * 10
    assert low == pytest.approx(operations * 10e-12 + 100 * 2.19e-9)
    assert high == pytest.approx(energy.total_energy("spinnaker2", 10))
    assert energy.energy_range("cpu") == pytest.approx((energy.total_energy("cpu"),) * 2)
    assert "published figures" in energy.summary_string(("name", "energy spinnaker2"))


def test_without_a_neuron_figure_the_total_says_so():
    energy = ModelEnergy(Network([Layer("a", 1000, 10, rate=100.0)]))
    assert energy.total_energy("odin") == pytest.approx(100 * 12.7e-12)
    report = energy.summary_string(("name", "energy odin", "neuron_energy odin"))
    assert "(odin): 1.27e-09 (synaptic operations only)" in report
    assert report.splitlines()[2].split("|")[-1].strip() == "-"


def test_registering_twice():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ModelEnergy.register_device("mine", 1e-12, 2e-12, True)
        ModelEnergy.register_device("mine", 1e-12, 2e-12, True)  # the same again: no change
    with pytest.warns(UserWarning, match=r"device 'mine' was registered already") as caught:
        ModelEnergy.register_device("mine", 2e-12, 2e-12, True)
    assert caught[0].filename == __file__
    assert ModelEnergy.devices["mine"].energy_per_synop == 2e-12
    with pytest.warns(UserWarning, match=r"device 'cpu' was registered already"):
        ModelEnergy.register_device("cpu", 1, 1, False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ModelEnergy.register_device("mine", 3e-12, None, True, replace=True)
    assert ModelEnergy.devices["mine"].energy_per_synop == 3e-12
    ModelEnergy.devices.remove("mine")
    assert "mine" not in ModelEnergy.devices


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("x", -1.0, 1.0, True), ValueError, "energy_per_synop must not be negative.*-1.0"),
        (("x", 1.0, float("nan"), True), ValueError, "energy_per_neuron must not be negative"),
        (("x", "1", 1.0, True), TypeError, "energy_per_synop must be a number of joules.*'1'"),
        (("x", 1.0, 1.0, "yes"), TypeError, "spiking must be True or False.*'yes'"),
        (("", 1.0, 1.0, True), ValueError, "device_name must be a non-empty string"),
        (("x ", 1.0, 1.0, True), ValueError, "device_name must be a non-empty string"),
        ((None, 1.0, 1.0, True), ValueError, "device_name must be a non-empty string"),
    ],
)
def test_bad_devices(arguments, error, message):
    with pytest.raises(error, match=message):
        ModelEnergy.register_device(*arguments)


def test_a_range_must_hold_its_figure():
    with pytest.raises(ValueError, match=r"synop_range must be \(low, high\) around.*\(2, 3\)"):
        Device("x", 1.0, 1.0, True, synop_range=(2, 3))
    with pytest.raises(ValueError, match=r"neuron_range must be"):
        Device("x", 1.0, None, True, neuron_range=(2, 3))


@pytest.mark.parametrize("device", ["tpu", None, 3])
def test_unknown_device(device):
    energy = ModelEnergy(Network([Layer("a", 1)]))
    for function in (energy.total_energy, energy.energy_range):
        with pytest.raises(ValueError, match=r"device must be one of .*'cpu'.*Received: device="):
            function(device)
    with pytest.raises(ValueError, match=r"device must be one of"):
        energy.layer_energy("a", device)
    with pytest.raises(ValueError, match=r"device must be one of"):
        ModelEnergy.devices.remove(device)
