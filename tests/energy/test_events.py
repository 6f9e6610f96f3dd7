"""Tests of mean and exact events, and of the coding of the network's input."""

import keras
import numpy as np
import pytest

import kspike_ref
import kspike_tf
from kspike_energy import ModelEnergy

L = keras.layers
DT = 0.001


def spiking_model(dt=DT, **last):
    inp = keras.Input((None, 6), name="in")
    x = L.Dense(5, kernel_initializer="ones", name="first")(inp)
    x = kspike_tf.SpikingActivation("relu", dt=dt, seed=0, name="spikes")(x)
    return keras.Model(inp, L.Dense(4, name="last")(x))


def layers_of(energy):
    return {layer.name: layer for layer in energy.network.layers}


@pytest.mark.parametrize(
    ("coding", "events", "wanted"),
    [
        # Two of six inputs are not zero; their mean is (30 + 90) / 6 = 20 Hz.
        ("rate", "mean", 6 * 5 * 20 * DT),
        ("rate", "exact", 6 * 5 * 20 * DT),
        ("events", "mean", 6 * 5 * 2 / 6),
        ("events", "exact", 2 * 5),
        ("dense", "mean", 6 * 5),
        ("dense", "exact", 6 * 5),
    ],
)
def test_input_coding(coding, events, wanted):
    data = np.tile([0.0, 30, 0, 90, 0, 0], (3, 8, 1))
    energy = ModelEnergy(spiking_model(), data, input_coding=coding, events=events)
    assert layers_of(energy)["first"].synops(DT, events) == pytest.approx(wanted)
    joules = energy.layer_energy("first", "loihi", timesteps_per_inference=8)[0]
    assert joules == pytest.approx(8 * wanted * 27.1e-12)
    report = energy.summary_string(("name", "energy loihi"), line_length=200)
    assert f"events = '{events}'; the network's input is coded as '{coding}'" in report


def test_spikes_are_events_one_by_one(rng):
    data = rng.uniform(0, 100, (3, 40, 6)).astype("float32")
    model = spiking_model()
    spikes = keras.Model(model.input, model.get_layer("spikes").output).predict(data, verbose=0)
    exact = layers_of(ModelEnergy(model, data, events="exact"))["last"]
    assert exact.operations == np.count_nonzero(spikes) * 4
    mean = layers_of(ModelEnergy(model, data))["last"]
    # A spike is 1/dt high, so both counts agree as long as no neuron fires twice in a step.
    assert spikes.max() == pytest.approx(1 / DT)
    assert mean.synops(DT) == pytest.approx(exact.synops(DT, "exact"), rel=1e-6)


def test_break_even_agrees_with_the_energies_of_exact_events(rng):
    # After a filter nearly every value is an event, whatever the spike rate.
    inp = keras.Input((None, 6))
    x = kspike_tf.SpikingActivation("relu", dt=DT, seed=0)(inp)
    x = kspike_tf.Lowpass(0.1, dt=DT, return_sequences=False)(x)
    model = keras.Model(inp, L.Dense(4, name="last")(x))
    energy = ModelEnergy(model, rng.uniform(20, 90, (3, 40, 6)), events="exact")
    comparison = energy.compare(["cpu", "loihi"])
    (row,) = (row for row in comparison.layers if row.layer == "last")
    cpu, loihi = (sum(energy.layer_energy("last", device)) for device in ("cpu", "loihi"))
    assert row.rate / row.break_even_rate == pytest.approx(loihi / cpu)
    assert row.spikes_per_step > 0.9 > 10 * row.rate * DT


def test_several_spikes_in_a_step_are_one_event_of_the_exact_count():
    data = np.full((1, 10, 6), 500.0)  # 3000 Hz after the first layer: three spikes a step
    mean, exact = (
        layers_of(ModelEnergy(spiking_model(), data, events=events))["last"].synops(DT, events)
        for events in ("mean", "exact")
    )
    assert mean == pytest.approx(3 * 20)
    assert exact == 20


def test_borders_make_the_mean_count_wrong_and_the_exact_count_right():
    events = np.zeros((1, 5, 5, 1))
    events[0, 0, 0] = 1  # in the corner, where 4 of 9 window elements are inside
    model = keras.Sequential([keras.Input((5, 5, 1)), L.Conv2D(1, 3, padding="same")])
    mean, exact = (
        ModelEnergy(model, events, events=count, input_coding="events").network.layers[1]
        for count in ("mean", "exact")
    )
    assert exact.operations == 4
    assert mean.synops(DT) == pytest.approx(169 / 25)


def test_a_signal_inside_a_layer_is_taken_as_always_present(rng):
    model = keras.Sequential([keras.Input((None, 3)), L.SimpleRNN(4)])
    layer = ModelEnergy(model, np.zeros((2, 5, 3)), events="exact").network.layers[1]
    assert layer.synops(DT, "exact") == 16  # from the state; the input is silent
    assert layer.operations is None


def test_a_layer_behind_the_last_step_runs_once_in_the_exact_count(rng):
    inp = keras.Input((None, 6))
    x = kspike_tf.SpikingActivation("relu", return_sequences=False, seed=0)(inp)
    model = keras.Model(inp, L.Dense(4, name="last")(x))
    data = np.full((2, 10, 6), 1000.0)  # a spike in every step
    mean, exact = (
        ModelEnergy(model, data, events=events).layer_energy("last", "loihi", 10)[0]
        for events in ("mean", "exact")
    )
    assert mean == pytest.approx(10 * 24 * 27.1e-12)
    assert exact == pytest.approx(24 * 27.1e-12)


