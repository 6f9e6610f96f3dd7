"""Tests that the packages' wheels install separately, without other sources, and work."""

import os
import pathlib
import shutil
import site
import subprocess
import sys
import venv
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = ("kspike-energy", "kspike-ref", "kspike-tf")
DIGITS = ROOT / "tests" / "golden" / "digits"
MODEL = DIGITS / "digits.keras"

USES = {
    "kspike-energy": """
from kspike_energy import Layer, ModelEnergy, Network
layer = Layer("dense", connections=784 * 128, neurons=128, rate=10.0)
print(ModelEnergy(Network([layer])).total_energy("cpu"))
""",
    "kspike-ref": f"""
import numpy, kspike_ref
model = kspike_ref.load_model({str(MODEL)!r})
print(model.predict(numpy.ones((2, 64), "f4"), timesteps=3).shape)
""",
    "kspike-tf": f"""
import keras, kspike_tf
from kspike_energy import ModelEnergy
model = keras.models.load_model({str(MODEL)!r})
print(ModelEnergy(model).total_energy("cpu"))
""",
}
# Tests that need no other package and run on the installed one.
TESTS = {
    "kspike-energy": ["tests/energy/test_network.py"],
    "kspike-ref": ["tests/ref/test_released_files.py", "tests/ref/test_spiking.py"],
    "kspike-tf": ["tests/tf/test_released_files.py"],
}
# The kspike packages that come with each one; no others may come.
BRINGS = {
    "kspike-energy": {"kspike_energy"},
    "kspike-ref": {"kspike_ref"},
    "kspike-tf": {"kspike_tf", "kspike_energy"},
}


def run(*command, **options):
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, timeout=600, **options
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """Build the packages from their folders alone; return the folder of wheels."""
    folder = tmp_path_factory.mktemp("wheels")
    for name in PACKAGES:
        for target in ("wheel", "sdist"):
            run(
                sys.executable, "-m", "hatchling", "build", "-t", target, "-d", folder,
                cwd=ROOT / "packages" / name,
            )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Return a folder with all packages installed here except those of kspike."""
    folder = tmp_path_factory.mktemp("others")
    (packages,) = site.getsitepackages()
    for path in pathlib.Path(packages).iterdir():
        if not path.name.startswith(("kspike", "_kspike", "_editable", "__editable__", "pip")):
            (folder / path.name).symlink_to(path)
    for path in folder.glob("*.pth"):
        path.unlink()
    return folder


@pytest.fixture
def empty(tmp_path, others):
    """Return the Python of a new environment with NumPy, Keras and so on, but without kspike."""
    builder = venv.EnvBuilder(with_pip=True, symlinks=True)
    builder.create(tmp_path / "env")
    python = tmp_path / "env" / "bin" / "python"
    (place,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    (place / "others.pth").write_text(f"{others}\n")
    return python


def install(python, wheels, *names):
    return run(python, "-m", "pip", "install", "--no-index", "--find-links", wheels, *names,
               env=clean())  # fmt: skip


def clean():
    """Return this process's environment without the packages' sources."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


@pytest.mark.slow
@pytest.mark.parametrize("name", PACKAGES)
def test_a_wheel_installs_alone_and_works(name, wheels, empty, tmp_path):
    install(empty, wheels, name)
    run(empty, "-c", USES[name], env=clean(), cwd=tmp_path)
    code = "import importlib.util as u, sys\n"
    code += "print([n for n in sys.argv[1:] if u.find_spec(n)])"
    found = run(empty, "-c", code, "kspike_energy", "kspike_ref", "kspike_tf", env=clean())
    assert set(eval(found)) == BRINGS[name]
    (place,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    installed = {path.name for path in place.glob("kspike_*") if path.suffix != ".dist-info"}
    assert installed == BRINGS[name], "it ran from the sources"
    out = run(empty, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *TESTS[name],
              env=clean(), cwd=ROOT)  # fmt: skip
    assert " passed" in out


@pytest.mark.slow
def test_the_command_comes_with_the_wheel(wheels, empty, tmp_path):
    install(empty, wheels, "kspike-ref[cli]", "kspike-energy")
    command = empty.with_name("kspike")
    version = (ROOT / "VERSION").read_text().strip()
    assert run(command, "--version", env=clean()) == f"kspike {version}\n"
    shutil.copy(MODEL, tmp_path)
    assert "cpu" in run(command, "energy", "digits.keras", env=clean(), cwd=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", PACKAGES)
def test_an_sdist_builds_the_same_wheel(name, wheels, tmp_path):
    module = name.replace("-", "_")
    (sdist,) = wheels.glob(f"{module}-*.tar.gz")
    shutil.unpack_archive(sdist, tmp_path, filter="data")
    (source,) = tmp_path.glob(f"{module}-*")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=source)
    (built,), (wanted,) = (folder.glob(f"{module}-*.whl") for folder in (tmp_path, wheels))
    assert built.name == wanted.name
    with zipfile.ZipFile(built) as one, zipfile.ZipFile(wanted) as other:
        assert {n: one.read(n) for n in one.namelist()} == {
            n: other.read(n) for n in other.namelist()
        }


@pytest.mark.slow
@pytest.mark.parametrize("name", PACKAGES)
def test_a_wheel_holds_the_package_its_types_and_its_licence(name, wheels):
    module = name.replace("-", "_")
    (wheel,) = wheels.glob(f"{module}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(n for n in names if n.endswith("METADATA"))).decode()
    assert f"{module}/py.typed" in names
    assert {n.split("/")[0].split("-")[0] for n in names} == {module}
    assert "file://" not in metadata, "a path of this machine"
    assert "License-Expression: MIT" in metadata


@pytest.mark.slow
def test_kspike_tf_alone_says_what_is_missing(empty, tmp_path):
    # Without kspike-energy, pip names it; the install page says to pass both folders.
    folder = tmp_path / "packages" / "kspike-tf"
    shutil.copytree(ROOT / "packages" / "kspike-tf", folder)
    shutil.copy(ROOT / "VERSION", tmp_path)
    done = subprocess.run(
        [empty, "-m", "pip", "install", "--no-index", "--no-build-isolation", folder],
        env=clean(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "kspike-energy" in done.stderr.splitlines()[-1]
