"""What the tests of `kspike_energy` share."""

from pathlib import Path

import keras
import numpy as np
import pytest

from kspike_energy.registry import DEVICES, STATISTICS


@pytest.fixture(autouse=True)
def _registries_as_found():
    """Leave no device and no layer behind for the next test."""
    devices, statistics = dict(DEVICES._devices), dict(STATISTICS)
    yield
    DEVICES._devices.clear()
    DEVICES._devices.update(devices)
    STATISTICS.clear()
    STATISTICS.update(statistics)


@pytest.fixture(autouse=True)
def _same_names():
    """Number layers from one in each test, so that reports are the same in any order."""
    keras.utils.clear_session(free_memory=False)  # collecting garbage takes half a second


@pytest.fixture(scope="session")
def golden():
    """Folder of KerasSpiking's own answers."""
    return Path(__file__).parents[1] / "golden"


@pytest.fixture
def rng():
    return np.random.default_rng(20261123)
