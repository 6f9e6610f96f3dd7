"""Tests that the five-line summary of the published report matches its results."""

import json
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from benchmarks import inshort
from benchmarks.inshort import in_short
from benchmarks.results import Store

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def published(tmp_path):
    """Return a store of the published results."""
    results = json.loads((ROOT / "docs" / "benchmarks.json").read_text())
    for name, result in results.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(result))
    return Store(tmp_path)


def test_the_page_begins_with_it(published):
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    assert page.startswith(f"# Benchmarks\n\n{in_short(published)}\n\n")


def test_it_has_five_lines(published):
    assert in_short(published).count("\n- ") == 5


def test_a_faster_rival_changes_it(published):
    before = in_short(published)
    name = "forward.lowpass.128x100x1024"
    result = published.load(name)
    for entry in result["entries"]:
        if entry["peer"] == "scipy_filters":
            entry["rounds"] = [1e-6] * len(entry["rounds"])
    published.save(name, result)
    after = in_short(published)
    assert after != before
    assert "SciPy" in after


def test_one_case_is_singular(published, monkeypatch):
    found = inshort.behind.find(published.group("forward") + published.group("model"))
    peers = [case for case in found if case.other.peer not in inshort.LIMITS]
    monkeypatch.setattr(inshort.behind, "find", lambda results: peers[:1])
    assert "**Behind others** in 1 case, listed" in in_short(published)


def test_without_results_it_is_empty(tmp_path):
    assert in_short(Store(tmp_path)) == ""
