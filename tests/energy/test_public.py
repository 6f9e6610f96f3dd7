"""Tests of public names, imports, and examples in docstrings."""

import ast
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
        "fit_device",
        "metrics",
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


def trees():
    """Return the syntax trees of all modules, by dotted name."""
    source = Path(kspike_energy.__file__).parent
    found = {}
    for path in source.rglob("*.py"):
        parts = path.relative_to(source.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text())
    return found


def test_modules_and_functions_stay_small():
    for name, tree in trees().items():
        lines = max((node.end_lineno for node in tree.body), default=0)
        assert lines <= 350, name
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                lines = node.end_lineno - node.lineno
                if ast.get_docstring(node):
                    lines -= node.body[0].end_lineno - node.body[0].lineno
                assert lines < 50, (name, node.name)


def test_imports_have_no_circle_and_no_private_names():
    imports = {}
    modules = trees()
    for name, tree in modules.items():
        known = imports.setdefault(name, set())
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and node.module.startswith("kspike_energy"):
                assert not any(alias.name.startswith("_") for alias in node.names), name
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    known.add(whole if whole in modules else node.module)
    done = set()
    while len(done) < len(imports):
        free = {name for name, needs in imports.items() if name not in done and needs <= done}
        assert free, {name: needs - done for name, needs in imports.items() if name not in done}
        done |= free
