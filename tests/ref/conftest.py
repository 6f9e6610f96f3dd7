"""Import path and fixtures of the `kspike_ref` tests."""

import sys
from pathlib import Path

import pytest

# For `import naive`: pytest's importlib mode does not change sys.path.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def golden():
    """Return the folder of KerasSpiking 0.3.0's answers to fixed inputs."""
    return Path(__file__).parents[1] / "golden"
