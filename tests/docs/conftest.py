"""What the tests of the documentation share."""

import sys
from pathlib import Path

# `import doc_blocks`: pytest's importlib mode leaves sys.path alone.
sys.path.insert(0, str(Path(__file__).parent))
