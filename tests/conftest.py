"""Seeds for all tests: unseeded draws are the same in every run, alone or after other tests."""

import random
import re
import sys
from collections.abc import Iterator

import numpy as np
import pytest

NEWEST_KERAS = (3, 15)  # the version whose names the tests use


def _seed() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (for code under test that draws from it)
    # Tests of packages without Keras must not import it.
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Seed before the fixtures, including module-scoped ones."""
    _seed()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    """Seed again, because fixtures may already exist from other tests."""
    _seed()


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Iterator[None]:
    """Skip tests that need a newer Keras; an attribute that the newest lacks is an error."""
    try:
        return (yield)
    except AttributeError as error:
        missing = re.match(r"module 'keras\S*' has no attribute '(\w+)'", str(error))
        keras = sys.modules.get("keras")
        if missing and keras and tuple(map(int, keras.version().split(".")[:2])) < NEWEST_KERAS:
            pytest.skip(f"Keras {keras.version()} has no {missing[1]}")
        raise


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many spikes differ between packages end to end, where float32 sums flip some."""
    found = [
        f"{report.nodeid.split('/')[-1]}: {value}"
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == "flipped spikes"
    ]
    if found:
        terminalreporter.section("spikes flipped end to end")
        for line in found:
            terminalreporter.write_line(line)
