"""Tests of the packages' imports, licences and versions."""

import pathlib
import subprocess
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = sorted((ROOT / "packages").iterdir())

# Packages that each package must never import (docs: architecture); an adapter may import one
# later, when it gets a model of that framework.
FORBIDDEN = {
    "kspike_ref": ("tensorflow", "keras", "kspike_tf"),
    "kspike_energy": ("tensorflow", "keras", "kspike_ref", "kspike_tf"),
    "kspike_tf": ("kspike_ref",),
}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_import_brings_no_forbidden_package(package):
    code = f"import sys, {package}; print([m for m in {FORBIDDEN[package]} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", [p for p in FORBIDDEN if p != "kspike_tf"])
def test_works_where_tensorflow_cannot_be_imported(package):
    code = (
        "import sys; sys.modules.update(tensorflow=None, keras=None, kspike_tf=None)\n"
        f"from {package} import *"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_sources_of_kspike_tf_never_name_the_reference():
    # If one implementation called the other, the cross-check would be worthless.
    sources = (ROOT / "packages/kspike-tf/src").rglob("*.py")
    assert not [source for source in sources if "import kspike_ref" in source.read_text()]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_package_has_what_a_package_needs(package):
    project = tomllib.loads((package / "pyproject.toml").read_text())
    assert project["project"]["license"] == "MIT"
    assert project["tool"]["hatch"]["version"]["path"] == "../../VERSION"
    version = (ROOT / "VERSION").read_text().strip()
    assert f"## {version}" in (package / "CHANGELOG.md").read_text()
    assert "pip install" in (package / "README.md").read_text()


@pytest.mark.parametrize("package", FORBIDDEN)
def test_package_shows_its_version_and_its_public_names(package):
    code = (
        f"import {package} as p; print(p.__version__); "
        "assert dir(p) == sorted([*p.__all__, '__version__']), dir(p); "
        "assert not hasattr(p, 'nobody'); assert all(hasattr(p, name) for name in dir(p))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (ROOT / "VERSION").read_text().strip()


def test_the_citation_names_this_version():
    cff = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {(ROOT / 'VERSION').read_text().strip()}\n" in cff
