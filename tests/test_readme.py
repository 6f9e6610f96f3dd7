"""Tests that CI runs the README's two commands; tests/docs runs its examples."""

import importlib.util
import json
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
BLOCKS = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
)


def test_one_example_for_each_package():
    for package in ("kspike_ref", "kspike_tf", "kspike_energy"):
        assert any(re.search(rf"^(import|from) {package}\b", block, re.M) for block in BLOCKS), (
            package
        )


def test_ci_runs_the_commands_of_the_readme():
    readme = (ROOT / "README.md").read_text().splitlines()
    commands = [line for line in readme if line.startswith("python3 -m venv .hatch")]
    script = (ROOT / ".ci" / "run").read_text()
    assert [command.rsplit(" ", 1)[-1] for command in commands] == ["demo", "test"]
    assert all(f"'{command}'" in script for command in commands)


def test_the_figure_of_the_readme_exists():
    figures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert figures
    assert all((ROOT / figure).is_file() for figure in figures)


def test_table_and_figures_are_of_one_run():
    path = ROOT / "examples" / "digits_docs.py"
    spec = importlib.util.spec_from_file_location("digits_docs", path)
    digits_docs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(digits_docs)
    recorded = json.loads(digits_docs.RECORD.read_text())
    # `python examples/digits.py --docs` writes all of them.
    assert digits_docs.published() == recorded
    names = ("raster.png", "accuracy_energy.png", "energy_by_device.png")
    assert {"table", *names} <= recorded.keys()
    readme = (ROOT / "README.md").read_text()
    assert all(f"docs/figures/{name}" in readme for name in names[:2])
