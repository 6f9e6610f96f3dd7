"""Import path and fixtures of the tests that compare packages."""

import sys
from pathlib import Path

import numpy as np
import pytest

# For `import layerwise`: pytest's importlib mode does not change sys.path.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def report_flips(record_property):
    """Return a function that counts differing spikes and records them for the test summary."""

    def report(ours, theirs, dt):
        counts = [np.rint(np.asarray(spikes, np.float64) * dt) for spikes in (ours, theirs)]
        flipped, total = int((counts[0] != counts[1]).sum()), int(np.abs(counts[1]).sum())
        record_property("flipped spikes", f"{flipped} of {total} ({flipped / max(1, total):.2e})")
        return flipped / max(1, total)

    return report
