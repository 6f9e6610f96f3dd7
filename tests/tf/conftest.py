"""What the tests of `kspike_tf` share."""

import sys
from pathlib import Path

import keras
import pytest

from kspike_tf.scan.cpu import xla_handler

# `import equations`: pytest's importlib mode leaves sys.path alone.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def golden():
    """Folder of the answers of KerasSpiking 0.3.0 to fixed inputs."""
    return Path(__file__).parents[1] / "golden"


@pytest.fixture(autouse=True)
def _keras_as_found():
    """Leave no dtype policy behind for the next test."""
    policy = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(policy)


def pytest_collection_modifyitems(items):
    """Skip what needs XLA to call functions of ours: TensorFlow before 2.21 does not offer it."""
    if xla_handler.is_possible():
        return
    for item in items:
        if "xla_calls" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="this version of XLA cannot call kernels"))
