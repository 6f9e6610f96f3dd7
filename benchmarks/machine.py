"""What the figures were measured on."""

from __future__ import annotations

import os
import pathlib
import platform
import subprocess

from benchmarks.environments import ROOT


def processor() -> str:
    """Return the name of the processor."""
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def memory() -> str:
    """Return the size of the memory, or an empty text where it cannot be known."""
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return ""
    return f"{size / 2**30:.0f} GiB of memory"


def describe() -> str:
    """Return one line about the machine."""
    cores = f"{os.cpu_count()} cores"
    system = f"{platform.system()} on {platform.machine()}"
    return ", ".join(part for part in (processor(), cores, memory(), system) if part)


def commit() -> str:
    """Return which commit of kspike is measured; empty outside a repository."""
    try:
        said = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return said.stdout.strip()
