"""The machine and the commit on which the figures were measured."""

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
    """Return the size of the memory, or an empty string if it is unknown."""
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return ""
    return f"{size / 2**30:.0f} GiB of memory"


def busy_seconds() -> float | None:
    """Return the CPU time of all cores since the system started; ``None`` if unknown."""
    try:
        words = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()
    except OSError:
        return None
    user, nice, system, _idle, _waiting, *interrupts = (int(word) for word in words[1:9])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def process_seconds(process: int | str) -> float:
    """Return the CPU time of a process (its number, or "self"); 0 if unknown."""
    try:
        status = pathlib.Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return 0.0
    user, system = status.rpartition(")")[2].split()[11:13]  # fields 14 and 15: see proc(5)
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def describe() -> str:
    """Return one line about the machine."""
    cores = f"{os.cpu_count()} cores"
    system = f"{platform.system()} on {platform.machine()}"
    return ", ".join(part for part in (processor(), cores, memory(), system) if part)


def commit() -> str:
    """Return the commit of kspike that is measured; an empty string outside a repository."""
    try:
        name = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--", "packages")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{name} with changes" if changed else name


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)  # noqa: S603
    return said.stdout.strip()
