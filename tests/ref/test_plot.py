"""Tests of figures: they show the arrays, axes have units, errors name the argument."""

import doctest
import importlib
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")
import matplotlib.pyplot as plt

import kspike_ref
from kspike_ref import plot

DT = 0.005


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture
def spikes():
    rates = np.broadcast_to(np.float32([0, 50, 200, -50]), (3, 40, 4))
    return kspike_ref.spiking_activation(rates, dt=DT, seed=0)[0]


def offsets(axes):
    return [np.asarray(each.get_offsets()) for each in axes.collections]


def test_raster_marks_every_spike_at_the_end_of_its_step(spikes):
    axes = plot.raster(spikes[0], dt=DT)
    positive, negative = offsets(axes)
    steps, units = np.nonzero(spikes[0] > 0)
    np.testing.assert_allclose(positive, np.stack([(steps + 1) * DT * 1000, units], axis=1))
    steps, units = np.nonzero(spikes[0] < 0)
    np.testing.assert_allclose(negative, np.stack([(steps + 1) * DT * 1000, units], axis=1))
    assert axes.get_xlabel() == "time (ms), in steps of 5 ms"
    assert axes.get_ylabel() == "neuron"


def test_raster_of_some_units_numbers_them(spikes):
    axes = plot.raster(spikes[0].reshape(40, 2, 2), dt=DT, units=[2, 1])
    assert [text.get_text() for text in axes.get_yticklabels()] == ["2", "1"]
    steps = np.nonzero(spikes[0, :, 2])[0]
    drawn = offsets(axes)[0]
    np.testing.assert_allclose(np.sort(drawn[drawn[:, 1] == 0, 0]), (steps + 1) * 5)


def test_figures_are_drawn_on_the_axes_that_are_given(spikes):
    _, axes = plt.subplots(2)
    before = plt.get_fignums()
    assert plot.raster(spikes[0], dt=DT, axes=axes[0]) is axes[0]
    assert plot.rates(spikes, axes=axes[1]) is axes[1]
    drawn = plot.voltage(spikes[0], spikes[0], spikes[0], dt=DT, axes=axes)
    assert [each is own for each, own in zip(drawn, axes, strict=True)] == [True, True]
    assert plt.get_fignums() == before


def test_rates_are_means_over_examples_and_time(spikes):
    axes = plot.rates({"hidden": spikes, "other": spikes[:, :, 1:]}, bins=10)
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    mean = np.abs(spikes).mean()
    assert texts[0] == f"hidden: mean {mean:.3g} Hz, 25% silent"
    assert texts[1].endswith("0% silent")
    shares = axes.patches[0].get_data().values
    assert shares.sum() == pytest.approx(100)
    assert shares[0] == 25
    assert "Hz" in axes.get_xlabel()
    assert "%" in axes.get_ylabel()


def test_rates_of_silent_neurons_can_be_drawn():
    axes = plot.rates(np.zeros((1, 5, 3)))
    assert axes.get_legend().get_texts()[0].get_text() == "mean 0 Hz, 100% silent"


def test_voltage_draws_lines_and_marks_of_the_chosen_units(spikes):
    levels = np.random.default_rng(0).uniform(0, 1, (40, 4))
    top, below = plot.voltage(levels, spikes[0], 2 * levels, dt=DT, units=[1, 3])
    for line, other, unit in zip(top.lines, below.lines, [1, 3], strict=True):
        np.testing.assert_array_equal(line.get_ydata(), levels[:, unit])
        np.testing.assert_array_equal(other.get_ydata(), 2 * levels[:, unit])
        np.testing.assert_allclose(line.get_xdata(), np.arange(1, 41) * 5)
    for marks, unit in zip(offsets(top), [1, 3], strict=True):
        assert len(marks) == np.count_nonzero(spikes[0, :, unit])
        assert marks[:, 1].min() > levels.max()  # above the lines
    assert top.get_ylabel() == "voltage (spikes)"
    assert below.get_ylabel() == "filtered (Hz)"
    assert below.get_xlabel() == "time (ms), in steps of 5 ms"


def test_long_recordings_are_in_seconds():
    axes = plot.raster(np.ones((3000, 1)), dt=0.001)
    assert axes.get_xlabel() == "time (s), in steps of 1 ms"
    assert axes.get_xlim()[1] == pytest.approx(3.03)


@pytest.mark.parametrize("kind", ["lowpass", "alpha"])
def test_filter_response_is_that_of_the_filter(kind):
    axes = plot.filter_response([0.01, 0.02], dt=0.001, kind=kind, duration=0.03)
    x = np.zeros((1, 30, 2))
    x[:, 0] = 1000
    y, _ = getattr(kspike_ref, kind)(x, np.array([0.01, 0.02]), dt=0.001)
    for line, own in zip(axes.lines, y[0].T, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), own)
    step = plot.filter_response(0.01, dt=0.001, kind=kind, response="step")
    assert step.lines[0].get_ydata()[-1] == pytest.approx(1, abs=0.01)
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["τ = 10 ms", "τ = 20 ms"]


def test_accuracy_energy_joins_the_points_that_none_beats():
    energy, accuracy = [4e-6, 1e-6, 2e-6, 3e-6], [0.97, 0.8, 0.95, 0.9]
    axes = plot.accuracy_energy(energy, accuracy, labels=[40, 10, 20, 30])
    front = axes.lines[0]
    np.testing.assert_allclose(front.get_xdata(), [1e-6, 2e-6, 4e-6])
    np.testing.assert_allclose(front.get_ydata(), [80, 95, 97])
    points = axes.lines[1]
    assert points.get_linestyle() == "None"
    np.testing.assert_allclose(points.get_xdata(), energy)
    assert [text.get_text() for text in axes.texts] == ["40", "10", "20", "30"]
    assert axes.get_xscale() == "log"
    axes.figure.canvas.draw()
    shown = [text.get_text() for text in axes.get_xticklabels()]
    assert "1 µJ" in shown
    assert "2 µJ" in shown


