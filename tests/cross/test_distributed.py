"""Tests of models on TensorFlow datasets and Dask clusters."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import kspike_ref
from kspike_ref.distributed import seeded

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")

GOLDEN = Path(__file__).parents[1] / "golden" / "models"
SPIKING = "custom:kspike_tf>SpikingActivation"
SECONDS = 120  # time limit for a cluster's answer, even on a busy machine


def load(name="spiking"):
    return kspike_ref.load_model(GOLDEN / f"{name}.keras")


@pytest.fixture(scope="module")
def model():
    return load()


def data(examples, seed=0):
    """Return inputs that make the neurons fire: no two examples have the same output."""
    return np.random.default_rng(seed).normal(scale=30, size=(examples, 7, 4)).astype(np.float32)


# --- Datasets of TensorFlow


@pytest.mark.parametrize("with_targets", [False, True])
def test_a_dataset_of_tensorflow_comes_batch_by_batch(model, with_targets):
    tf = pytest.importorskip("tensorflow")
    x = data(23)
    dataset = tf.data.Dataset.from_tensor_slices((x, np.arange(23)) if with_targets else x)
    batches = dataset.batch(5).prefetch(2)
    wanted = model.predict(x)
    for given in (batches, batches.as_numpy_iterator(), iter(batches)):
        outputs = list(model.predict(given))
        assert [len(y) for y in outputs] == [5, 5, 5, 5, 3]
        assert np.concatenate(outputs).tobytes() == wanted.tobytes()


# --- Arrays of Dask, in this process


def ends(y):
    return list(y.values()) if isinstance(y, dict) else y if isinstance(y, list) else [y]


INPUTS = {
    "spiking": data(23),
    "convolutional": np.random.default_rng(1).normal(size=(23, 6, 6, 2)).astype(np.float32),
    "recurrent": np.arange(115).reshape(23, 5) % 7,
    "masked": data(23) * (np.arange(23) % 3 > 0)[:, None, None],
}


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
@pytest.mark.parametrize("chunks", [1, 4, 23, (3, 0, 13, 7)], ids=str)
@pytest.mark.parametrize("name", INPUTS)
def test_outputs_are_lazy_and_have_the_bits_of_one_run(name, chunks, scheduler):
    model, x = load(name), INPUTS[name]
    cut = da.core.normalize_chunks((chunks,), (23,))[0]
    lazy = model.predict(da.from_array(x, chunks=(chunks, *([2] * (x.ndim - 1)))))
    for y, wanted in zip(ends(lazy), ends(model.predict(x)), strict=True):
        assert isinstance(y, da.Array)
        assert y.shape == wanted.shape
        assert y.dtype == wanted.dtype
        assert [n for n in y.chunks[0] if n] == [n for n in cut if n]
        assert y.compute(scheduler=scheduler).tobytes() == wanted.tobytes()


def test_a_part_of_the_output_takes_a_part_of_the_run(model):
    x, ran = da.from_array(data(20), chunks=(5, -1, -1)), []

    def note(block):
        ran.append(len(block))
        return block

    y = model.predict(x.map_blocks(note, meta=x._meta))
    ran.clear()
    y[6:9].compute(scheduler="synchronous")
    assert ran == [5]


def test_options_and_methods(model):
    x = data(9)
    lazy = da.from_array(x, chunks=4)
    still = model.predict(lazy[:, 0], timesteps=3, batch_size=2).compute()
    np.testing.assert_array_equal(still, model.predict(x[:, 0], timesteps=3))
    np.testing.assert_array_equal(model(lazy).compute(), model(x))
    name = model.nodes[1].name
    found = model.activity(lazy, layers=[name])
    assert set(found) == {name}
    np.testing.assert_array_equal(found[name].compute(), model.activity(x)[name])
    with pytest.raises(ValueError, match="max_bytes"):
        model.predict(lazy, max_bytes=1)
    with pytest.raises(ValueError, match="out must be None for a dask"):
        model.predict(lazy, out=still)


def test_what_does_not_fit_is_refused_before_the_run(model):
    with pytest.raises(ValueError, match="x must have the shape"):
        model.predict(da.zeros((5, 7, 3)))
    with pytest.raises(TypeError, match="real numbers"):
        model.predict(da.zeros((5, 7, 4), dtype=complex))
    unknown = da.from_array(data(5), chunks=2)[:, da.from_array(np.arange(7) > 2)]
    with pytest.raises(ValueError, match="known lengths after the batch"):
        model.predict(unknown)


def test_a_batch_of_unknown_length(model):
    x = data(9)
    kept = da.from_array(x, chunks=4)[da.from_array(np.arange(9) > 2, chunks=4)]
    np.testing.assert_array_equal(model.predict(kept).compute(), model.predict(x[3:]))


def unseeded():
    """Return a model with a spiking layer that has no seed."""
    model = load()
    for node in model.nodes:
        if node.layer.key == SPIKING:
            node.layer.cell.seed = None
            return model
    raise AssertionError("no spiking layer")


def test_layers_without_a_seed_take_one_for_the_run():
    model, x = unseeded(), data(12)
    lazy = model.predict(da.from_array(x, chunks=5))
    first = lazy.compute()
    assert lazy.compute().tobytes() == first.tobytes()
    other = model.predict(da.from_array(x, chunks=5)).compute()
    assert other.tobytes() != first.tobytes()  # another run has another seed
    one, again = (seeded(model, 3).predict(x) for _ in range(2))
    assert one.tobytes() == again.tobytes()
    for chunks in (1, 5, 12):
        own = seeded(model, 3).predict(da.from_array(x, chunks=chunks)).compute()
        assert own.tobytes() == one.tobytes()
    assert model.predict(x).tobytes() != model.predict(x).tobytes()  # the model still has no seed


def test_examples_differ(model):
    assert len({y.tobytes() for y in model.predict(data(50))}) == 50


def test_a_seed_is_shown_and_in_the_configurations():
    model = unseeded()
    (place,) = (i for i, layer in enumerate(model.layers) if layer.key == SPIKING)
    for layer in (model.layers[place], model.layers[place].cell):
        layer.config["seed"] = None
    cell = seeded(model, 3).layers[place].cell
    assert isinstance(cell.seed, int)
    assert f"seed {cell.seed}" in repr(seeded(model, 3).layers[place])
    assert seeded(model, 3).layers[place].config["seed"] == cell.config["seed"] == cell.seed
    assert "seed" not in repr(model.layers[place])


def test_layers_with_a_seed_keep_it(model):
    assert seeded(model) is model


# --- A cluster of processes


@pytest.fixture(scope="module")
def cluster():
    with contextlib.ExitStack() as stack:
        options = {"n_workers": 2, "threads_per_worker": 2, "dashboard_address": ":0"}
        own = stack.enter_context(distributed.LocalCluster(processes=True, **options))
        yield stack.enter_context(distributed.Client(own, set_as_default=False))


def test_same_bits_on_a_cluster_whatever_the_chunks(model, cluster):
    x = data(50)
    wanted = model.predict(x).tobytes()
    for chunks in (3, 17, 50):
        lazy = model.predict(da.from_array(x, chunks=chunks))
        assert cluster.compute(lazy).result(timeout=SECONDS).tobytes() == wanted


def slow(block):
    time.sleep(0.2)
    return block


def test_the_model_is_sent_to_a_worker_and_not_with_each_block(cluster, tmp_path):
    class Parcel:  # defined in a function: workers cannot import this module, so its code is sent
        def __getstate__(self):
            return {"folder": str(tmp_path)}

        def __setstate__(self, state):
            with open(f"{state['folder']}/{os.getpid()}", "ab") as file:  # noqa: PTH123
                file.write(b".")

    model, x = load(), data(60)
    model.parcel = Parcel()
    lazy = model.predict(da.from_array(x, chunks=2).map_blocks(slow, dtype=x.dtype))
    y = cluster.compute(lazy).result(timeout=SECONDS)
    assert y.tobytes() == model.predict(x).tobytes()
    workers = set(map(str, cluster.run(os.getpid).values()))
    counts = {note.name: note.stat().st_size for note in tmp_path.iterdir() if note.name in workers}
    # Each worker takes about 15 blocks. On a busy machine, Dask may move the model's own task to
    # another worker and send it again; a worker that starts slowly gets no block.
    assert counts
    assert max(counts.values()) <= 7


def test_a_killed_worker_costs_time_and_no_results(model):
    x = data(80)
    source = da.from_array(x, chunks=4).map_blocks(slow, dtype=x.dtype)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        before = client.run(os.getpid)
        running = client.compute(model.predict(source))
        time.sleep(1)  # some blocks are done, most are not
        victim = next(iter(before.values()))
        os.kill(victim, signal.SIGKILL)
        assert not running.done()
        assert running.result(timeout=SECONDS).tobytes() == model.predict(x).tobytes()
        deadline = time.monotonic() + 60
        while len(client.run(os.getpid)) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert victim not in client.run(os.getpid).values()


# --- Energy


def test_rates_in_one_pass(model, cluster):
    kspike_energy = pytest.importorskip("kspike_energy")
    x, ran = data(50), []

    def note(block):
        ran.append(len(block))
        return block

    lazy = da.from_array(x, chunks=(7, 3, 2)).rechunk((7, -1, -1))
    whole = kspike_energy.ModelEnergy(model, example_data=x)
    with dask.config.set(scheduler="synchronous"):
        found = kspike_energy.ModelEnergy(
            model, example_data=lazy.map_blocks(note, meta=lazy._meta)
        )
    assert sorted(ran) == [1, *[7] * 7]  # each block once
    with cluster.as_current():
        elsewhere = kspike_energy.ModelEnergy(model, example_data=lazy)
    for device in ("loihi", "cpu"):
        wanted = whole.total_energy(device)
        assert found.total_energy(device) == pytest.approx(wanted, rel=1e-12)
        assert elsewhere.total_energy(device) == found.total_energy(device)


def test_rates_of_blocks_that_do_not_fit(model):
    kspike_energy = pytest.importorskip("kspike_energy")
    none = da.from_array(data(5), chunks=2)[da.zeros(5, dtype=bool, chunks=2)]
    for x in (da.zeros((0, 7, 4)), da.zeros((5, 7, 3)), none):
        with pytest.raises(ValueError, match="example_data"):
            kspike_energy.ModelEnergy(model, example_data=x)


# --- The command line


def command(*arguments):
    call = [sys.executable, "-m", "kspike_ref", "run", GOLDEN / "spiking.keras", *arguments]
    return subprocess.run(
        list(map(str, call)), capture_output=True, text=True, check=False, timeout=120
    )


def test_files_on_a_cluster(model, cluster, tmp_path):
    pytest.importorskip("typer")
    x, y = tmp_path / "x.npy", tmp_path / "y.npy"
    np.save(x, data(50))
    address = cluster.scheduler.address
    done = command(x, "-o", y, "--batch-size", 7, "--scheduler", address)
    assert done.returncode == 0, done.stderr
    assert np.load(y).tobytes() == model.predict(data(50)).tobytes()


def test_threads_do_not_go_with_a_scheduler(tmp_path):
    pytest.importorskip("typer")
    np.save(tmp_path / "x.npy", data(3))
    done = command(tmp_path / "x.npy", "--scheduler", "tcp://127.0.0.1:1", "--threads", 2)
    assert done.returncode == 1
    assert "--threads cannot be used with --scheduler" in done.stderr


def test_no_scheduler(tmp_path):
    pytest.importorskip("typer")
    np.save(tmp_path / "x.npy", data(3))
    done = command(tmp_path / "x.npy", "--scheduler", "tcp://127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("kspike: tcp://127.0.0.1:1: no scheduler")


def test_energy_sends_no_weights_with_a_block(model, monkeypatch):
    energy = pytest.importorskip("kspike_energy")
    cloudpickle = pytest.importorskip("cloudpickle")
    module, sent = sys.modules["kspike_energy.measuring.measure"], []
    in_blocks = module.in_blocks

    def watched(measure, merge, *rest):
        sent.append(cloudpickle.dumps((measure, merge)))
        return in_blocks(measure, merge, *rest)

    monkeypatch.setattr(module, "in_blocks", watched)
    energy.ModelEnergy(model, example_data=da.from_array(data(6), chunks=3))
    (found,) = sent
    layers = [type(layer).__name__.encode() for layer in model.layers]
    assert not [name for name in layers if name in found]
