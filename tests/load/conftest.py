"""What the tests under load share."""

import sys
from pathlib import Path

# `import hostile`: pytest's importlib mode leaves sys.path alone.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "ref")]
