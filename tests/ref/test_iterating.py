"""Tests of runs over batches from iterators, and of outputs in the caller's arrays and files."""

from __future__ import annotations

import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from archives import applied, dense, functional, input_layer, layer, sequential, tensor
from processes import run
from unsaved import unsaved


def _model():
    spiking = layer("SpikingActivation", "spikes", "kspike_tf", activation="relu", seed=3)
    return unsaved(sequential(input_layer(None, 6), dense("d", 5), spiking, name="m"))


def _several():
    return unsaved(
        functional(
            [
                applied(input_layer(4, name="a")),
                applied(input_layer(4, name="b")),
                applied(layer("Add", "sum"), [[tensor("a"), tensor("b")]]),
                applied(dense("d", 3), [tensor("sum")]),
            ],
            [["a", 0, 0], ["b", 0, 0]],
            {"sum": ["sum", 0, 0], "dense": ["d", 0, 0]},
        )
    )


def _x(*shape, seed=0):
    return np.random.default_rng(seed).uniform(0, 100, shape).astype(np.float32)


def _split(x, size):
    return [x[i : i + size] for i in range(0, len(x), size)]


# --- Iterators


def test_batches_of_a_generator_give_the_bits_of_one_run():
    model, x = _model(), _x(23, 7, 6)
    outputs = model.predict(part for part in _split(x, 5))
    assert iter(outputs) is outputs
    assert np.concatenate(list(outputs)).tobytes() == model.predict(x).tobytes()


def test_batches_are_read_when_their_outputs_are_asked_for():
    model, read = _model(), []

    def batches():
        for i in range(3):
            read.append(i)
            yield _x(2, 7, 6, seed=i)

    outputs = model.predict(batches())
    assert read == []
    for i in range(3):
        next(outputs)
        assert read == list(range(i + 1))
    assert next(outputs, None) is None


def test_one_batch_is_held_at_a_time():
    model, alive, most = _model(), set(), []

    def watched(name, array):
        alive.add(name)
        weakref.finalize(array, alive.discard, name)

    def batches():
        for i in range(20):
            most.append(set(alive))
            batch = _x(4, 7, 6, seed=i)
            watched(f"batch {i}", batch)
            yield batch
            del batch

    for i, y in enumerate(model.predict(batches())):
        watched(f"outputs {i}", y)
        del y
    assert most[1:] == [{f"outputs {i}"} for i in range(19)]  # held by this loop's `enumerate`


def test_tuples_are_inputs_and_targets_as_in_keras():
    model, x = _model(), _x(3, 7, 6)
    wanted = model.predict(x)
    for batch in [(x,), (x, np.zeros(3)), (x, np.zeros(3), np.ones(3))]:
        np.testing.assert_array_equal(next(model.predict(iter([batch]))), wanted)
    with pytest.raises(ValueError, match=r"must be \(x,\), .* Received: a tuple of 4"):
        next(model.predict(iter([(x, x, x, x)])))


def test_several_inputs_and_outputs():
    model, a, b = _several(), _x(6, 4), _x(6, 4, seed=1)
    wanted = model.predict([a, b])
    batches = [{"a": a[:2], "b": b[:2]}, [a[2:], b[2:]]]
    made = list(model.predict(iter(batches)))
    for name in ("sum", "dense"):
        np.testing.assert_array_equal(np.concatenate([y[name] for y in made]), wanted[name])


def test_options_reach_every_batch():
    model, x = _model(), _x(5, 6)
    wanted = model.predict(x, timesteps=4)
    made = list(model.predict(iter(_split(x, 2)), timesteps=4, batch_size=1))
    np.testing.assert_array_equal(np.concatenate(made), wanted)
    with pytest.raises(ValueError, match="max_bytes"):
        next(model.predict(iter([x]), timesteps=4, max_bytes=1))
    with pytest.raises(ValueError, match="batch_size must be"):
        model.predict(iter([x]), batch_size=0)  # raised before a batch is read
    with pytest.raises(ValueError, match="out must be None for an iterator"):
        model.predict(iter([x]), timesteps=4, out=wanted)


def test_an_error_tells_the_batch():
    outputs = _model().predict(iter([_x(2, 7, 6), _x(2, 7, 5)]))
    next(outputs)
    with pytest.raises(ValueError, match="x must have the shape") as caught:
        next(outputs)
    assert caught.value.__notes__ == ["Raised by batch 1 of the iterator, counted from 0."]


def test_progress_counts_batches(capsys):
    pytest.importorskip("tqdm")
    list(_model().predict(iter([_x(2, 7, 6)] * 3), progress=True))
    assert "3batch" in capsys.readouterr().err


def test_memory_is_bounded():
    """100 batches of 4 MiB, with outputs of 3.3 MiB."""
    code = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import numpy as np
