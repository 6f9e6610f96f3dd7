"""Environments for the contestants, built with pip from the package index."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".bench"


@dataclasses.dataclass(frozen=True)
class Environment:
    """A virtual environment, and the packages that it contains.

    Parameters
    ----------
    name : str
        Name of its folder.
    packages : tuple of str
        Arguments of one call of ``pip install``, which succeeds or fails as a whole.
    apart : tuple of str
        More packages, installed one by one, so that one failure does not affect the others.
    python : str, optional
        The required Python version, such as "3.10"; that of the driver by default.
    """

    name: str
    packages: tuple[str, ...]
    apart: tuple[str, ...] = ()
    python: str = ""

    @property
    def folder(self) -> pathlib.Path:
        """Its folder."""
        return FOLDER / self.name

    @property
    def interpreter(self) -> pathlib.Path:
        """Path of its Python interpreter."""
        scripts = "Scripts/python.exe" if os.name == "nt" else "bin/python"
        return self.folder / scripts

    @property
    def fingerprint(self) -> str:
        """Hash of its packages, their project files and the Python version, to detect changes."""
        asked = [*self.packages, *self.apart, self.python]
        files = [ROOT / name / "pyproject.toml" for name in self.packages if "/" in name]
        asked += [file.read_text(encoding="utf-8") for file in files if file.exists()]
        return hashlib.sha256("\n".join(asked).encode()).hexdigest()

    @property
    def ready(self) -> bool:
        """Whether its build has finished."""
        return (self.folder / "built.json").exists()

    def commands(self) -> list[str]:
        """Return the commands that build it, as typed by hand."""
        python = f"python{self.python}" if self.python else "python3"
        pip = f"{self.name}/bin/pip install"
        installs = [" ".join([pip, *map(_quoted, self.packages)])] if self.packages else []
        return [
            f"{python} -m venv {self.name}",
            *installs,
            *(f"{pip} {_quoted(package)}" for package in self.apart),
        ]


def _quoted(argument: str) -> str:
    return f'"{argument}"' if any(sign in argument for sign in "<>") else argument


ENVIRONMENTS = {
    environment.name: environment
    for environment in (
        Environment("kspike-ref", ("-e", "packages/kspike-ref", "-e", "packages/kspike-energy")),
        Environment("kspike-tf", ("-e", "packages/kspike-energy", "-e", "packages/kspike-tf")),
        Environment(
            "keras-spiking",
            ("keras-spiking==0.3.0", "tensorflow==2.10.1", "numpy<1.24", "protobuf<3.20"),
            python="3.10",
        ),
        Environment("onnx", ("onnxruntime>=1.20", "onnx>=1.17", "numpy<2.5")),
        Environment("filters", ("scipy>=1.13", "nengo>=4.0", "numpy<2.5")),
        Environment(
            "torch",
            ("torch==2.13.0", "numpy<2.5"),
            apart=("snntorch", "norse", "spikingjelly", "sinabs"),
        ),
        Environment(
            "snn-toolbox",
            ("snntoolbox==0.6.0", "tensorflow==2.10.1", "numpy<1.24", "protobuf<3.20"),
            python="3.10",
        ),
        Environment("empty", ()),
    )
}


def find_python(version: str) -> str | None:
    """Return an interpreter of a version such as ``"3.10"``, or ``None`` if there is none here.

    The search covers this interpreter, the ``PATH``, and the versions installed by pyenv.
    """
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv"))
    found = shutil.which(f"python{version}")
    candidates = [
        sys.executable,
        *([found] if found else []),
        *map(str, sorted(pyenv.glob(f"versions/{version}*/bin/python"))),
    ]
    asks = "import sys; print('%d.%d' % sys.version_info[:2])"
    for candidate in candidates:
        said = subprocess.run(  # noqa: S603
            [candidate, "-c", asks], capture_output=True, text=True, check=False
        )
        if said.stdout.strip() == version:
            return candidate
    return None


def sources(commit: str) -> list[pathlib.Path]:
    """Return the source folders of the packages as they were at a commit.

    Parameters
    ----------
    commit : str
        A commit of this repository. Its files are unpacked once, below ``FOLDER``.

    Returns
    -------
    list of pathlib.Path
        Folders to put first on Python's path; empty if git does not know the commit (in a shallow
        clone, or outside a repository).
    """
    folder = FOLDER / "sources" / commit
    if not folder.exists():
        packed = FOLDER / f"{commit}.zip"
        FOLDER.mkdir(exist_ok=True)
        command = ["git", "archive", "--format=zip", "-o", str(packed), commit, "packages"]
        try:
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True)  # noqa: S603
        except (OSError, subprocess.CalledProcessError):
            return []
        shutil.unpack_archive(packed, folder)
        packed.unlink()
    return sorted(folder.glob("packages/*/src"))


def build(environment: Environment, rebuild: bool = False) -> dict[str, str]:
    """Build an environment, or update an existing one.

    Parameters
    ----------
    environment : Environment
        The environment.
    rebuild : bool
        Whether to start from an empty one.

    Returns
    -------
    dict
        Reasons of failures, by "python" or the packages that were to be installed.
    """
    record, made_from = environment.folder / "built.json", environment.folder / "built-from.txt"
    current = made_from.exists() and made_from.read_text() == environment.fingerprint
    if record.exists() and current and not rebuild:
        return dict(json.loads(record.read_text()))
    version = environment.python or "{}.{}".format(*sys.version_info[:2])
    python = find_python(version)
    if python is None:
        return {"python": f"no Python {version} was found on this machine"}
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / ".gitignore").write_text("*\n")
    if rebuild or not environment.folder.exists():
        venv = [python, "-m", "venv", "--clear", str(environment.folder)]
        subprocess.run(venv, check=True)  # noqa: S603
    failures = {}
    for packages in (environment.packages, *((package,) for package in environment.apart)):
        if packages and (error := _install(environment, packages)):
            failures[packages[0] if packages in environment.apart else " ".join(packages)] = error
    if not (failures and not environment.apart):
        record.write_text(json.dumps(failures))
        made_from.write_text(environment.fingerprint)
    return failures


def build_failures(environment: Environment) -> dict[str, str]:
    """Return the failures of the last build; empty if there were none, or no build."""
    record = environment.folder / "built.json"
    return dict(json.loads(record.read_text())) if record.exists() else {}


def _install(environment: Environment, packages: tuple[str, ...]) -> str:
    command = [str(environment.interpreter), "-m", "pip", "install", "--quiet", *packages]
    done = subprocess.run(  # noqa: S603
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if line.strip().startswith("ERROR")]
    return (lines or done.stderr.splitlines() or ["pip failed"])[-1].strip()[:200]
