"""Import path, fixtures and skips of the `kspike_tf` tests."""

import sys
from pathlib import Path

import keras
import pytest

from kspike_tf.scan.cpu import xla_handler

# For `import equations`: pytest's importlib mode does not change sys.path.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def golden():
    """Return the folder of KerasSpiking 0.3.0's answers to fixed inputs."""
    return Path(__file__).parents[1] / "golden"


@pytest.fixture(autouse=True)
def _keras_as_found():
    """Restore the dtype policy after each test."""
    policy = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(policy)


def pytest_collection_modifyitems(items):
    """Skip tests in which XLA must call our functions: TensorFlow before 2.21 cannot."""
    if xla_handler.is_possible():
        return
    for item in items:
        if "xla_calls" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="this version of XLA cannot call kernels"))
