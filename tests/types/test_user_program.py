"""Tests that type checkers find exactly a user program's mistakes, and editors all options.

`hatch run types:check` runs this where the checkers are installed.
"""

import importlib
import inspect
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PROGRAM = HERE / "user_program.py"
SOURCES = [str(path) for path in sorted(ROOT.glob("packages/*/src"))]
MISTAKES = [
    number for number, line in enumerate(PROGRAM.read_text().splitlines(), 1) if "# mistake" in line
]


def run(*command, **environment):
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        env=os.environ | environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_five_lines_are_marked():
    assert len(MISTAKES) == 5


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is in the environment types")
def test_mypy_finds_the_mistakes(tmp_path):
    out = run(
        "mypy", "--config-file=", "--strict", "--follow-imports=silent", "--no-error-summary",
        f"--cache-dir={tmp_path}", PROGRAM, MYPYPATH=os.pathsep.join(SOURCES),
    )  # fmt: skip
    found = [int(line.split(":")[1]) for line in out.splitlines() if ": error: " in line]
    assert found == MISTAKES, out


@pytest.mark.skipif(
    find_spec("basedpyright") is None, reason="basedpyright is in the environment types"
)
def test_pyright_finds_the_mistakes(tmp_path):
    settings = {
        "include": [str(PROGRAM)], "extraPaths": SOURCES, "typeCheckingMode": "standard",
        "reportMissingImports": False,
    }  # fmt: skip
    config = tmp_path / "pyrightconfig.json"
    config.write_text(json.dumps(settings))
    out = run("basedpyright", "--outputjson", "-p", config)
    errors = [one for one in json.loads(out)["generalDiagnostics"] if one["severity"] == "error"]
    found = [one["range"]["start"]["line"] + 1 for one in errors]
    assert found == MISTAKES, errors


MODELS = """
import numpy as np

import kspike_ref
import kspike_tf

x = np.zeros((1, 5, 2))
reference = kspike_ref.load_model("digits.keras")
kspike_tf.rate_report(reference, x)
kspike_tf.sweep(reference, x, x, timesteps=5)
kspike_tf.sweep(lambda dt: reference, x, x, timesteps=5)
kspike_tf.rate_report("digits.keras", x)  # mistake
kspike_tf.sweep("digits.keras", x, x, timesteps=5)  # mistake
kspike_tf.rate_report(x, x)  # mistake
"""


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is in the environment types")
def test_mypy_knows_which_models_are_taken(tmp_path):
    """Keras has no types; with a class `keras.Model`, other arguments are errors."""
    stub = tmp_path / "stubs" / "keras"
    stub.mkdir(parents=True)
    (stub / "__init__.pyi").write_text("class Model: ...\ndef __getattr__(name: str): ...\n")
    program = tmp_path / "program.py"
    program.write_text(MODELS)
    out = run(
        "mypy", "--config-file=", "--follow-imports=silent", "--no-error-summary",
        f"--cache-dir={tmp_path / 'cache'}", program,
        MYPYPATH=os.pathsep.join([str(stub.parent), *SOURCES]),
    )  # fmt: skip
    found = [int(line.split(":")[1]) for line in out.splitlines() if ": error: " in line]
    wanted = [i for i, line in enumerate(MODELS.splitlines(), 1) if "# mistake" in line]
    assert found == wanted, out


CALLS = [
    "kspike_ref.load_model", "kspike_ref.spiking_activation", "kspike_ref.lowpass",
    "kspike_ref.alpha", "kspike_ref.initial_voltage", "kspike_ref.Model.predict",
    "kspike_ref.Model.activity", "kspike_ref.Model.record", "kspike_ref.Model.cost",
    "kspike_ref.Model.step", "kspike_tf.SpikingActivation", "kspike_tf.Lowpass", "kspike_tf.Alpha",
    "kspike_tf.SpikingActivationCell", "kspike_tf.LowpassCell", "kspike_tf.AlphaCell",
    "kspike_tf.convert", "kspike_tf.ModelEnergy", "kspike_energy.ModelEnergy",
    "kspike_energy.ModelEnergy.compare", "kspike_energy.ModelEnergy.total_energy",
    "kspike_energy.ModelEnergy.summary", "kspike_energy.Device", "kspike_energy.Layer",
]  # fmt: skip


@pytest.fixture(scope="module")
def jedi(tmp_path_factory):
    """Return jedi with a cache of its own: it reads files that another process is writing."""
    import jedi

    jedi.settings.cache_directory = str(tmp_path_factory.mktemp("jedi"))
    return jedi


@pytest.mark.skipif(
    find_spec("jedi") is None or find_spec("tensorflow") is None,
    reason="jedi and TensorFlow are in the default environment",
)
@pytest.mark.parametrize("call", CALLS)
def test_completion_shows_every_option(call, jedi):
    package, *path = call.split(".")
    target = importlib.import_module(package)
    for name in path:
        target = getattr(target, name)
    wanted = {name for name in inspect.signature(target).parameters if name != "self"}
    code = f"import {package}\n{call}("
    project = jedi.Project(ROOT, added_sys_path=SOURCES)
    shown = jedi.Script(code, project=project).get_signatures()
    assert {parameter.name for one in shown for parameter in one.params} >= wanted


@pytest.mark.skipif(find_spec("jedi") is None, reason="jedi is in the default environment")
def test_completion_knows_the_methods_of_what_functions_return(jedi):
    code = "import kspike_ref\nmodel = kspike_ref.load_model('a')\nmodel."
    project = jedi.Project(ROOT, added_sys_path=SOURCES)
    names = {one.name for one in jedi.Script(code, project=project).complete()}
    assert {"predict", "activity", "record", "step", "cost", "summary", "num_threads"} <= names
