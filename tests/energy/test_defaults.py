"""Tests of default time steps and dt, open time axes, masks, folding, and invalid rates."""

import contextlib
import inspect
import io
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest

import kspike_tf
from kspike_energy import Layer, ModelEnergy, Network
from kspike_energy.plots import plot_layers

L = keras.layers
ops = keras.ops


def spiking_model(dt=0.005):
    inp = keras.Input((None, 8), name="in")
    x = L.Dense(6, kernel_initializer="ones", name="first")(inp)
    x = kspike_tf.SpikingActivation("relu", dt=dt, seed=0, name="spikes")(x)
    return keras.Model(inp, L.Dense(4, name="last")(x))


def rows(energy):
    return {layer.name: layer for layer in energy.network.layers}


# Time steps and dt --------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
def test_steps_of_the_data_and_dt_of_the_layers():
    energy = ModelEnergy(spiking_model(), np.full((2, 20, 8), 10.0))
    assert energy.total_energy("loihi") == energy.total_energy("loihi", 20, 0.005)
    assert energy.layer_energy("last", "loihi") == energy.layer_energy("last", "loihi", 20, 0.005)
    assert energy.energy_range("loihi") == energy.energy_range("loihi", 20, 0.005)
    assert energy.compare(["loihi"]).timesteps == 20
    facts = energy.assumptions()
    assert (facts["dt"], facts["timesteps_per_inference"]) == (0.005, 20)
    report = energy.summary_string(("name", "energy loihi"), line_length=200)
    assert (
        "20 time steps per inference (length of example_data) of dt = 0.005 s (the layers' own)"
        in report
    )


def test_numbers_that_are_passed_come_first():
    energy = ModelEnergy(spiking_model(), np.full((2, 20, 8), 10.0))
    report = energy.summary_string(("name", "energy loihi"), 7, 0.005, line_length=200)
    assert "7 time steps per inference (as passed) of dt = 0.005 s (as passed)" in report
    assert energy.assumptions(7, 0.002)["dt_from"] == "as passed"


@dataclass(frozen=True)
class Calls:
    """All methods that take a number of time steps, called with otherwise equal arguments."""

    energy: ModelEnergy
    folder: Path

    def estimate(self, **steps):
        return self.energy.estimate(**steps)

    def layer_energy(self, **steps):
        return self.energy.layer_energy("a", "loihi", **steps)

    def total_energy(self, **steps):
        return self.energy.total_energy("loihi", **steps)

    def energy_range(self, **steps):
        return self.energy.energy_range("loihi", **steps)

    def assumptions(self, **steps):
        return self.energy.assumptions(**steps)

    def compare(self, **steps):
        return self.energy.compare(["loihi"], **steps)

    def summary(self, **steps):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            self.energy.summary(("name", "energy loihi"), **steps)
        return printed.getvalue()

    def summary_string(self, **steps):
        return self.energy.summary_string(("name", "energy loihi"), **steps)

    def to_records(self, **steps):
        return self.energy.to_records(["loihi"], **steps)

    def to_dict(self, **steps):
        return self.energy.to_dict(["loihi"], **steps)

    def to_json(self, **steps):
        return self.energy.to_json(["loihi"], **steps)

    def to_markdown(self, **steps):
        return self.energy.to_markdown(["loihi"], **steps)

    def to_latex(self, **steps):
        return self.energy.to_latex(["loihi"], **steps)

    def to_html(self, **steps):
        self.energy.to_html(self.folder / "report.html", ["cpu", "loihi"], **steps)
        return (self.folder / "report.html").read_text(encoding="utf-8")

    def plot_layers(self, **steps):
        (line, *_) = plot_layers(self.energy, "loihi", **steps).lines
        return list(line.get_xdata())


METHODS = [name for name in vars(Calls) if not name.startswith("_")]


