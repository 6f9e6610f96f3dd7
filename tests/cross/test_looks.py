"""Tests that the figures of all packages have one look."""

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

import kspike_tf
from kspike_energy import Layer, ModelEnergy, Network
from kspike_energy.plots import plot_devices, plot_layers
from kspike_energy.presentation import look
from kspike_ref import plot


def sweep():
    rest = (9.0, 5.0, {})  # spikes and rates
    points = [
        kspike_tf.sweeping.Point(0.001, scale, steps, 0.1 * steps, *rest, {"cpu": joules})
        for scale, steps, joules in ((1.0, 1, 2e-7), (1.0, 2, 4e-7), (3.0, 1, 3e-7))
    ]
    return kspike_tf.Sweep(tuple(points), "accuracy", ("cpu",))


def energy():
    return ModelEnergy(Network([Layer("dense", 1000, 10, rate=200.0)]))


FIGURES = {
    "Sweep.plot": lambda: sweep().plot(),
    "plot_devices": lambda: plot_devices(energy().compare(timesteps=1)),
    "plot_layers": lambda: plot_layers(energy(), "cpu"),
}


def test_settings_are_those_of_the_reference():
    with plot.style():
        wanted = dict(mpl.rcParams)
    with mpl.rc_context(look.SETTINGS):
        found = dict(mpl.rcParams)
    wanted.pop("axes.prop_cycle")  # look.COLORS, which figures pass explicitly
    found.pop("axes.prop_cycle")
    assert found == wanted
    assert look.COLORS == plot.COLORS


@pytest.mark.parametrize("name", FIGURES)
def test_axes_and_colours(name):
    axes = FIGURES[name]()
    with plot.style():
        wanted = Figure().add_subplot()
    for side, spine in axes.spines.items():
        assert spine.get_visible() == wanted.spines[side].get_visible()
        assert spine.get_edgecolor() == wanted.spines[side].get_edgecolor()
    ticks = [each.xaxis.get_major_ticks()[0].tick1line.get_color() for each in (axes, wanted)]
    assert ticks[0] == ticks[1]
    assert {line.get_color() for line in axes.get_lines()} <= {*plot.COLORS, look.GREY}


def test_a_sweep_differs_in_colour_and_shape():
    *points, front = sweep().plot().get_lines()
    assert len({line.get_marker() for line in points}) == len(points) == 2
    assert [line.get_color() for line in points] == list(plot.COLORS[:2])
    assert front.get_color() == look.GREY
