"""Tests that the scripts in examples/ run; CI also runs the demo as the README describes."""

import pathlib
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


@pytest.mark.slow
def test_the_digits_demo(tmp_path):
    done = subprocess.run(
        [sys.executable, EXAMPLES / "digits.py", "--out", tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    figures = {"raster.png", "accuracy_energy.png", "energy_by_device.png"}
    assert figures <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.slow
def test_the_demo_fails_where_a_claim_fails(tmp_path):
    # One epoch is too short for an accuracy of 0.93.
    done = subprocess.run(
        [sys.executable, EXAMPLES / "digits.py", "--out", tmp_path, "--epochs", "1"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr[-3000:]
    assert "NO" in done.stdout
