"""The running version of Keras, and marks for tests that need a newer one.

`kspike_ref` answers as the newest Keras does. If an older one computes something else, or fails,
there is nothing to compare with.
"""

import keras
import pytest

KERAS = tuple(map(int, keras.version().split(".")[:2]))
NEWEST = (3, 15)  # the version whose names and arguments the test tables hold


def since(major, minor, why):
    """Return a mark for a test that an older Keras does not allow; ``why`` says what it did."""
    reason = f"Keras before {major}.{minor} {why}"
    return pytest.mark.skipif((major, minor) > KERAS, reason=reason)


def whole_table(function):
    """Mark a test that a table holds every name of the newest Keras."""
    return since(*NEWEST, "has fewer names and arguments than the table")(function)


def cases(names, marks):
    """Return test parameters: names, some of them with marks."""
    assert set(marks) <= set(names)
    return [pytest.param(name, marks=marks.get(name, ())) for name in names]