def test_accuracy_energy_tells_series_apart_without_colours():
    axes = plot.accuracy_energy({"a": [1.0], "b": [2.0]}, {"a": [0.5], "b": [1]}, examples=100)
    markers = [c.lines[0].get_marker() for c in axes.containers]
    assert len(set(markers)) == 2
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["a", "b"]


def test_legends_cover_nothing(spikes):
    for axes in (
        plot.rates({"hidden": spikes}),
        plot.filter_response([0.01, 0.05], dt=DT),
        plot.accuracy_energy({"a": [1.0, 2.0]}, [0.5, 0.6]),
        plot.voltage(np.abs(spikes[0]) * DT, spikes[0], units=[1, 2], dt=DT)[0],
    ):
        axes.figure.canvas.draw()
        legend = axes.get_legend().get_window_extent()
        assert legend.y0 >= axes.get_window_extent().y1
        assert legend.x1 <= axes.figure.bbox.x1


def test_letters_are_legible_on_a_phone(spikes):
    for axes in (plot.raster(spikes[0], dt=DT), plot.accuracy_energy([1.0], [0.5], labels=["x"])):
        pixels = 360 / (axes.figure.get_figwidth() * 72)  # of a point, in a figure 360 pixels wide
        texts = [*axes.get_xticklabels(), axes.xaxis.label, axes.yaxis.label, *axes.texts]
        assert min(text.get_fontsize() for text in texts) * pixels >= 10


def test_style_sets_and_restores():
    before = dict(mpl.rcParams)
    with plot.style():
        assert mpl.rcParams["axes.prop_cycle"].by_key()["color"] == list(plot.COLORS)
    assert dict(mpl.rcParams) == before


def test_what_the_first_figure_turns_on_stays_on():
    try:
        with plot.style():
            mpl.interactive(True)  # as a notebook's backend does for the first figure
        assert mpl.is_interactive()
    finally:
        mpl.interactive(False)


WRONG = {
    "raster": [
        ((np.zeros(3),), ValueError, r"spikes must be \(steps, units\)"),
        ((np.zeros((3, 0)),), ValueError, "not empty"),
        ((["a"],), TypeError, "spikes must hold real numbers"),
        ((np.zeros((3, 2)), 0), ValueError, "dt must be positive"),
        ((np.zeros((3, 2)), 1, [2]), ValueError, "units must be from 0 to 1"),
        ((np.zeros((3, 2)), 1, [0.5]), TypeError, "units must be numbers of neurons"),
    ],
    "voltage": [
        ((np.zeros((3, 2)), np.zeros((3, 1))), ValueError, "spikes must have the steps and units"),
        ((np.zeros((3, 2)), None, np.zeros((2, 2))), ValueError, "filtered must have the steps"),
        ((np.zeros((3, 2)), None, None, 1, [0], [0, 1]), ValueError, "axes must hold 1 axes"),
    ],
    "rates": [
        ((np.zeros((3, 2)),), ValueError, r"spikes must be \(examples, steps, units\)"),
        (({},), ValueError, "an empty dictionary"),
        ((np.zeros((1, 3, 2)), 0), ValueError, "bins must be a positive integer"),
    ],
    "filter_response": [
        ((0.0,), ValueError, "tau must be positive and finite"),
        (("a",), TypeError, "tau must hold real numbers"),
        ((0.1, 0.001, "beta"), ValueError, "kind must be 'lowpass' or 'alpha'. Received: 'beta'"),
        ((0.1, 0.001, "alpha", "ramp"), ValueError, "response must be 'impulse' or 'step'"),
        ((0.1, 0.001, "alpha", "step", -1), ValueError, "duration must be positive"),
        ((0.1, 1e-6, "alpha", "step", 1), ValueError, "duration must be 100,000 steps at most"),
    ],
    "accuracy_energy": [
        (([1.0], [0.5, 0.6]), ValueError, "the same length"),
        (([[1.0]], [[0.5]]), ValueError, "must have one axis, and the same length"),
        (([0.0], [0.5]), ValueError, "energy must be positive"),
        (([1.0], [50]), ValueError, "accuracy must be from 0 to 1"),
        (({"a": [1.0]}, {"b": [0.5]}), ValueError, "accuracy must hold the names of energy, a"),
        (([1.0], [0.5], [1, 2]), ValueError, "labels must have one entry per point .1."),
        (([1.0], [0.5], None, 0), ValueError, "examples must be a positive integer"),
    ],
}


@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"),
    [(name, *case) for name, cases in WRONG.items() for case in cases],
)
def test_wrong_arguments_are_named(name, arguments, error, message):
    with pytest.raises(error, match=message):
        getattr(plot, name)(*arguments)


def test_matplotlib_is_needed_to_draw_only():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import kspike_ref\nfrom kspike_ref import plot\n"
        "try: plot.raster([[0.0]])\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "kspike_ref.plot needs Matplotlib: install kspike-ref[plot]\n"


@pytest.mark.parametrize("name", ["energies", "filters", "histograms", "look", "spikes"])
def test_examples_run(name):
    failed, ran = doctest.testmod(importlib.import_module(f"kspike_ref.plot.{name}"))
    assert (failed, ran > 0) == (0, True)
