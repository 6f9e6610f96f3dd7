"""The README's Python examples run."""

import pathlib
import re

import pytest

README = pathlib.Path(__file__).parents[2] / "packages" / "kspike-ref" / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_example_runs(block):
    exec(compile(block, str(README), "exec"), {})
