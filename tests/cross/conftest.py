"""What the tests that compare packages share."""

import sys
from pathlib import Path

import numpy as np
import pytest

# `import layerwise`: pytest's importlib mode leaves sys.path alone.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def report_flips(record_property):
    """Count the spikes in which two runs differ, and have the summary of the tests tell."""

    def report(ours, theirs, dt):
        counts = [np.rint(np.asarray(spikes, np.float64) * dt) for spikes in (ours, theirs)]
        flipped, total = int((counts[0] != counts[1]).sum()), int(np.abs(counts[1]).sum())
        record_property("flipped spikes", f"{flipped} of {total} ({flipped / max(1, total):.2e})")
        return flipped / max(1, total)

    return report
