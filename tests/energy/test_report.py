"""Tests of printed reports: golden text for five models, and columns that add up.

After an intended change, run with KSPIKE_RENEW_REPORTS=1 to renew the golden reports, and read the
difference.
"""

import os
import re
from pathlib import Path

import keras
import numpy as np
import pytest

import kspike_tf
from kspike_energy import Layer, ModelEnergy, Network

REPORTS = Path(__file__).parent / "reports"
L = keras.layers
EVERYTHING = (
    "name", "output_shape", "params", "connections", "neurons", "rate", "synops", "spiking",
    "synop_energy cpu", "neuron_energy cpu", "energy cpu", "energy loihi", "energy odin",
)  # fmt: skip


def dense():
    inp = keras.Input((784,), name="pixels")
    return keras.Model(inp, L.Dense(128, "relu", name="hidden")(inp)), np.ones((2, 784))


def convolutional():
    inp = keras.Input((28, 28, 1), name="image")
    x = L.Conv2D(8, 3, strides=2, padding="same", kernel_initializer="ones", name="conv")(inp)
    x = L.ReLU(name="relu")(L.BatchNormalization(name="norm")(x))
    x = L.Flatten(name="flat")(L.MaxPooling2D(name="pool")(x))
    return keras.Model(inp, L.Dense(10, kernel_initializer="ones", name="scores")(x)), np.ones(
        (2, 28, 28, 1)
    )


def spiking():
    inp = keras.Input((None, 64), name="image")
    x = L.Dense(32, kernel_initializer="ones", name="hidden")(inp)
    x = kspike_tf.SpikingActivation("relu", seed=0, name="spikes")(x)
    x = kspike_tf.Lowpass(0.01, return_sequences=False, name="filter")(x)
    return keras.Model(inp, L.Dense(10, kernel_initializer="ones", name="scores")(x)), np.ones(
        (2, 20, 64)
    )


def recurrent():
    inner = keras.Sequential(
        [keras.Input((4, 4, 1)), L.Conv2D(2, 3, kernel_initializer="ones", name="conv")],
        name="eye",
    )
    inp = keras.Input((6, 4, 4, 1), name="film")
    x = L.TimeDistributed(L.Flatten(), name="flat")(L.TimeDistributed(inner, name="see")(inp))
    x = L.Bidirectional(L.LSTM(5, kernel_initializer="ones"), name="both")(x)
    return keras.Model(inp, L.Dense(3, kernel_initializer="ones", name="say")(x)), np.ones(
        (2, 6, 4, 4, 1)
    )


class Mystery(L.Layer):
    def call(self, x):
        return x

    def compute_output_shape(self, shape):
        return shape


def with_a_gap():
    inp = keras.Input((10,), name="in")
    shared = L.Dense(10, kernel_initializer="ones", name="shared")
    x = Mystery(name="a_layer_with_a_rather_long_name_that_nobody_has_registered")(shared(inp))
    return keras.Model(inp, L.Add(name="sum")([shared(x), x])), np.ones((2, 10))


MODELS = [dense, convolutional, spiking, recurrent, with_a_gap]


@pytest.fixture(params=MODELS, ids=lambda build: build.__name__)
def case(request):
    model, data = request.param()
    model.name = request.param.__name__
    return request.param.__name__, model, data


