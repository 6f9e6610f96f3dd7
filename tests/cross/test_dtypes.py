"""Tests of the promotion of operand types against Keras."""

from __future__ import annotations

import itertools

import keras
import ml_dtypes
import numpy as np
import pytest
import versions

from kspike_ref import dtypes

OPERANDS = (*dtypes.NAMES, bool, int, float)


@versions.since(3, 12, "promotes uint64 to uint32")
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_result_type_is_that_of_keras_for_all_operands(count):
    for types in itertools.combinations_with_replacement(OPERANDS, count):
        assert dtypes.result_type(*types) == keras.backend.result_type(*types), types


def test_result_type_takes_the_dtypes_of_numpy():
    for one, other in itertools.product(set(dtypes.NAMES) - {"bfloat16"}, OPERANDS):
        assert dtypes.result_type(np.dtype(one), other) == dtypes.result_type(one, other)
    assert dtypes.result_type(np.dtype(ml_dtypes.bfloat16)) == "bfloat16"


def test_sums_have_the_type_of_keras():
    for name in dtypes.NAMES:
        theirs = keras.ops.sum(keras.ops.ones((2,), dtype=name)).dtype
        assert dtypes.sum_type(name) == dtypes.computed(theirs), name


def test_means_have_the_type_of_keras():
    for name in dtypes.NAMES:
        theirs = keras.ops.mean(keras.ops.ones((2,), dtype=name)).dtype
        assert dtypes.float_type(name) == dtypes.computed(theirs), name


def test_bfloat16_of_numpy_becomes_float32():
    x = dtypes.real(np.array([1.5, -2.0], ml_dtypes.bfloat16), "x must be an array")
    assert x.dtype == np.float32
    assert x.tolist() == [1.5, -2.0]
