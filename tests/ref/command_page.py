"""Runs the commands of docs/command-line.md, and writes what they print into the page.

python tests/ref/command_page.py
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import command_files

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"
# A block of console: "$ ", the command, and what it prints.
BLOCK = re.compile(r"(?<=```console\n)\$ (kspike .*?)\n(.*?)(?=^```$)", re.DOTALL | re.MULTILINE)
# What differs between machines and runs: the test compares the names of these alone.
VARIES = ("bench", "doctor", "warm-up")


def commands(text):
    """Return pairs of a command and what the page says that it prints."""
    return [(match[1], match[2]) for match in BLOCK.finditer(text)]


def printed(command, folder):
    """Return what a command prints, on both streams."""
    entry = f'"{sys.executable}" -m kspike_ref'
    done = subprocess.run(
        ["bash", "-c", command.replace("kspike", entry, 1)],
        cwd=folder, env={**os.environ, "COLUMNS": "80"}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False, timeout=120,
    )  # fmt: skip
    return re.sub(r"/\S+(?=/kspike_ref/)", "...", done.stdout)  # whose machine it is


def main():
    """Write what the commands print into the page."""
    with tempfile.TemporaryDirectory() as name:
        command_files.write(Path(name))
        text = PAGE.read_text()
        new = BLOCK.sub(lambda match: f"$ {match[1]}\n{printed(match[1], name)}", text)
        PAGE.write_text(new)


if __name__ == "__main__":
    main()