def test_without_a_time_axis_every_layer_runs_at_every_step():
    model = keras.Sequential([keras.Input((6,)), L.Dense(4, name="last")])
    energy = ModelEnergy(model, np.ones((2, 6)), events="exact", input_coding="events")
    assert energy.layer_energy("last", "loihi", 10)[0] == pytest.approx(10 * 24 * 27.1e-12)


def test_input_stays_input_behind_layers_that_only_rearrange():
    model = keras.Sequential(
        [keras.Input((2, 3)), L.Flatten(), L.Dropout(0.5), L.Dense(4), L.Dense(4)]
    )
    energy = ModelEnergy(model, np.ones((2, 2, 3)), input_coding="dense")
    first, second = energy.network.layers[3:]
    assert first.rate(DT) == 1 / DT
    assert second.rate(DT) != 1 / DT


def test_a_layer_of_another_dt_is_named():
    energy = ModelEnergy(spiking_model(dt=0.01), np.ones((2, 3, 6)))
    with pytest.warns(UserWarning, match=r"uses dt=0.001 s.*spikes \(0.01 s\)"):
        energy.total_energy("loihi", dt=0.001)
    with pytest.warns(UserWarning, match=r"time step of their own"):
        report = energy.summary_string(("name", "energy loihi"), dt=0.001, line_length=200)
    assert "another time step than dt = 0.001 s: spikes (0.01 s)" in report


def test_the_dt_of_a_cell_counts_too():
    cell = kspike_tf.LowpassCell(6, 0.1, dt=0.02)
    model = keras.Sequential([keras.Input((None, 6)), L.RNN(cell, name="filter")])
    with pytest.warns(UserWarning, match=r"filter \(0.02 s\)"):
        ModelEnergy(model, np.ones((1, 2, 6))).total_energy("loihi", dt=0.001)


@pytest.mark.filterwarnings("error")
def test_no_warning_where_every_dt_is_the_same():
    energy = ModelEnergy(spiking_model(dt=0.01), np.ones((2, 3, 6)))
    energy.total_energy("loihi", dt=0.01)
    energy.total_energy("cpu")


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("events", "all"),
        ("input_coding", "pixels"),
        ("padding", "some"),
        ("normalization", None),
    ],
)
def test_bad_choices(argument, value):
    with pytest.raises(ValueError, match=f"{argument} must be one of .*Received: {argument}="):
        ModelEnergy(spiking_model(), **{argument: value})


def test_exact_events_over_padding_make_no_sense():
    with pytest.raises(
        ValueError, match=r"padding must be 'excluded'. Received: padding='counted'"
    ):
        ModelEnergy(spiking_model(), events="exact", padding="counted")


def test_layers_run_as_at_inference(rng):
    model = keras.Sequential([keras.Input((50,)), L.Dropout(0.9), L.GaussianNoise(0.9), L.Dense(2)])
    energy = ModelEnergy(model, np.ones((4, 50)))
    assert energy.network.layers[-1].rate(DT) == 1


def test_bad_input_shapes():
    with pytest.raises(TypeError, match=r"input_shape must be a tuple of lengths.*input_shape=5"):
        ModelEnergy(spiking_model(), input_shape=5)
    with pytest.raises(ValueError, match=r"input_shape must hold 1 shape\."):
        ModelEnergy(spiking_model(), input_shape=[(None, 3, 6), (None, 3, 6)])
    with pytest.raises(ValueError, match=r"input_shape must fit \(None, None, 6\).*'in'"):
        ModelEnergy(spiking_model(), input_shape=(None, 3, 7))


# Doubts about exact counts ------------------------------------------------------------------------


def filtered_model(tau):
    inp = keras.Input((None, 6), name="in")
    x = L.Dense(5, kernel_initializer="ones", name="first")(inp)
    x = kspike_tf.SpikingActivation("relu", dt=DT, seed=0, name="spikes")(x)
    x = kspike_tf.Lowpass(tau, dt=DT, name="filter")(x) if tau else x
    return keras.Model(inp, L.Dense(4, name="last")(x))


@pytest.mark.parametrize("adapter", ["keras", "ref"])
def test_reports_name_layers_whose_exact_count_is_not_that_of_spikes(adapter, tmp_path):
    model, data = filtered_model(0.01), np.full((2, 40, 6), 5.0)
    if adapter == "ref":
        model.save(tmp_path / "model.keras")
        model = kspike_ref.load_model(tmp_path / "model.keras")
    energy = ModelEnergy(model, data, events="exact")
    last = layers_of(energy)["last"]
    factor = last.synops(DT, "exact", True) / last.synops(DT, "mean", True)
    assert factor > 2
    text = " ".join(energy.summary_string(("name", "energy loihi")).split())
    assert f"and the factor: last ({factor:.3g})." in text
    energy.to_html(tmp_path / "report.html", ["cpu", "loihi"])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"last ({factor:.3g})" in page.split('class="warnings"')[1].split("</section>")[0]


def test_exact_counts_of_spikes_are_in_no_doubt():
    data = np.full((2, 40, 6), 5.0)
    for tau, events in ((None, "exact"), (0.01, "mean")):
        energy = ModelEnergy(filtered_model(tau), data, events=events)
        assert "and the factor" not in energy.summary_string(("name", "energy loihi"))
    energy = ModelEnergy(filtered_model(0.01), data, events="exact")
    assert "and the factor" not in energy.summary_string(("name", "energy cpu"))
