"""Benchmarks of the kernels; ``extra_info`` has the ratio to a parallel copy of the same arrays."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import kernels


@pytest.mark.parametrize("shape", kernels.SHAPES, ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize("name", kernels.NAMES)
def test_kernel(benchmark, name, shape):
    functions = kernels.calls(shape)
    seconds = kernels.medians({key: functions[key] for key in ("copy", name)}, 9)
    benchmark.extra_info["copy_over_kernel"] = seconds["copy"] / seconds[name]
    benchmark(functions[name])
