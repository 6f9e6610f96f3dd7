"""Files of released versions, and the check whether this machine must give the same bits."""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path

import llvmlite
import numba
import numpy as np
from llvmlite import binding

HERE = Path(__file__).parent
VERSION = (HERE.parents[2] / "VERSION").read_text().strip()
# Folders: a version of kspike, and the version of Keras that saved the files.
VERSIONS = sorted(path.name for path in HERE.iterdir() if (path / "answers.npz").exists())

# Their products and sums are exact, in any order and on any machine. The others have exponentials,
# roots or quotients, which a machine's libraries may round differently in the last bit.
EXACT = ("spiking", "time_folded", "convolutional", "nested", "operations")


def files():
    """Return the files of all versions."""
    return [path for version in VERSIONS for path in sorted((HERE / version).glob("*.keras"))]


def label(path):
    """Return the name of a file in the list of tests."""
    return f"{path.parent.name}-{path.stem}"


def answers(path):
    """Return the inputs of a file's model, and the outputs of kspike_ref in that version."""
    with np.load(path.with_name("answers.npz")) as file:
        kept = {key: file[key] for key in sorted(file) if key.startswith(f"{path.stem}/")}
    x = [values for key, values in kept.items() if "/x" in key]
    return x, [values for key, values in kept.items() if "/y" in key]


def made_with(path):
    """Return the version of Keras that saved a file, and its `machine`."""
    return json.loads(path.with_name("made_with.json").read_text())


def machine():
    """Return the processor and the libraries, on which rounding depends."""
    libraries = (np.__version__, numba.__version__, llvmlite.__version__)
    features = hashlib.sha256(binding.get_host_cpu_features().flatten().encode()).hexdigest()[:12]
    return " ".join([binding.get_host_cpu_name(), features, *platform.libc_ver(), *libraries])


def same(name, made, wanted, *, exact, tolerance):
    """Fail if outputs differ in any bit, or by more than a share of the largest output."""
    assert len(made) == len(wanted)
    for one, other in zip(made, wanted, strict=True):
        one = np.asarray(one)
        assert one.shape == other.shape
        if exact:
            assert one.dtype == other.dtype
            assert one.tobytes() == other.tobytes(), name
            continue
        one, largest = one.astype(other.dtype), float(np.abs(other).max())
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * largest)
