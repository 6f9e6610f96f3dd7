"""Tests of the guide and the package's README: tables are up to date, examples run."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guides" / "energy.md"
README = ROOT / "packages" / "kspike-energy" / "README.md"


@pytest.fixture(scope="module")
def script():
    path = ROOT / "docs" / "generate_energy.py"
    spec = importlib.util.spec_from_file_location("generate_energy", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_up_to_date(script):
    text = GUIDE.read_text()
    assert script.render(text) == text, "run python docs/generate_energy.py"


def test_no_source_is_listed_twice(script):
    lines = script.devices().split("Sources:\n\n")[1].splitlines()
    listed = [line.partition(". ")[2] for line in lines]
    assert len(listed) > 5
    same = [(a, b) for a in listed for b in listed if a != b and b.startswith(a)]
    assert not same


def test_a_changed_device_would_be_noticed(script):
    from kspike_energy import ModelEnergy

    before = script.devices()
    ModelEnergy.register_device("another", 1e-12, None, True)
    assert script.devices() != before


def test_the_honesty_check_is_that_of_the_design(script):
    energy = script.keyword_spotter()
    # Results of the formula, worked out separately: 172,800 connections.
    assert energy.network.connections == 172_800
    assert energy.total_energy("cpu") == pytest.approx(1.5e-3, rel=0.02)
    assert energy.total_energy("gpu") == pytest.approx(5.2e-5, rel=0.01)


def blocks(path):
    return re.findall(r"^```python\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("path", [GUIDE, README], ids=["guide", "readme"])
def test_examples_run(path, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # one of them writes a report
    scope = {}
    for block in blocks(path):
        exec(compile(block, str(path), "exec"), scope)
    assert "J/inf" in capsys.readouterr().out


def test_the_readme_is_short():
    assert len(blocks(README)[0].splitlines()) <= 15
