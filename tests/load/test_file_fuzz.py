"""Tests on mutants of model files in CI; `python tests/load/file_fuzz.py` makes any number."""

import file_fuzz
import numpy as np
import pytest

import kspike_ref


def test_mutants_end_in_an_error_or_a_model(tmp_path):
    """With those of tests/ref/test_archive_fuzz.py, 7,500 in CI, which runs the slow tests too."""
    counts = file_fuzz.fuzz(2400, keep=tmp_path)
    assert sum(counts[end] for end in ("refused", "inputs refused", "ran")) == 2400
    # If all mutants failed at once, or h5py read none, the test would show nothing.
    assert counts["ran"] > 200
    assert counts["alike"] > 200


def test_other_values_in_h5py_are_noticed(monkeypatch, tmp_path):
    read = file_fuzz.hdf5.File.read
    monkeypatch.setattr(file_fuzz.hdf5.File, "read", lambda self, d: read(self, d) + 1)
    with pytest.raises(AssertionError, match="has other values in h5py"):
        file_fuzz.fuzz(200, keep=tmp_path)
    (kept,) = tmp_path.iterdir()
    assert int(kept.stem) < 199  # the first that differs, not the last
    assert file_fuzz.arrays(kept.read_bytes())


def test_a_second_opinion_without_a_word_in_time(monkeypatch):
    def run(command, **options):
        raise file_fuzz.subprocess.TimeoutExpired(command, 300)

    monkeypatch.setattr(file_fuzz.subprocess, "run", run)
    with pytest.raises(RuntimeError, match=r"h5py did not start: .*timed out"):
        file_fuzz.compared({"0": (b"", {})})


def test_other_errors_are_noticed(monkeypatch):
    def load(path):
        raise KeyError(path)

    monkeypatch.setattr(kspike_ref, "load_model", load)
    with pytest.raises(KeyError):
        file_fuzz.fuzz(1)


def test_mutants_are_the_same_each_time():
    path = next(path for path in file_fuzz.seeds() if path.suffix == ".h5")
    maker = file_fuzz.Hdf5Mutator(path.read_bytes())
    one, other = (
        [maker.mutant(rng) for _ in range(20)]
        for rng in (np.random.default_rng(3), np.random.default_rng(3))
    )
    assert one == other
    assert len(set(one)) > 15


@pytest.mark.parametrize("place", [1, 2, 3, *range(8, 20)])
def test_every_byte_of_a_type_counts(place):
    """h5py accepts a float with another bias, mantissa or sign; kspike_ref must refuse it."""
    path = file_fuzz.GOLDEN / "keras2" / "recurrent.h5"
    data = bytearray(path.read_bytes())
    header = bytes.fromhex("11201f0004000000 0000200017080017 7f000000")
    at = data.find(header)
    while at >= 0:
        data[at + place] ^= 4
        at = data.find(header, at + 1)
    assert file_fuzz.arrays(path.read_bytes())
    changed = file_fuzz.arrays(bytes(data))
    whole = file_fuzz.arrays(path.read_bytes())
    assert all(whole[name] == found for name, found in changed.items())
    assert len(changed) < len(whole)
