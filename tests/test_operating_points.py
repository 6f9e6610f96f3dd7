"""Tests of the table of operating points, and of the IDX file reader that it uses."""

import gzip
import pathlib
import struct
import subprocess
import sys

import numpy as np
import pytest

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


@pytest.fixture
def idx(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    import idx

    return idx


def encoded(array):
    """Return the contents of an IDX file of bytes, built by hand."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def save(folder, examples=300, shape=(8, 8)):
    """Write the four files of a small data set of two classes; return its training images."""
    rng = np.random.default_rng(0)
    for part, count in (("train", examples), ("t10k", 40)):
        labels = rng.integers(0, 2, count).astype(np.uint8)
        images = rng.integers(0, 80, (count, *shape)).astype(np.uint8)
        images[labels == 1, : shape[0] // 2] += 170  # the upper half is bright
        (folder / f"{part}-images-idx3-ubyte").write_bytes(encoded(images))
        packed = gzip.compress(encoded(labels))
        (folder / f"{part}-labels.idx1-ubyte.gz").write_bytes(packed)


def test_reads_what_was_written(idx, tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "plain").write_bytes(encoded(array))
    (tmp_path / "packed.gz").write_bytes(gzip.compress(encoded(array)))
    for name in ("plain", "packed.gz"):
        np.testing.assert_array_equal(idx.read_idx(tmp_path / name), array)


ARRAY = encoded(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "begins with two zero bytes"),
        (b"\x1f\x8b" + ARRAY, "begins with two zero bytes"),
        (b"\0\0\x0d" + ARRAY[3:], "type 13, 3 axes"),
        (b"\0\0\x08\x05" + ARRAY[4:], "5 axes"),
        (ARRAY[:9], "ends within its header"),
        (ARRAY[:-1], "must hold 24 values"),
        (ARRAY + b"\0", "must hold 24 values"),
        (struct.pack(">HBB3I", 0, 8, 3, *[2**31] * 3), "at most 536870912 values"),
    ],
)
def test_damaged_files(idx, tmp_path, contents, message):
    (tmp_path / "file").write_bytes(contents)
    with pytest.raises(ValueError, match=message):
        idx.read_idx(tmp_path / "file")


def test_damaged_compression(idx, tmp_path):
    (tmp_path / "file.gz").write_bytes(ARRAY)
    with pytest.raises(ValueError, match="cannot be read"):
        idx.read_idx(tmp_path / "file.gz")
    (tmp_path / "file.gz").write_bytes(gzip.compress(ARRAY)[:-12])
    with pytest.raises(ValueError, match="cannot be read"):
        idx.read_idx(tmp_path / "file.gz")
    # If a file expands without end, only as much is read as its header says.
    (tmp_path / "file.gz").write_bytes(gzip.compress(ARRAY + bytes(50_000_000)))
    with pytest.raises(ValueError, match="must hold 24 values"):
        idx.read_idx(tmp_path / "file.gz")


def test_folders(idx, tmp_path):
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
        idx.load_images(tmp_path)
    save(tmp_path)
    data = idx.load_images(tmp_path)
    assert data.images.shape == (300, 8, 8, 1)
    assert data.images.max() <= 1
    assert data.held_out_labels.shape == (40,)
    (tmp_path / "t10k-labels.idx1-ubyte.gz").unlink()
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(encoded(np.zeros(39, np.uint8)))
    with pytest.raises(ValueError, match="with a label each"):
        idx.load_images(tmp_path)


@pytest.mark.slow
def test_table_from_idx_files(tmp_path):
    save(tmp_path, shape=(12, 9))
    page = tmp_path / "page.md"
    page.write_text("Before\n<!-- marks: begin -->\nold\n<!-- marks: end -->\nAfter\n")
    command = [sys.executable, EXAMPLES / "operating_points.py", "--data", tmp_path]
    command += ["--epochs", "25", "--timesteps", "5", "60", "--write", page, "--name", "marks"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == ["steps", "--:", "5", "60", "ordinary"]
    accuracy = float(rows[3][1].rstrip("%"))
    assert accuracy >= float(rows[4][1].rstrip("%")) - 3 > 90
    lines = page.read_text().splitlines()
    assert lines[0] == "Before"
    assert lines[-1] == "After"
    assert "old" not in lines
    assert lines[2:-2] == done.stdout.splitlines()