def test_no_method_with_time_steps_is_forgotten():
    methods = inspect.getmembers(ModelEnergy, inspect.isfunction)
    taking = {
        name
        for name, method in methods
        if "timesteps_per_inference" in inspect.signature(method).parameters
    }
    assert taking | {"plot_layers"} == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_both_names_of_the_time_steps(method, tmp_path):
    call = getattr(Calls(ModelEnergy(Network([Layer("a", 1000, 10, rate=5.0)])), tmp_path), method)
    assert call(timesteps=20) == call(timesteps_per_inference=20) != call(timesteps=10)
    for both in (20, 10):
        with pytest.raises(
            TypeError, match="pass either timesteps_per_inference or timesteps, not both"
        ):
            call(timesteps_per_inference=20, timesteps=both)
    with pytest.raises(ValueError, match=r"timesteps must be at least 1\. Received: timesteps=0"):
        call(timesteps=0)
    with pytest.raises(TypeError, match=r"timesteps must be a whole number\. .* timesteps=1\.5"):
        call(timesteps=1.5)


def test_signals_keep_the_time_step_of_the_layer_that_emits_them():
    inp = keras.Input((None, 8), name="in")
    x = L.Dense(6, kernel_initializer="ones", name="a")(inp)
    x = kspike_tf.SpikingActivation("relu", dt=0.01, seed=0)(x)
    x = L.Dense(5, kernel_initializer="ones", name="b")(x)
    x = kspike_tf.SpikingActivation("relu", dt=0.002, seed=0)(x)
    model = keras.Model(inp, L.Dense(4, name="c")(x))
    energy = ModelEnergy(model, np.full((2, 20, 8), 1.0))
    steps = {name: energy.layer_energy(name, "loihi")[0] / 27.1e-12 / 20 for name in "abc"}
    rates = {name: rows(energy)[name].rate(1.0) for name in "abc"}
    assert steps["a"] == pytest.approx(48 * rates["a"] * 0.01)  # before the first layer
    assert steps["b"] == pytest.approx(30 * rates["b"] * 0.01)
    assert steps["c"] == pytest.approx(20 * rates["c"] * 0.002)
    assert "layers have 0.002 to 0.01 s" in energy.assumptions()["dt_from"]


def test_static_data_need_a_number_of_steps():
    model = keras.Sequential([keras.Input((8,)), L.Dense(4)])
    energy = ModelEnergy(model, np.ones((3, 8)))
    energy.total_energy("cpu")
    match = "timesteps_per_inference must be passed .*example_data has no time axis"
    for estimate in (
        energy.total_energy,
        energy.energy_range,
        lambda device: energy.compare([device]),
        lambda device: energy.summary_string((f"energy {device}",)),
        lambda device: energy.to_dict([device]),
        lambda device: energy.layer_energy(energy.network.layers[1], device),
    ):
        with pytest.raises(ValueError, match=match):
            estimate("loihi")
    with pytest.raises(ValueError, match="spiking device: there is no example_data"):
        ModelEnergy(model).total_energy("loihi")
    assert energy.total_energy("loihi", 5) > 0
    assert "loihi" not in energy.to_dict()["totals"]  # it cannot be estimated
    assert "loihi" in energy.to_dict(timesteps_per_inference=5)["totals"]


def test_sequences_of_several_lengths_need_a_number_of_steps():
    batches = [np.ones((2, 5, 8)), np.ones((2, 9, 8))]
    energy = ModelEnergy(spiking_model(), iter(batches))
    with pytest.raises(ValueError, match="example_data has sequences of 5 to 9 steps"):
        energy.total_energy("loihi")


def test_time_first_data_have_their_steps_in_front():
    layers = [keras.Input((None, 6)), kspike_tf.SpikingActivation("relu", time_major=True)]
    energy = ModelEnergy(keras.Sequential(layers), np.ones((9, 2, 6)))
    assert energy.assumptions()["timesteps_per_inference"] == 9


def test_a_network_described_by_hand_runs_one_step():
    energy = ModelEnergy(Network([Layer("a", 1000, 10, rate=5.0)]))
    assert energy.total_energy("loihi") == energy.total_energy("loihi", 1, 0.001)
    text = energy.summary_string(("name", "energy loihi"), line_length=200)
    assert "1 time step per inference (default of a network described by hand)" in text


