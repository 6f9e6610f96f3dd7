"""Tests that run the Dockerfile's commands, in folders instead of a container.

`hatch run docker:check` runs a linter on it.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ABSOLUTE = re.compile(r"(?<![\w./-])/(?=(?:src|opt|data)\b)")  # paths of the image
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def instructions():
    """Return pairs of an instruction and its text."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line[:1] != "#"]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(" ", 1)) for line in joined.splitlines() if line.strip()]


def python_for_all():
    """Return a Python that unprivileged users may run, and whether there is one."""
    system = Path("/usr/bin/python3")
    works = system.exists() and not subprocess.run(
        [system, "-c", "import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 11))"],
        check=False, capture_output=True,
    ).returncode  # fmt: skip
    return (system, True) if works else (Path(sys.executable), False)


class Image:
    """Image in a folder of this machine, with the settings of the instructions run so far."""

    def __init__(self, root):
        self.root = root
        self.python, self.is_for_all = python_for_all()
        self.folder, self.user, self.entry = root, None, []
        self.environment = self.plain()

    def plain(self):
        kept = ("HTTP", "PIP_", "UV_", "SSL_", "LANG")  # pip needs these to find packages
        found = {k: v for k, v in os.environ.items() if k.upper().startswith(kept)}
        return {**found, "PATH": f"{self.root}/bin:/usr/bin:/bin", "HOME": "/root"}

    def here(self, text):
        return ABSOLUTE.sub(f"{self.root}/", text)

    def do(self, kind, text):
        text = self.here(text)
        if kind == "FROM":
            self.environment, self.folder = self.plain(), self.root
            shutil.rmtree(self.root / "bin", ignore_errors=True)
            (self.root / "bin").mkdir()
            (self.root / "bin" / "python").symlink_to(self.python)
        elif kind == "WORKDIR":
            self.folder = Path(text)
            self.folder.mkdir(parents=True, exist_ok=True)
        elif kind == "COPY" and not text.startswith("--from=build"):
            source, target = shlex.split(text)
            self.copy(ROOT / source, self.folder / target)
        elif kind == "RUN":
            self.run(["bash", "-euc", text])
        elif kind == "ENV":
            for word in shlex.split(text):
                name, _, value = word.partition("=")
                self.environment[name] = value.replace("$PATH", self.environment["PATH"])
        elif kind == "USER":
            self.user = text
        elif kind == "ENTRYPOINT":
            self.entry = json.loads(text)

    def copy(self, source, target):
        if source.is_file():
            shutil.copy(source, target)
        else:
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))

    def run(self, command, **options):
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True,
            check=False, timeout=900, **options,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def kspike(self, *arguments):
        """Run the image's command as the image's user."""
        command = [*self.entry, *arguments]
        if not (IS_ROOT and self.is_for_all):
            return self.run(command)
        user, group = self.user.split(":")
        rights = ["setpriv", "--reuid", user, "--regid", group, "--clear-groups", "--no-new-privs"]
        return self.run([*rights, *command])


@pytest.fixture(scope="module")
def image():
    # Other users cannot enter pytest's own folders.
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        root = Path(name)
        root.chmod(0o755)
        made = Image(root)
        for kind, text in instructions():
            made.do(kind, text)
        shutil.copy(ROOT / "tests" / "golden" / "digits" / "digits.keras", made.folder)
        (made.folder / "x.csv").write_text("1" + 63 * ",1" + "\n")
        if IS_ROOT:
            os.chown(made.folder, 10001, 10001)
        yield made


def test_two_stages_and_a_user_without_rights():
    kinds = [kind for kind, _ in instructions()]
    assert kinds.count("FROM") == 2
    texts = dict(instructions()[kinds.index("FROM", 1) :])
    assert texts["USER"] == "10001:10001"
    assert json.loads(texts["ENTRYPOINT"]) == ["kspike"]
    bases = [text.split()[0] for kind, text in instructions() if kind == "FROM"]
    assert len(set(bases)) == 1, "the environment would miss its Python"


@pytest.mark.slow
def test_the_command_runs_and_writes_to_the_data_alone(image):
    out = image.kspike("run", "digits.keras", "x.csv", "-t", "20", "-o", "y.npy", "--json")
    assert json.loads(out)["outputs"]["scores"]["shape"] == [1, 10]
    assert (image.folder / "y.npy").exists()


@pytest.mark.slow
def test_kernels_are_compiled_before_the_command_starts(image):
    found = json.loads(image.kspike("doctor", "--json"))
    cache = Path(image.environment["NUMBA_CACHE_DIR"])
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*.nbk")}
    assert len(before) == sum(found["kernels"].values()) > 20
    assert not found["problems"]
    image.kspike("run", "digits.keras", "x.csv", "-t", "20")
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.nbk")} == before
    if IS_ROOT and image.is_for_all:
        assert found["cache"] is None, "its user could write"


@pytest.mark.slow
def test_tensorflow_is_not_in_the_image(image):
    versions = json.loads(image.kspike("doctor", "--json"))["versions"]
    assert versions["tensorflow"] is versions["keras"] is versions["kspike-tf"] is None
    assert versions["kspike-energy"]
