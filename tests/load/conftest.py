"""Import path of the load tests."""

import sys
from pathlib import Path

# For `import hostile`: pytest's importlib mode does not change sys.path.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "ref")]
