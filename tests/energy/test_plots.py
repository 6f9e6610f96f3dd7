"""Tests that figures show the same numbers as the estimates."""

import sys

import pytest

from kspike_energy import Layer, ModelEnergy, Network
from kspike_energy.plots import plot_break_even, plot_devices, plot_layers


@pytest.fixture
def energy():
    return ModelEnergy(
        Network([Layer("busy", 1000, 10, rate=200.0), Layer("calm", 500, rate=2.0)], name="two")
    )


def key(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_devices(energy, tmp_path):
    comparison = energy.compare(["cpu", "loihi", "spinnaker2", "odin"], timesteps=10)
    axes = plot_devices(comparison)
    assert not axes.patches  # dots, not bars
    spiking, ordinary = axes.lines
    by_name = {device.device: device.energy for device in comparison.devices}
    assert list(ordinary.get_xdata()) == [by_name["cpu"]]
    assert list(spiking.get_xdata()) == [by_name[n] for n in ("loihi", "spinnaker2", "odin")]
    assert list(spiking.get_ydata()) == [2, 1, 0]
    assert [label.get_text() for label in axes.get_yticklabels()][-1] == "cpu"
    (ranges,) = axes.collections  # loihi and spinnaker2 have ranges
    ends = [segment[:, 0] for segment in ranges.get_segments()]
    assert ends[0] == pytest.approx(energy.energy_range("loihi", 10))
    assert ends[1] == pytest.approx(energy.energy_range("spinnaker2", 10))
    assert axes.get_xscale() == "log"
    assert "arithmetic only" in axes.get_xlabel()
    assert key(axes) == ["range of figures", "spiking", "ordinary"]
    axes.figure.savefig(tmp_path / "devices.png")
    assert (tmp_path / "devices.png").stat().st_size > 1000
    assert axes.get_title("left") == "two: 10 steps of 1 ms"
    assert plot_devices(energy.compare(timesteps=1)).get_title("left") == "two: 1 step of 1 ms"
    everything = plot_devices(energy.compare(["cpu", "quadro-k4000"]))
    assert "arithmetic only" not in everything.get_xlabel()


def test_layers(energy):
    axes = plot_layers(energy, "loihi", timesteps_per_inference=10)
    synops, updates = axes.lines
    busy, calm = (energy.layer_energy(name, "loihi", 10) for name in ("busy", "calm"))
    assert list(synops.get_xdata()) == [busy[0], calm[0]]
    assert list(updates.get_xdata()) == [busy[1]]  # a logarithmic axis cannot show zero
    assert list(updates.get_ydata()) == [1]
    assert axes.get_xscale() == "log"
    assert "(J)" in axes.get_xlabel()
    assert plot_layers(energy, "loihi").get_title("left") == ""
    assert key(plot_layers(energy, "odin"))[1] == "unit updates (no figure published)"


def test_break_even(energy):
    comparison = energy.compare(["loihi", "spinnaker"], timesteps=10)
    axes = plot_break_even(comparison)
    loihi = [row for row in comparison.layers if row.device == "loihi"]
    assert list(axes.lines[0].get_xdata()) == [row.break_even_rate for row in loihi]
    assert list(axes.lines[2].get_xdata()) == [200.0, 2.0]
    rival = comparison.quantised
    assert axes.lines[3].get_xdata()[0] == pytest.approx(rival.spikes / 0.001)
    assert axes.patches[0].get_x() == pytest.approx(rival.low / 0.001)
    assert "(Hz)" in axes.get_xlabel()
    assert "loihi is cheaper left of this mark" in key(axes)
    with pytest.raises(ValueError, match=r"comparison must hold a spiking device"):
        plot_break_even(energy.compare(["cpu"]))


def test_on_axes_that_are_there(energy):
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    assert plot_layers(energy, "cpu", axes=axes) is axes


def test_a_gap_is_shown(energy):
    energy.network.layers.append(Layer("odd", problem="nobody knows"))
    assert plot_layers(energy, "cpu").get_title("left") == "leaves out 1 layer"


@pytest.mark.parametrize("count", [1, 6])
def test_the_key_and_the_title_cover_nothing(energy, count):
    names = ["loihi", "cpu", "spinnaker2", "spinnaker", "odin", "reckon"][:count]
    comparison = energy.compare(names, timesteps=10)
    from matplotlib.text import Text

    for axes in (
        plot_devices(comparison), plot_layers(energy, "odin"), plot_break_even(comparison),
    ):  # fmt: skip
        figure = axes.figure
        figure.draw_without_rendering()
        key_box = axes.get_legend().get_window_extent()
        plot_box = axes.bbox
        assert key_box.y0 >= plot_box.y1
        assert key_box.x1 <= figure.bbox.x1
        title = axes.get_title("left")
        texts = [one for one in axes.findobj(Text) if title and one.get_text() == title]
        for box in (one.get_window_extent() for one in texts):
            assert key_box.y1 - 1 <= box.y0 < box.y1 <= figure.bbox.y1
        sizes = [text.get_fontsize() for text in axes.get_legend().get_texts() + axes.texts]
        # Shrunk to the text of a phone, 350 pixels wide, letters are 9 pixels high at least.
        assert min(sizes) / 72 / figure.get_figwidth() * 350 > 9


def test_without_matplotlib(energy, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'kspike-energy\[plots\]'"):
        plot_layers(energy, "cpu")
