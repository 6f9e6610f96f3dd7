"""Tests of the recipes on the clusters page, each on its real engine: `hatch run clusters:test`."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import kspike_ref

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "guides" / "clusters.md"
MODEL = ROOT / "tests" / "golden" / "models" / "spiking.keras"


def recipe(title, folder):
    """Return the code of a block of the page, with a model path that all workers can read."""
    text = PAGE.read_text(encoding="utf-8")
    (code,) = re.findall(rf'^```py title="{title}"\n(.*?)^```$', text, re.DOTALL | re.MULTILINE)
    assert code.count('"model.keras"') == 1
    return code.replace('"model.keras"', repr(str(folder / "model.keras")))


@pytest.fixture
def folder(tmp_path):
    shutil.copy(MODEL, tmp_path / "model.keras")
    return tmp_path


@pytest.fixture(scope="module")
def data():
    x = np.random.default_rng(0).normal(scale=30, size=(300, 7, 4)).astype(np.float32)
    wanted = kspike_ref.load_model(MODEL).predict(x)
    assert len({y.tobytes() for y in wanted}) > 250  # of 300
    return x, wanted


def test_ray_data(folder, data, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # needs no token in the home directory
    ray = pytest.importorskip("ray")
    x, wanted = data
    options = {"num_cpus": 2, "include_dashboard": False, "log_to_driver": False}
    paths = [path for path in sys.path if path]  # kspike_ref may not be installed in the workers
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(paths)}}
    ray.init(**options, runtime_env=environment)
    try:
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        scope = {"x": x}
        exec(compile(recipe("Ray Data", folder), "Ray Data", "exec"), scope)
        rows = scope["rows"]
    finally:
        ray.shutdown()
    assert np.stack([row["data"] for row in rows]).tobytes() == x.tobytes()
    assert np.stack([row["y"] for row in rows]).tobytes() == wanted.tobytes()


@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java")
def test_spark(folder, data, monkeypatch):
    sql = pytest.importorskip("pyspark.sql")
    pandas = pytest.importorskip("pandas")
    x, wanted = data
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    builder = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.sql.execution.arrow.maxRecordsPerBatch", "64")
    spark = builder.config("spark.driver.bindAddress", "127.0.0.1").getOrCreate()
    try:
        frame = pandas.DataFrame({"id": range(len(x)), "x": list(x.reshape(len(x), -1))})
        scope = {"spark": spark, "table": spark.createDataFrame(frame).repartition(3)}
        exec(compile(recipe("Spark", folder), "Spark", "exec"), scope)
        scores = scope["scores"].toPandas().sort_values("id")
    finally:
        spark.stop()
    assert list(scores["id"]) == list(range(len(x)))
    y = np.array(scores["y"].tolist(), np.float32).reshape(wanted.shape)
    assert y.tobytes() == wanted.tobytes()
