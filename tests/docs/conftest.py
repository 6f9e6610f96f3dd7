"""Import path of the documentation tests."""

import sys
from pathlib import Path

# For `import doc_blocks`: pytest's importlib mode does not change sys.path.
sys.path.insert(0, str(Path(__file__).parent))
