"""Figures show what the numbers say."""

import sys

import pytest

from kspike_energy import Layer, ModelEnergy, Network
from kspike_energy.plots import plot_break_even, plot_devices, plot_layers


@pytest.fixture
def energy():
    return ModelEnergy(
        Network([Layer("busy", 1000, 10, rate=200.0), Layer("calm", 500, rate=2.0)], name="two")
    )


def test_devices(energy, tmp_path):
    comparison = energy.compare(["cpu", "loihi", "spinnaker2", "odin"], timesteps=10)
    axes = plot_devices(comparison)
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == pytest.approx([device.energy for device in comparison.devices][::-1])
    assert [label.get_text() for label in axes.get_yticklabels()][-1] == "cpu"
    assert len(axes.lines) == 2  # loihi and spinnaker2 have a range
    assert axes.lines[1].get_xdata() == pytest.approx(energy.energy_range("loihi", 10))
    assert "[J]" in axes.get_xlabel()
    axes.figure.savefig(tmp_path / "devices.png")
    assert (tmp_path / "devices.png").stat().st_size > 1000


def test_layers(energy):
    axes = plot_layers(energy, "loihi", timesteps_per_inference=10)
    drawn = sum(bar.get_width() for bar in axes.patches)
    assert drawn == pytest.approx(energy.total_energy("loihi", 10))
    assert "[J]" in axes.get_xlabel()
    legend = [text.get_text() for text in plot_layers(energy, "odin").get_legend().get_texts()]
    assert legend[1] == "unit updates (no figure published)"


def test_break_even(energy):
    comparison = energy.compare(["loihi", "spinnaker"], timesteps=10)
    axes = plot_break_even(comparison)
    loihi = [row for row in comparison.layers if row.device == "loihi"]
    assert list(axes.lines[0].get_xdata()) == [row.break_even_rate for row in loihi]
    assert list(axes.lines[2].get_xdata()) == [200.0, 2.0]
    assert axes.lines[3].get_xdata()[0] == pytest.approx(60)  # 6 % of 1/dt
    assert "[Hz]" in axes.get_xlabel()
    with pytest.raises(ValueError, match=r"comparison must hold a spiking device"):
        plot_break_even(energy.compare(["cpu"]))


def test_on_axes_that_are_there(energy):
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    assert plot_layers(energy, "cpu", axes=axes) is axes


def test_a_gap_is_shown(energy):
    energy.network.layers.append(Layer("odd", problem="nobody knows"))
    assert plot_layers(energy, "cpu").get_title("right") == "leaves out 1 layers"


def test_without_matplotlib(energy, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'kspike-energy\[plots\]'"):
        plot_layers(energy, "cpu")
