"""The python examples of the package's README and of the training guide run."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGES = ["packages/kspike-tf/README.md", "docs/guides/training.md", "docs/guides/converting.md"]

# In one process, since importing TensorFlow takes most of the time; names do not carry over.
RUN = """
import pathlib, sys
for number, block in enumerate(pathlib.Path(sys.argv[1]).read_text().split("\\0")):
    exec(compile(block, f"block {number}", "exec"), {"__name__": "__main__"})
"""


@pytest.mark.parametrize("page", PAGES)
def test_examples_run(page, tmp_path):
    text = (ROOT / page).read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert blocks
    (tmp_path / "blocks").write_text("\0".join(blocks))
    done = subprocess.run(
        [sys.executable, "-c", RUN, "blocks"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
