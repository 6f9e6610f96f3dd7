"""Benchmarks of whole models; ``extra_info`` has the ratio to Keras."""

import sys
from pathlib import Path

import pytest

import kspike_ref

sys.path.insert(0, str(Path(__file__).parent))

import predict


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    keras_model, path = predict.saved(tmp_path_factory.mktemp("model"))
    return keras_model, kspike_ref.load_model(path), path


@pytest.mark.benchmark(min_rounds=1)
def test_static_images(benchmark, models, request):
    if request.config.getoption("benchmark_disable"):
        pytest.skip("only measured, not checked")
    ours, theirs = predict.measure_static(*models[:2])
    benchmark.extra_info["keras_over_ours"] = theirs / ours
    x = predict.images()
    benchmark(lambda: models[1].predict(x, timesteps=predict.STEPS))


@pytest.mark.benchmark(min_rounds=1)
def test_one_image(benchmark, models, request):
    if request.config.getoption("benchmark_disable"):
        pytest.skip("only measured, not checked")
    ours, theirs = predict.measure_one(*models[:2])
    benchmark.extra_info["tf_function_over_ours"] = theirs / ours
    x = predict.images(1)
    benchmark(lambda: models[1].predict(x, timesteps=predict.STEPS))


def test_one_step(benchmark, models):
    x, state = predict.images(1), models[1].initial_state(1)
    y, _ = benchmark(lambda: models[1].step(x, state))
    assert y.shape == (1, 10)
