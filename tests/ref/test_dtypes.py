"""Tests of type promotion without Keras, for arrays and numbers."""

from __future__ import annotations

import numpy as np
import pytest

from kspike_ref import dtypes


def test_python_numbers_are_weak():
    small = np.ones(2, np.uint8)
    assert dtypes.common_type(small, 1) == np.uint8
    assert dtypes.common_type(small, 1.0) == np.float32
    assert dtypes.common_type(small > 0, 1) == np.int32
    assert dtypes.common_type(small > 0, True) == np.bool_
    assert dtypes.common_type(np.ones(2), 1.0) == np.float64  # `float` is not NumPy's float64


def test_numbers_and_arrays_of_numpy_are_not_weak():
    single = np.ones(2, np.float32)
    assert dtypes.common_type(single, np.float64(1)) == np.float64
    assert dtypes.common_type(np.ones(2, np.int8), np.int64(1)) == np.int64


def test_promoted_arrays_share_a_type_and_are_not_copied_without_need():
    x, y = np.ones(2, np.float32), np.arange(2, dtype=np.int8)
    a, b, c = dtypes.promoted(x, y, 2)
    assert a is x
    assert b.dtype == c.dtype == np.float32


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_single(half):
    assert dtypes.result_type(half, "int32") == half
    assert dtypes.computed(half) == dtypes.float_type(half) == dtypes.sum_type(half) == np.float32


@pytest.mark.parametrize("name", ["complex64", "string", "object", "float8_e5m2"])
def test_other_types_are_refused(name):
    with pytest.raises(ValueError, match=f"type must be one of bool, int8.*Received: '{name}'"):
        dtypes.result_type(name, "float32")
