"""Fixtures of the `kspike_energy` tests."""

from pathlib import Path

import keras
import numpy as np
import pytest

from kspike_energy.registry import DEVICES, STATISTICS


@pytest.fixture(autouse=True)
def _registries_as_found():
    """Restore the registries of devices and layers after each test."""
    devices, statistics = dict(DEVICES._devices), dict(STATISTICS)
    yield
    DEVICES._devices.clear()
    DEVICES._devices.update(devices)
    STATISTICS.clear()
    STATISTICS.update(statistics)


@pytest.fixture(autouse=True)
def _same_names():
    """Number layers from one in each test, so that reports do not depend on the order of tests."""
    keras.utils.clear_session(free_memory=False)  # collecting garbage takes half a second


@pytest.fixture(scope="session")
def golden():
    """Return the folder of KerasSpiking's own results."""
    return Path(__file__).parents[1] / "golden"


@pytest.fixture
def rng():
    return np.random.default_rng(20261123)
