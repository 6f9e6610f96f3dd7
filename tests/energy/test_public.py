"""Public names, and examples in docstrings."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import kspike_energy

MODULES = [
    module.name
    for module in pkgutil.walk_packages(kspike_energy.__path__, "kspike_energy.")
    if not module.name.endswith("__main__")
]


def test_public_names():
    assert kspike_energy.__all__ == [
        "Adapter",
        "Application",
        "Comparison",
        "DefaultManager",
        "Device",
        "Layer",
        "LayerSpec",
        "ModelEnergy",
        "Network",
        "Node",
        "default",
        "model_energy",
        "register_adapter",
    ]
    for name in kspike_energy.__all__:
        assert getattr(kspike_energy, name).__doc__


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_offers(name):
    module = importlib.import_module(name)
    for public in module.__all__:
        assert hasattr(module, public)


@pytest.mark.parametrize("name", ["kspike_energy", *MODULES])
def test_examples_in_docstrings(name):
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0


def test_some_docstrings_have_examples():
    source = Path(kspike_energy.__file__).parent
    assert sum(">>>" in path.read_text() for path in source.rglob("*.py")) >= 7


def test_modules_stay_small():
    source = Path(kspike_energy.__file__).parent
    lengths = {path.name: len(path.read_text().splitlines()) for path in source.rglob("*.py")}
    assert max(lengths.values()) <= 420, lengths
