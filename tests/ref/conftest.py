"""What the tests of `kspike_ref` share."""

import sys
from pathlib import Path

import pytest

# `import naive`: pytest's importlib mode leaves sys.path alone.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def golden():
    """Folder of the answers of KerasSpiking 0.3.0 to fixed inputs."""
    return Path(__file__).parents[1] / "golden"