@pytest.mark.filterwarnings("ignore:layer 'a_layer_with")
def test_golden_reports(case):
    name, model, data = case
    energy = ModelEnergy(model, data)
    text = energy.summary_string() + "\n\n"
    text += energy.summary_string(EVERYTHING, timesteps_per_inference=20, line_length=160) + "\n"
    path = REPORTS / f"{name}.txt"
    if os.environ.get("KSPIKE_RENEW_REPORTS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def table(text):
    """Return headers and columns of a report, without the continuation lines of cells."""
    lines = text.split("\n")
    rule = next(index for index, line in enumerate(lines) if line.startswith("---"))
    end = next(index for index, line in enumerate(lines) if line.startswith("==="))
    assert len({len(line) for line in lines[: end + 1]}) == 1  # all lines are equally long
    rows = [[cell.strip() for cell in line.split("|")] for line in lines[rule + 1 : end]]
    return [cell.strip() for cell in lines[0].split("|")], list(zip(*rows, strict=True))


def numbers(column):
    return [float(cell) for cell in column if cell not in ("?", "-")]


@pytest.mark.filterwarnings("ignore:layer 'a_layer_with")
def test_columns_add_up_to_the_printed_totals(case):
    _, model, data = case
    energy = ModelEnergy(model, data)
    text = energy.summary_string(EVERYTHING, timesteps_per_inference=20, line_length=1000)
    headers, columns = table(text)
    for device in ("cpu", "loihi", "odin"):
        total = float(re.search(rf"\({device}\): ([0-9.e+-]+)", text)[1])
        cells = numbers(columns[headers.index(f"J/inf ({device})")])
        # Each cell is rounded to two digits (5 % at worst), the total to three (0.5 %).
        slack = sum(0.05 * cell for cell in cells) + 0.005 * total
        assert abs(sum(cells) - total) <= slack
    counts = re.search(r"Total per time step: (\d+) params, (\d+) connections, (\d+) neurons", text)
    for header, total in zip(("Param #", "Conn #", "Neuron #"), counts.groups(), strict=True):
        assert sum(numbers(columns[headers.index(header)])) == int(total)
    synop, neuron, both = (
        numbers(columns[headers.index(f"{kind}J/inf (cpu)")]) for kind in ("Synop ", "Neuron ", "")
    )
    for a, b, c in zip(synop, neuron, both, strict=True):
        assert a + b == pytest.approx(c, rel=0.1)  # each is rounded to two digits


@pytest.mark.filterwarnings("ignore:layer 'a_layer_with")
def test_every_header_has_its_unit(case):
    _, model, data = case
    text = ModelEnergy(model, data).summary_string(EVERYTHING, 20, line_length=1000)
    headers, _ = table(text)
    for header in headers[2:]:
        assert re.search(r"#|\[Hz\]|J/inf|/step|\?$", header), header


@pytest.mark.parametrize("line_length", [40, 60, 98, 200])
@pytest.mark.filterwarnings("ignore:layer 'a_layer_with")
def test_lines_are_no_longer_than_asked(line_length):
    model, data = with_a_gap()
    energy = ModelEnergy(model, data)
    text = energy.summary_string(("name", "connections", "energy cpu"), line_length=line_length)
    table_part = text.split("=\n")[0].split("\n")
    assert max(map(len, table_part)) <= line_length
    names = "".join(line.split("|")[0].strip() for line in table_part)
    assert "a_layer_with_a_rather_long_name_that_nobody_has_registered" in names


def test_warnings_can_be_left_out():
    energy = ModelEnergy(Network([Layer("a", 5, rate=1.0)]))
    text = energy.summary_string(print_warnings=False)
    assert text.endswith("5 connections, 0 neurons")
    assert "Only arithmetic is estimated" in energy.summary_string()


def test_layers_that_cannot_spike_as_they_are_are_named():
    energy = ModelEnergy(Network([Layer("relu", 5, 3, rate=1.0, spiking=False)]))
    text = energy.summary_string(("name", "energy loihi"), line_length=200)
    assert "could not run these layers as they are" in text
    assert text.splitlines()[-1].startswith("* Only arithmetic")
    assert "relu" in text.split("assumed: ")[1].splitlines()[0]


@pytest.mark.parametrize(
    "columns", [("name", "colour"), ("energy",), ("watts cpu",), ("name", 3), "name", ()]
)
def test_unknown_columns(columns):
    energy = ModelEnergy(Network([Layer("a", 5)]))
    with pytest.raises(ValueError, match=r"columns must be .*Received: "):
        energy.summary_string(columns)


def test_unknown_device_in_a_column():
    energy = ModelEnergy(Network([Layer("a", 5)]))
    with pytest.raises(ValueError, match=r"device must be one of .*Received: device='tpu'"):
        energy.summary_string(("name", "energy tpu"))


def test_rates_are_unknown_without_data():
    text = ModelEnergy(Network([Layer("a", 5)])).summary_string(("name", "rate", "synops"))
    assert [cell.strip() for cell in text.splitlines()[2].split("|")[1:]] == ["?", "?"]


@pytest.mark.parametrize(("length", "error"), [(0, ValueError), ("wide", TypeError)])
def test_bad_line_length(length, error):
    with pytest.raises(error, match=r"line_length must be"):
        ModelEnergy(Network([])).summary(line_length=length)


def test_a_network_that_costs_nothing_has_no_range():
    energy = ModelEnergy(Network([Layer("a")]))
    text = energy.summary_string(("energy loihi", "energy 45nm-int32-sram", "energy jetson-tx1"))
    assert "(loihi): 0.00e+00\n" in text
    assert "(45nm-int32-sram): 0.00e+00\n" in text
    assert "(jetson-tx1): 5.29e-03 (" in text  # energy of the call


def test_golden_comparison():
    layers = [
        Layer("hidden", 100_352, 128, rate=100.0, type_name="Dense"),
        Layer("readout", 1280, rate=30.0, type_name="Dense", output_shape=(None, 10)),
    ]
    energy = ModelEnergy(Network(layers, name="digits"))
    devices = ["cpu", "loihi", "quadro-k4000", "45nm-int32-sram", "45nm-int32-sram-spiking"]
    comparison = energy.compare(devices, models=["measured"], timesteps=8)
    text = f"{comparison}\n\n{energy.to_markdown(devices, 8)}\n\n{energy.to_latex(devices, 8)}\n"
    path = REPORTS / "comparison.txt"
    if os.environ.get("KSPIKE_RENEW_REPORTS"):
        path.write_text(text)
    assert text == path.read_text()
