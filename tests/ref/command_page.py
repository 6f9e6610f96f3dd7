"""Updater of docs/command-line.md: runs its commands and inserts their output.

Run ``python tests/ref/command_page.py`` to update the page.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import command_files

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"
# A console block: "$ ", the command, and its output.
BLOCK = re.compile(r"(?<=```console\n)\$ (kspike .*?)\n(.*?)(?=^```$)", re.DOTALL | re.MULTILINE)
# Commands whose output differs between machines and runs: the test compares only the names.
VARIES = ("bench", "doctor", "warm-up")


def commands(text):
    """Return pairs of a command and its output on the page."""
    return [(match[1], match[2]) for match in BLOCK.finditer(text)]


def printed(command, folder):
    """Return what a command prints, on both streams."""
    entry = f'"{sys.executable}" -m kspike_ref'
    done = subprocess.run(
        ["bash", "-c", command.replace("kspike", entry, 1)],
        cwd=folder, env={**os.environ, "COLUMNS": "80"}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False, timeout=120,
    )  # fmt: skip
    return re.sub(r"/\S+(?=/kspike_ref/)", "...", done.stdout)  # hides this machine's paths


def main():
    """Update the outputs on the page."""
    with tempfile.TemporaryDirectory() as name:
        command_files.write(Path(name))
        text = PAGE.read_text()
        new = BLOCK.sub(lambda match: f"$ {match[1]}\n{printed(match[1], name)}", text)
        PAGE.write_text(new)


if __name__ == "__main__":
    main()
