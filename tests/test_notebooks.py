"""Tests that the notebooks in examples/ run, and contain the small outputs of a whole run."""

import importlib.util
import json
import pathlib

import pytest

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
BYTES = 150_000  # small enough for code hosts to show without delay


def code(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_there_are_two():
    assert [path.stem for path in NOTEBOOKS] == ["energy_for_a_paper", "spiking_digits"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_of_one_run_and_small(path):
    text = path.read_text(encoding="utf-8")
    assert len(text) < BYTES
    assert "/home/" not in text
    assert "/tmp/" not in text
    cells = code(json.loads(text))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {each["output_type"] for each in outputs} <= {"stream", "display_data", "execute_result"}
    assert all(each.get("name", "stdout") == "stdout" for each in outputs)
    figures = sum("plot." in "".join(cell["source"]) for cell in cells)
    assert sum("image/png" in each.get("data", {}) for each in outputs) == figures > 0


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path):
    source = EXAMPLES / "notebooks.py"
    spec = importlib.util.spec_from_file_location("notebooks", source)
    notebooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(notebooks)
    made = notebooks.run(path, tmp_path)
    committed = json.loads(path.read_text(encoding="utf-8"))
    for cell, before in zip(code(made), code(committed), strict=True):
        kinds = [[each["output_type"] for each in one["outputs"]] for one in (cell, before)]
        assert kinds[0] == kinds[1]
