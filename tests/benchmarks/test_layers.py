"""Benchmarks of the layers' training steps; ``extra_info`` has the ratios to plain Keras layers."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import layers
from kernels import medians

KINDS = list(layers.OURS)
ROUNDS = 11


def compare(benchmark, functions, name="plain_over_ours"):
    """Time ours; record the ratio unless benchmarks are off."""
    if benchmark.enabled:
        seconds = medians(functions, ROUNDS)
        benchmark.extra_info[name] = seconds["plain"] / seconds["ours"]
    benchmark(functions["ours"])


def steps(kind, shape, **options):
    x = layers.inputs(shape)
    return {
        maker.__name__: layers.call(
            layers.training_step(maker(kind, shape[2]), shape[2], **options), x
        )
        for maker in (layers.ours, layers.plain)
    }


@pytest.mark.parametrize("shape", layers.SHAPES, ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize("kind", KINDS)
def test_training_step(benchmark, kind, shape):
    compare(benchmark, steps(kind, shape))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_training_step_compiled(benchmark, kind):
    # Compiled, the gradient of the plain cell is quadratic in the number of steps.
    compare(benchmark, steps(kind, (32, 100, 128), jit_compile=True))


@pytest.mark.parametrize("kind", KINDS)
def test_time_is_linear_in_the_steps(benchmark, kind):
    step = layers.training_step(layers.ours(kind), 128)
    short, long = (layers.call(step, layers.inputs((8, n, 128))) for n in (1000, 10_000))
    if benchmark.enabled:
        seconds = medians({"short": short, "long": long}, ROUNDS)
        benchmark.extra_info["ten_times_the_steps"] = seconds["long"] / seconds["short"]
    benchmark(long)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_peak_memory(benchmark, kind):
    times = benchmark.pedantic(layers.peak_over_output, (kind, (128, 100, 1024)), rounds=1)
    benchmark.extra_info["peak_over_output"] = times
    assert 0 < times < 100


@pytest.mark.slow
def test_fit(benchmark):
    spiking = [layers.ours("spiking"), layers.ours("lowpass")]
    models = {
        "spiking": layers.classifier(spiking),
        "relu": layers.classifier([layers.keras.layers.ReLU()]),
    }
    batches, rounds = (100, 7) if benchmark.enabled else (2, 1)
    seconds = benchmark.pedantic(layers.fit_seconds_a_step, (models, batches, rounds), rounds=1)
    benchmark.extra_info["spiking_over_relu"] = seconds["spiking"] / seconds["relu"]


@pytest.mark.slow
@pytest.mark.parametrize("measure", [layers.epoch_seconds, layers.traces_seconds])
@pytest.mark.parametrize("kind", KINDS)
def test_many_lengths(benchmark, kind, measure):
    data = layers.ManyLengths(range(20, 20 + (50 if benchmark.enabled else 2)), 128)
    if benchmark.enabled:
        plain = measure(layers.plain(kind, 128), data)
    seconds = benchmark.pedantic(measure, (layers.ours(kind), data), rounds=1)
    if benchmark.enabled:
        benchmark.extra_info["plain_over_ours"] = plain / seconds