def test_keras_spiking_has_its_own_defaults():
    energy = ModelEnergy(spiking_model(), np.ones((2, 20, 8)), convention="keras-spiking")
    facts = energy.assumptions()
    assert (facts["dt"], facts["timesteps_per_inference"]) == (0.001, 1)


def test_pixels_taken_as_rates_get_a_warning():
    model = keras.Sequential([keras.Input((8,)), L.Dense(4, name="hidden")])
    energy = ModelEnergy(model, np.full((3, 8), 255.0))
    with pytest.warns(UserWarning, match=r"exceeds 1 event.*hidden \(1.2\d\).*input_coding"):
        energy.total_energy("loihi", 10, 0.005)
    with pytest.warns(UserWarning, match="exceeds 1 event"):
        text = energy.summary_string(("name", "energy loihi"), 10, 0.005, line_length=200)
    assert "more than one event per element and step on average: hidden (1.2" in text


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("coding", ["events", "dense"])
def test_pixels_that_are_no_rates_get_none(coding):
    model = keras.Sequential([keras.Input((8,)), L.Dense(4)])
    energy = ModelEnergy(model, np.full((3, 8), 255.0), input_coding=coding)
    energy.total_energy("loihi", 10, 0.005)
    energy.total_energy("cpu")


# Open time axes -----------------------------------------------------------------------------------


def attending(length):
    inp = keras.Input((length, 8))
    x = L.MultiHeadAttention(2, 4, name="attend")(inp, inp)
    return keras.Model(inp, L.Dense(3, name="dense")(L.Attention(name="dot")([x, x])))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("stream", [False, True])
def test_attention_takes_the_length_of_time_from_data(stream):
    data = np.ones((4, 6, 8), "float32")
    given = iter(np.split(data, 2)) if stream else data
    opened = rows(ModelEnergy(attending(None), given))
    known = rows(ModelEnergy(attending(6)))
    for name in ("attend", "dot"):
        assert opened[name].connections == known[name].connections > 0
        assert opened[name].neurons == known[name].neurons
    assert opened["dense"].connections == 8 * 3  # for one time step
    assert opened["attend"].output_shape == (None, None, 8)


def test_attention_runs_once_for_all_steps():
    energy = ModelEnergy(attending(None), np.ones((4, 6, 8), "float32"))
    for name, steps in (("attend", 1), ("dense", 6)):
        row = rows(energy)[name]
        wanted = row.synops(0.001) * steps * 27.1e-12
        assert energy.layer_energy(name, "loihi")[0] == pytest.approx(wanted)


def test_an_open_length_without_data_stays_a_gap():
    with pytest.warns(UserWarning, match="undefined shape .*example_data"):
        assert ModelEnergy(attending(None)).network.gaps


# Masks --------------------------------------------------------------------------------------------


def masked(masked_layer, after):
    tokens = keras.Input((7,), dtype="int32", name="tokens")
    mask = ops.not_equal(tokens, 0)
    x = L.Embedding(20, 5, name="embed")(tokens)
    return keras.Model(tokens, after(masked_layer(x, mask=mask)))


def test_masks_cost_nothing_and_carry_the_time_axis():
    model = masked(L.LSTM(3, return_sequences=True, name="lstm"), L.Dense(2, name="dense"))
    energy = ModelEnergy(model)
    found = rows(energy)
    assert found["not_equal"].neurons == found["not_equal"].connections == 0
    assert found["embed"].connections == 5
    x, m = keras.Input((7, 4), name="x"), keras.Input((7, 6), name="m")
    mask = ops.any(ops.not_equal(m, 0.0), axis=-1)
    y = L.LSTM(3, return_sequences=True)(L.Dense(5, name="dense")(x), mask=mask)
    energy = ModelEnergy(keras.Model([x, m], [y, L.Dense(2, name="other")(m)]))
    found = rows(energy)
    assert energy.network.neurons == 3 * 5  # of the LSTM alone: the mask costs nothing
    assert found["dense"].connections == 20
    assert found["other"].connections == 12  # the mask carried the time axis


