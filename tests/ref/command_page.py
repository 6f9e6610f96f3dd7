"""Updater of docs/command-line.md: runs its commands and inserts their output.

Run ``python tests/ref/command_page.py`` to update the page. Outputs that differ between machines
and runs stay as they are while the lines of their first block have the same names, unless
``--times`` is passed.
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
# Commands whose output differs between machines and runs: only the names are compared.
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


def names(text):
    """Return the first words of the lines before the first empty line."""
    return [line.split("  ")[0] for line in text.partition("\n\n")[0].splitlines()]


def agree(command, shown, found):
    """Return whether the page shows what a command prints, but for what always differs."""
    varies = command.split()[1] in VARIES
    return names(found) == names(shown) if varies else found == shown


def main():
    """Update the outputs on the page."""
    times = "--times" in sys.argv[1:]
    with tempfile.TemporaryDirectory() as name:
        command_files.write(Path(name))

        def output(match):
            command, shown = match.groups()
            found = printed(command, name)
            keeps = not times and agree(command, shown, found)
            return f"$ {command}\n{shown if keeps else found}"

        PAGE.write_text(BLOCK.sub(output, PAGE.read_text()))


if __name__ == "__main__":
    main()
