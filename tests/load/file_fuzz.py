"""Fuzzer of model files that knows their structure, and compares what it reads with h5py.

``python tests/load/file_fuzz.py --mutants 100000`` sets the number of mutants. A mutant must end in
an error of `load_model`, or in a model that runs or refuses its inputs. A load has limits of time
and memory, and every array that both readers find in a file must be the same in both.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import io
import json
import resource
import struct
import subprocess
import sys
import tempfile
import time
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np

import kspike_ref
from kspike_ref.saved import hdf5

GOLDEN = Path(__file__).parents[1] / "golden"
SECONDS, BYTES = 5, 16 << 20  # limits of a load: far more than any needs
H5PY_BYTES = 4 << 30  # limit of the address space, libraries included
WEIGHTS = "model.weights.h5"
REFUSALS = (kspike_ref.ArchiveError, kspike_ref.UnsupportedLayerError)
SIGNATURES = (b"TREE", b"SNOD", b"HEAP", b"GCOL", b"\x89HDF")


def seeds():
    """Return the files that Keras 2 and 3 saved, with inputs for their models."""
    with np.load(GOLDEN / "keras2" / "answers.npz") as file:
        kept = {key: file[key] for key in sorted(file)}
    found = {}
    for path in sorted((GOLDEN / "keras2").glob("*.*")):
        if path.suffix in (".h5", ".keras"):
            found[path] = [x for key, x in kept.items() if key.startswith(f"{path.stem}/x")]
    rng = np.random.default_rng(0)
    own = {
        "spiking": rng.normal(scale=30, size=(2, 7, 4)),
        "convolutional": rng.normal(size=(2, 6, 6, 2)),
        "recurrent": np.arange(10).reshape(2, 5) % 7,
        "masked": rng.normal(size=(2, 7, 4)) * [[[1]], [[0]]],
    }
    for name, x in own.items():
        kind = np.int64 if name == "recurrent" else np.float32
        found[GOLDEN / "models" / f"{name}.keras"] = [x.astype(kind)]
    return found


class Hdf5Mutator:
    """Mutator of an HDF5 file's addresses, sizes, counts, types and names."""

    def __init__(self, data):
        self.data = data
        words = np.frombuffer(data[: len(data) // 8 * 8], "<u8")
        self.words = 8 * np.flatnonzero((words > 0) & (words <= 2 * len(data)))
        near = [i for s in SIGNATURES for i in _all(data, s)]
        near += [int(words[at // 8]) for at in self.words if words[at // 8] < len(data)]
        self.places = sorted({i + k for i in near for k in range(48) if i + k < len(data)})

    def mutant(self, rng):
        """Return the file with one to three changes."""
        data = bytearray(self.data)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.choice(self.words))
            kind = rng.integers(10)
            if kind < 2:  # copy another address or size from the file
                other = int(rng.choice(self.words))
                data[at : at + 8] = self.data[other : other + 8]
            elif kind < 4:
                (value,) = struct.unpack_from("<Q", self.data, at)
                step = int(rng.choice([-40, -8, -1, 1, 8, 24, 40, 1 << 20]))
                data[at : at + 8] = struct.pack("<Q", (value + step) % 2**64)
            elif kind == 4:
                odd = [0, 1, len(data), len(data) - 1, 2**31, 2**63, 2**64 - 1]
                data[at : at + 8] = struct.pack("<Q", odd[rng.integers(len(odd))])
            elif kind == 5:  # counts, kinds of messages and their sizes are 2 bytes
                at = self._place(rng) & ~1
                data[at : at + 2] = struct.pack("<H", int(rng.integers(0, 64)))
            elif kind < 8:
                at = self._place(rng)
                flipped = data[at] ^ (1 << int(rng.integers(8)))
                data[at] = flipped if kind == 6 else rng.integers(256)
            elif kind == 8:  # copy a part of another object
                size, to = int(rng.choice([2, 8, 16, 24, 40])), self._place(rng)
                start = self._place(rng)
                data[to : to + size] = self.data[start : start + size]
                del data[len(self.data) :]
            else:
                del data[int(rng.integers(1, len(data))) :]
                break
        return bytes(data)

    def _place(self, rng):
        return int(self.places[rng.integers(len(self.places))])


def _all(data, part):
    at = data.find(part)
    while at >= 0:
        yield at
        at = data.find(part, at + 1)


class ArchiveMutator:
    """Mutator of an archive: of the weights in a valid archive, or of the zip's headers."""

    def __init__(self, data):
        self.data = data
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            self.members = {name: archive.read(name) for name in archive.namelist()}
        self.inner = Hdf5Mutator(self.members[WEIGHTS])
        starts = [i for mark in (b"PK\1\2", b"PK\3\4", b"PK\5\6") for i in _all(data, mark)]
        self.places = sorted({i + k for i in starts for k in range(46) if i + k < len(data)})

    def mutant(self, rng):
        if rng.random() < 0.7:
            return zipped(self.members | {WEIGHTS: self.inner.mutant(rng)})
        data = bytearray(self.data)
        for _ in range(rng.integers(1, 4)):
            at = int(self.places[rng.integers(len(self.places))])
            size = int(rng.choice([1, 2, 4]))
            odd = [0, 1, len(data), 2**31, 2**32 - 1, int(rng.integers(2**32))]
            value = odd[rng.integers(len(odd))] % 256**size
            data[at : at + size] = value.to_bytes(size, "little")
        return bytes(data)


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def attempt(path, inputs, measured):
    """Load and run a file; return how it ended. Fail if the load needs much time or memory."""
    if measured:
        tracemalloc.start()
    start = time.process_time()
    try:
        model = kspike_ref.load_model(path)
    except REFUSALS:
        return "refused"
    finally:
        seconds = time.process_time() - start
        peak = 0
        if measured:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        if seconds > SECONDS or peak > BYTES:
            raise AssertionError(f"a load took {seconds:.1f} s and {peak:,} bytes")
    try:
        model.predict(inputs if len(inputs) > 1 else inputs[0])
    except (ValueError, TypeError):
        return "inputs refused"
    return "ran"


def arrays(data):
    """Return digests of the arrays that kspike_ref reads in an HDF5 file, by path."""
    file, found, seen = hdf5.File(data), {}, set()
    left = [""]
    while left:
        path = left.pop()
        try:
            members = file.children(path) or {}
        except hdf5.FormatError:
            continue
        for name, address in members.items():
            if "/" in name or not name or name in (".", "..") or address in seen:
                continue
            seen.add(address)
            inner = f"{path}/{name}"
            try:
                found[inner] = digest(file.read(file.dataset(address)))
            except hdf5.FormatError:
                left.append(inner)
    return found


def digest(values):
    """Return a digest of values, shape and type that ignores the byte order."""
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    text = f"{values.dtype.name} {values.shape}"
    return hashlib.sha256(text.encode() + values.tobytes()).hexdigest()


def second_opinion(folder):
    """Print what h5py reads from each file of a folder, at the paths in the file beside it."""
    import h5py

    # h5py accepts any shape: a mutant of 2 kB made it fill 16 GB.
    resource.setrlimit(resource.RLIMIT_AS, (H5PY_BYTES, H5PY_BYTES))
    for place in sorted(Path(folder).glob("*.h5")):
        print(json.dumps([place.name, None]), flush=True)
        found = {}
        try:
            with h5py.File(place, "r") as file:
                for path in json.loads(place.with_suffix(".json").read_text()):
                    try:
                        found[path] = digest(file[path][()])
                    except Exception:
                        continue
        except Exception as error:
            found = {"error": str(error)}
        print(json.dumps([place.name, found]), flush=True)
        place.unlink()


class OtherValuesError(AssertionError):
    """Error for a mutant from which h5py reads other values."""

    def __init__(self, name, path):
        super().__init__(f"{name}: {path} has other values in h5py")
        self.name = name


def compared(accepted):
    """Return how many arrays h5py reads alike; start its process again whenever it crashes.

    Raises
    ------
    OtherValuesError
        If h5py reads other values.
    """
    counts = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for name, (data, ours) in accepted.items():
            Path(folder, f"{name}.h5").write_bytes(data)
            Path(folder, f"{name}.json").write_text(json.dumps(list(ours)))
        while list(Path(folder).glob("*.h5")):
            command = [sys.executable, __file__, "--second-opinion", folder]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, check=False, timeout=300
                )
                lines, errors = done.stdout.splitlines(), done.stderr
            except subprocess.TimeoutExpired as error:
                lines, errors = (error.stdout or b"").decode().splitlines(), f"{error}"
            begun = None
            for name, found in map(json.loads, lines):
                begun = name if found is None else None
                for path, theirs in (found or {}).items():
                    ours = accepted[name.removesuffix(".h5")][1]
                    counts["alike" if ours.get(path) == theirs else "not read by h5py"] += 1
                    if path in ours and ours[path] != theirs:
                        raise OtherValuesError(name.removesuffix(".h5"), path)
            if begun is not None:  # h5py crashed or hung
                counts["crashes of h5py"] += 1
                Path(folder, begun).unlink()
            elif not lines:
                raise RuntimeError(f"h5py did not start: {errors}")
    return counts


def fuzz(mutants, seed=0, keep=None, report=lambda counts: None):
    """Make mutants of all seed files in turn; return how often each outcome occurred.

    Parameters
    ----------
    mutants, seed : int
        Number of mutants, and seed of the random numbers.
    keep : path, optional
        Folder in which to keep a mutant that fails.
    report : callable
        Called with the counts from time to time.
    """
    found, counts, accepted = seeds(), collections.Counter(), {}
    makers = {
        path: (Hdf5Mutator if path.suffix == ".h5" else ArchiveMutator)(path.read_bytes())
        for path in found
    }
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(mutants):
            source = list(found)[i % len(found)]
            data = makers[source].mutant(rng)
            path = Path(folder, f"mutant{source.suffix}")
            path.write_bytes(data)
            try:
                end = attempt(path, found[source], measured=i % 16 == 0)
                if end != "refused":
                    inner = data if source.suffix == ".h5" else _weights(data)
                    accepted[f"{i:09}"] = inner, arrays(inner)
                if len(accepted) >= 500 or i == mutants - 1:
                    counts += compared(accepted)
                    accepted.clear()
            except OtherValuesError as error:
                if keep is not None:  # one of many, rarely the last
                    Path(keep, f"{error.name}.h5").write_bytes(accepted[error.name][0])
                print(f"mutant {error.name}, seed {seed}", file=sys.stderr)
                raise
            except BaseException:
                if keep is not None:
                    Path(keep, f"{i:09}-{source.name}").write_bytes(data)
                print(f"mutant {i} of {source.name}, seed {seed}", file=sys.stderr)
                raise
            counts[end] += 1
            if i % 5000 == 4999:
                report(counts)
    return counts


def _weights(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(WEIGHTS)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--mutants", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", default=".", help="where to leave a mutant that fails")
    parser.add_argument("--second-opinion", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.second_opinion:
        second_opinion(options.second_opinion)
        return
    start = time.perf_counter()

    def report(counts):
        print(f"{time.perf_counter() - start:.0f} s: {dict(counts)}", flush=True)

    report(fuzz(options.mutants, options.seed, options.keep, report))


if __name__ == "__main__":
    main()