def test_a_mask_that_the_model_returns_is_a_signal():
    tokens = keras.Input((7,), dtype="int32", name="tokens")
    mask = ops.not_equal(tokens, 0)
    x = L.LSTM(3, name="lstm")(L.Embedding(20, 5)(tokens), mask=mask)
    energy = ModelEnergy(keras.Model(tokens, [x, mask]))
    assert rows(energy)["not_equal"].neurons == 1  # per time step


# Folding ------------------------------------------------------------------------------------------


def normalised(build):
    inp = keras.Input((6,))
    x = L.Dense(4, name="dense")(inp)
    y = L.BatchNormalization(name="norm")(x)
    return rows(ModelEnergy(keras.Model(inp, build(x, y))))["norm"].connections


def test_a_normalisation_is_folded_only_into_a_layer_that_nothing_else_reads():
    assert normalised(lambda x, y: y) == 0
    assert normalised(lambda x, y: L.Add()([x, y])) == 4  # a second layer reads it
    assert normalised(lambda x, y: [x, y]) == 4  # the model returns it


def test_a_layer_that_is_used_again_without_the_normalisation():
    a, b = keras.Input((6,)), keras.Input((6,))
    dense, norm = L.Dense(4), L.BatchNormalization(name="norm")
    once = keras.Model([a, b], L.Add()([norm(dense(a)), L.ReLU()(dense(b))]))
    assert rows(ModelEnergy(once))["norm"].connections == 4
    both = keras.Model([a, b], L.Add()([norm(dense(a)), norm(dense(b))]))
    assert rows(ModelEnergy(both))["norm"].connections == 0


# Interpolation ------------------------------------------------------------------------------------


def brute_force(layer, shape):
    """Return, for every input element, how many outputs it reaches, by unit impulses."""
    size = int(np.prod(shape))
    answers = layer(np.eye(size, dtype="float32").reshape(size, *shape))
    answers = keras.ops.convert_to_numpy(answers).reshape(size, -1)
    return np.count_nonzero(np.abs(answers) > 1e-6, axis=1).reshape(shape)


@pytest.mark.parametrize(
    "layer",
    [
        L.UpSampling2D((2, 3)),
        L.UpSampling2D((2, 3), interpolation="bilinear"),
        L.UpSampling2D((3, 1), interpolation="bicubic"),
        L.Resizing(7, 4),
        L.Resizing(3, 9, interpolation="bicubic"),
        L.Resizing(10, 3, interpolation="nearest"),
        L.Resizing(5, 4),  # same size: nothing to do
        L.Resizing(3, 7, crop_to_aspect_ratio=True),
        L.Resizing(9, 2, crop_to_aspect_ratio=True, interpolation="bicubic"),
        L.Resizing(3, 7, pad_to_aspect_ratio=True),
        L.Resizing(9, 2, pad_to_aspect_ratio=True, interpolation="nearest"),
    ],
    ids=lambda layer: layer.name,
)
def test_clipped_taps_count_once(layer, rng):
    check_fan_out(layer, rng)


def test_elements_of_several_bins_count_once_per_bin(rng):
    check_fan_out(L.AdaptiveAveragePooling2D((3, 3)), rng)  # a row and a column in two bins


def check_fan_out(layer, rng):
    wanted = brute_force(layer, (5, 4, 2))
    model = keras.Sequential([keras.Input((5, 4, 2)), layer])
    row = ModelEnergy(model).network.layers[-1]
    assert row.connections == wanted.sum()
    events = (rng.random((3, 5, 4, 2)) < 0.5).astype("float32")
    exact = ModelEnergy(model, events, events="exact", input_coding="events").network.layers[-1]
    assert exact.operations == int((events.sum(axis=0) * wanted).sum())
