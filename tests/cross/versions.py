"""The version of Keras that runs, and marks for tests that need a newer one.

`kspike_ref` answers as the newest Keras does. Where an older one computes something else, or fails,
there is nothing to compare with.
"""

import keras
import pytest

KERAS = tuple(map(int, keras.version().split(".")[:2]))
NEWEST = (3, 15)  # whose names and arguments the tables of tests hold


def since(major, minor, why):
    """Mark a test, or a case, that an older Keras does not allow; ``why`` says what it did."""
    reason = f"Keras before {major}.{minor} {why}"
    return pytest.mark.skipif((major, minor) > KERAS, reason=reason)


def whole_table(function):
    """Mark a test of whether a table holds everything there is in the newest Keras."""
    return since(*NEWEST, "has fewer names and arguments than the table")(function)


def cases(names, marks):
    """Return parameters of a test: names, some of them with a mark."""
    assert set(marks) <= set(names)
    return [pytest.param(name, marks=marks.get(name, ())) for name in names]