from test_iterating import _model
model = _model()
batch = np.zeros((512, 341, 6), np.float32)
sum(y.size for y in model.predict(batch.copy() for _ in range(3)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sum(y.size for y in model.predict(batch.copy() for _ in range(100)))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""
    assert int(run(code)) < 64  # MiB; the outputs of 100 batches are 333


# --- Outputs in the caller's arrays


@pytest.mark.parametrize("batch_size", [None, 1, 4, 100])
@pytest.mark.parametrize("examples", [0, 1, 23])
def test_out_has_the_bits_of_a_run_without(examples, batch_size):
    model, x = _model(), _x(examples, 7, 6)
    out = np.full((examples, 7, 5), np.nan, np.float32)
    assert model.predict(x, batch_size=batch_size, out=out) is out
    assert out.tobytes() == model.predict(x).tobytes()


def test_out_may_be_part_of_an_array():
    model, x = _model(), _x(9, 7, 6)
    room = np.zeros((20, 7, 10), np.float32)
    model.predict(x, batch_size=2, out=room[5:14, :, ::2])
    np.testing.assert_array_equal(room[5:14, :, ::2], model.predict(x))
    room[5:14, :, ::2] = 0
    assert not room.any()


def test_out_of_several_outputs():
    model, x = _several(), [_x(6, 4), _x(6, 4, seed=1)]
    wanted = model.predict(x)
    out = {name: np.zeros_like(y) for name, y in wanted.items()}
    assert model.predict(x, batch_size=4, out=out) is out
    for name, y in wanted.items():
        np.testing.assert_array_equal(out[name], y)
    for wrong, error, message in [
        ({"sum": out["sum"]}, TypeError, "out must be a dict of sum, dense. Received: sum"),
        ([out["sum"], out["dense"]], TypeError, "out must be a dict .* Received: list"),
        ({**out, "sum": None}, TypeError, "out must be a NumPy array. Received: NoneType"),
        ({**out, "dense": out["sum"][:, :3]}, ValueError, "out must hold separate arrays"),
        ({**out, "dense": out["sum"].copy()}, ValueError, r"of the output, \(6, 3\)"),
    ]:
        with pytest.raises(error, match=message):
            model.predict(x, out=wrong)


def test_out_that_does_not_fit_is_refused():
    model, x = _model(), _x(4, 7, 6)
    frozen = np.zeros((4, 7, 5), np.float32)
    frozen.setflags(write=False)
    for batch_size in (None, 1):
        for out, error, message in [
            ([0.0], TypeError, "out must be a NumPy array. Received: list"),
            (np.ma.zeros((4, 7, 5), np.float32), TypeError, "Received: MaskedArray"),
            (np.zeros((3, 7, 5), np.float32), ValueError, r"\(4, 7, 5\). .*=\(3, 7, 5\)"),
            (np.zeros((4, 7, 1), np.float32), ValueError, "out must have the shape"),
            (np.zeros((4, 7, 5)), TypeError, "out must be float32, .* Received: out.dtype=<f8"),
            (np.zeros((4, 7, 5), ">f4"), TypeError, "native byte order"),
            (frozen, ValueError, "out must be writable"),
        ]:
            with pytest.raises(error, match=message):
                model.predict(x, batch_size=batch_size, out=out)


def test_out_must_not_share_memory_with_the_input():
    model = unsaved(sequential(input_layer(None, 6), dense("d", 6), name="m"))
    x = _x(4, 7, 6)
    with pytest.raises(ValueError, match="out must not share memory with x"):
        model.predict(x, out=x)
    with pytest.raises(ValueError, match="out must not share memory with x"):
        model.predict(x[:, 0], timesteps=7, out=x)


# --- Memory maps


def test_memory_maps_in_and_out(tmp_path):
    model, x = _model(), _x(50, 7, 6)
    np.save(tmp_path / "x.npy", x)
    given = np.load(tmp_path / "x.npy", mmap_mode="r")
    out = np.lib.format.open_memmap(tmp_path / "y.npy", "w+", np.float32, (50, 7, 5))
    assert model.predict(given, batch_size=8, out=out) is out
    out.flush()
    assert np.load(tmp_path / "y.npy").tobytes() == model.predict(x).tobytes()


def test_the_file_has_its_room_before_the_run(tmp_path):
    """Writing to a hole while the disk is full would end the process with SIGBUS."""
    shape = (64, 7, 5)
    np.memmap(tmp_path / "y", np.float32, "w+", 4096 * 3 + 12, (1000, 7, 5)).flush()
    assert (tmp_path / "y").stat().st_blocks * 512 < 20_000  # the file has holes
    whole = np.memmap(tmp_path / "y", np.float32, "r+", 4096 * 3 + 12, (1000, 7, 5))
    _model().predict(_x(*shape[:2], 6), out=whole[500:564])
    size = (tmp_path / "y").stat().st_blocks * 512
    assert 64 * 7 * 5 * 4 <= size < 40_000  # space for the written part, not for all


def test_memory_of_maps_is_bounded(tmp_path):
    """240 MiB of inputs, 200 MiB of outputs."""
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import numpy as np
from test_iterating import _model
model, folder = _model(), {str(tmp_path)!r}
shape = (20_480, 512)
x = np.memmap(folder + "/x", np.float32, "w+", 0, (*shape, 6))
y = np.memmap(folder + "/y", np.float32, "w+", 0, (*shape, 5))
model.predict(x[:64].copy())
def now():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20
before, most = now(), 0
import threading, time
def watch():
    global most
    while True:
        most = max(most, now())
        time.sleep(0.01)
threading.Thread(target=watch, daemon=True).start()
model.predict(x, out=y)
print(max(most, now()) - before)
"""
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc")
    assert int(run(code)) < 64


def test_threads_write_to_outputs_of_their_own():
    model, x = _model(), _x(40, 7, 6)
    wanted = model.predict(x)
    outs = [np.zeros_like(wanted) for _ in range(8)]
    threads = [threading.Thread(target=model.predict, args=(x,), kwargs={"out": o}) for o in outs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(o.tobytes() == wanted.tobytes() for o in outs)
