"""Tests of the measurement of scaling: common runs count, and a process that dies ends it."""

import pytest
import scaling


def test_processes_are_added_in_a_common_run():
    first, second = [(10, 1.0), (2, 3.0), (1, 5.0)], [(1, 2.0), (11, 4.0), (2, 6.0)]
    assert scaling.best_run([first, second]) == (13, 3.5, 0.0)
    assert scaling.best_run([first]) == (10, 1.0, 0.0)


def test_a_process_that_dies_is_an_error(tmp_path):
    with pytest.raises(EOFError):
        scaling.together(tmp_path / "missing.npy", 10, 1)
