"""Tests of tables and citations for papers."""

import re

import pytest

from kspike_energy import Layer, ModelEnergy, Network
from kspike_energy.presentation.bibliography import bibtex_entries
from kspike_energy.presentation.units import si


def keys(text):
    """Return the keys of BibTeX entries."""
    return re.findall(r"@\w+\{(\w+),", text)


@pytest.fixture
def energy():
    layers = [
        Layer("in_1|<b>", 1000, 10, rate=100.0, type_name="Dense"),
        Layer("50% & more", 500, rate=2.0, type_name="Dense"),
        Layer("odd", problem="nobody knows"),
    ]
    return ModelEnergy(Network(layers, name="net_1"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (4.8e-5, "48 µJ"),
        (1.2345e-3, "1.23 mJ"),
        (9.996e-7, "1 µJ"),  # rounded up, into the next prefix
        (0.99949, "999 mJ"),
        (2.0, "2 J"),
        (1.5e-13, "150 fJ"),
        (2e-20, "2e-20 J"),
        (0.0, "0 J"),
    ],
)
def test_si_prefixes(value, text):
    assert si(value) == text


def test_markdown(energy):
    text = energy.to_markdown(["cpu", "loihi"], 10, 0.001)
    lines = text.splitlines()
    assert lines[0] == "| Layer | Type | Connections | Updates | cpu | loihi |"
    assert lines[1] == "| --- | --- | ---: | ---: | ---: | ---: |"
    assert lines[2].startswith(r"| in\_1\|\<b\> | Dense | 1,000 | 10 | 8.69 µJ |")
    assert lines[4].count("?") == 4
    total = energy.total_energy("loihi", 10, 0.001)
    assert lines[5].endswith(f"| 1,500 | 10 | 13 µJ | {si(total)} |")
    assert "- NOT COUNTED: nobody knows." in lines
    assert any("10 time steps per inference" in line for line in lines)


def test_latex(energy):
    text = energy.to_latex(["cpu", "loihi"], 10, 0.001)
    assert r"in\_1\textbar{}\textless{}b\textgreater{} & Dense & 1,000 & 10 &" in text
    assert r"10 & 8.69 \textmu{}J &" in text
    assert r"50\% \& more" in text
    assert r"Estimated energy per inference of net\_1." in text
    assert r"\begin{tabular}{llrrrr}" in text
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {5}


def test_names_with_line_breaks_stay_in_their_row():
    energy = ModelEnergy(Network([Layer("a\nb", 1000, 10, rate=10.0)], name="n"))
    assert "\n| a b | Layer |" in energy.to_markdown(["cpu"])
    assert "\na b & Layer &" in energy.to_latex(["cpu"])
    assert "\na b" in energy.summary_string(("name", "connections"))
    assert "\na b" in str(energy.compare(["cpu", "loihi"]))


def test_bibtex_of_sources_that_start_alike_or_hold_special_characters():
    text = bibtex_entries(
        ["The same beginning of a source, 1", "The same beginning of a source, 2", "100% of {x & y"]
    )
    found = re.findall(r"@misc\{(.*),", text)
    assert found == ["thesamebeginningofas", "thesamebeginningofas-2", "100ofxy"]
    assert r"note = {100\% of \textbraceleft{}x \& y}" in text
    assert text.count("{") == text.count("}")
    assert bibtex_entries(["mine", "mine"]) == bibtex_entries(["mine"])


def test_bibtex(energy):
    text = energy.bibtex(["cpu", "gpu", "loihi", "quadro-k4000", "ek-ra6m4-v0.7"])
    devices = ["degnan2016", "davies2018", "tang2023", "blouw2019", "mlperftiny2022"]
    assert keys(text) == [*devices, "yan2024"]
    assert text.count("{") == text.count("}")
    ModelEnergy.register_device("mine", 1e-12, None, False, source="datasheet, p. 3")
    assert "note = {datasheet, p. 3}" in energy.bibtex(["mine"])


MEMORY = ["horowitz2014", "lemaire2022", "novac2023", "fang2023"]


@pytest.mark.parametrize(
    ("devices", "wanted"),
    [
        (["45nm-int32-sram"], MEMORY),
        (["45nm-int32-sram", "45nm-int32-sram-spiking"], [*MEMORY, "yan2024"]),
        (["cpu", "45nm-int32-sram-spiking"], ["degnan2016", *MEMORY]),  # two models: no break-even
        (["cpu", "gpu"], ["degnan2016"]),
        (["loihi"], ["davies2018", "tang2023"]),
    ],
)
def test_bibtex_of_memory_and_of_the_quantised_network(energy, devices, wanted):
    assert keys(energy.bibtex(devices)) == wanted


@pytest.mark.parametrize(
    ("devices", "baseline", "wanted"),
    [
        (["loihi"], "cpu", ["davies2018", "tang2023", "degnan2016", "yan2024"]),
        (["gpu"], "cpu", ["degnan2016"]),
        (["loihi"], "odin", ["davies2018", "tang2023"]),
        (["45nm-int32-sram-spiking"], "45nm-int32-sram", [*MEMORY, "yan2024"]),
    ],
)
def test_bibtex_of_a_comparison(devices, baseline, wanted):
    layer = Layer("a", 1000, 10, rate=5.0, type_name="Dense")
    comparison = ModelEnergy(Network([layer])).compare(devices, baseline=baseline, timesteps=10)
    assert keys(comparison.bibtex()) == wanted
    assert ("yan2024" in wanted) == bool(comparison.layers)
    assert comparison.to_dict()["sources"] == comparison.sources
    assert {ModelEnergy.devices[name].source for name in devices} <= set(comparison.sources)


def test_every_source_has_an_entry(energy):
    for name in ModelEnergy.devices:
        assert "@misc{degnan" not in energy.bibtex([name])
        assert "note = " not in energy.bibtex([name]), name


def test_unknown_devices(energy):
    for report in (energy.to_markdown, energy.to_latex, energy.bibtex):
        with pytest.raises(ValueError, match="device must be one of"):
            report(["tpu"])
        with pytest.raises(TypeError, match="devices must be a list of names"):
            report("cpu")
