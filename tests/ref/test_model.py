"""Tests of running a model: inputs, batches, streaming, threads, information about a run."""

from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from archives import (
    SPIKING,
    applied,
    archive,
    dense,
    digits,
    functional,
    input_layer,
    layer,
    sequential,
    tensor,
)

import kspike_ref
from kspike_ref import load_model
from kspike_ref.layers.registry import key_of
from kspike_ref.running.batches import forget

pytestmark = pytest.mark.memory


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return Dense → SpikingActivation → Lowpass → Dense."""
    return load_model(archive(tmp_path_factory.mktemp("m") / "m.keras", *digits()))


@pytest.fixture(scope="module")
def softplus(tmp_path_factory):
    """Return the same model with another activation."""
    config, weights = digits()
    config["config"]["layers"][2]["config"]["activation"] = "softplus"
    return load_model(archive(tmp_path_factory.mktemp("m") / "m.keras", config, weights))


@pytest.fixture(params=["model", "softplus"])
def either(request):
    return request.getfixturevalue(request.param)


def _x(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _by_hand(x, activation):
    """Compute the model's output in a few lines, with the public functions."""
    (kernel, bias), _, (_, tau), (last, last_bias) = digits()[1].values()
    rates = activation(x @ kernel + bias)
    spikes, _ = kspike_ref.spiking_activation(rates, dt=0.01, seed=SPIKING["seed"])
    filtered, _ = kspike_ref.lowpass(spikes, tau, dt=0.01)
    return filtered @ last + last_bias


def test_predict_is_what_the_layers_say(model, softplus):
    x = _x(5, 30, 4)
    # float32 products add in another order than NumPy's: no spike flips with these numbers
    relu = _by_hand(x, lambda r: np.maximum(r, 0))
    np.testing.assert_allclose(model.predict(x), relu, rtol=1e-5, atol=1e-4)
    soft = _by_hand(x, lambda r: np.logaddexp(r, 0))
    np.testing.assert_allclose(softplus.predict(x), soft, rtol=1e-5, atol=1e-4)


def test_predict_has_the_bits_of_the_activity(either):
    x = _x(70, 11, 4)
    np.testing.assert_array_equal(either.predict(x), either.activity(x)["last"])


@pytest.mark.parametrize("batch_size", [1, 3, 7, 1000])
def test_batches_do_not_show(either, batch_size):
    x = _x(50, 6, 4)
    np.testing.assert_array_equal(either.predict(x, batch_size=batch_size), either.predict(x))


@pytest.mark.parametrize("count", [0, 1, 2, 400])
def test_timesteps_equal_the_tiled_input(either, count):
    x = _x(count, 4)
    tiled = either.predict(np.repeat(x[:, None], 9, axis=1))
    assert tiled.shape == (count, 9, 3)
    np.testing.assert_array_equal(either.predict(x, timesteps=9), tiled)
    np.testing.assert_array_equal(either.predict(np.broadcast_to(x[:, None], (count, 9, 4))), tiled)


def test_static_work_is_done_once(softplus):
    x = _x(5, 4)
    softplus.predict(x, timesteps=10)
    assert softplus.last_run["first"].operations == 5 * 4 * 6
    assert softplus.last_run["last"].operations == 5 * 10 * 6 * 3


def test_static_work_is_done_once_with_another_activation(model):
    model.predict(_x(5, 4), timesteps=10)
    assert model.last_run["first"].operations == 5 * 4 * 6
    model.predict(_x(5, 10, 4))
    assert model.last_run["first"].operations == 5 * 10 * 4 * 6


def test_streaming_has_the_bits_of_one_run(either):
    x = _x(3, 40, 4)
    whole = either.predict(x)
    state = either.initial_state(3)
    for t in range(40):
        y, new = either.step(x[:, t], state)
        again, _ = either.step(x[:, t], state)  # the passed state has not changed
        np.testing.assert_array_equal(y, again)
        np.testing.assert_array_equal(y, whole[:, t])
        state = new


@pytest.mark.parametrize("activation", ["relu", "softplus"])
@pytest.mark.parametrize(
    "reduction",
    [
        layer("GlobalAveragePooling1D", "mean", data_format="channels_last"),
        layer("Lowpass", "last level", "kspike_tf", dt=0.01, return_sequences=False),
    ],
)
def test_streaming_what_reduces_over_time(tmp_path, activation, reduction):
    config, weights = digits()
    config["config"]["layers"][2]["config"]["activation"] = activation
    config["config"]["layers"][3] = reduction
    if reduction["class_name"].startswith("Global"):
        del weights["layers/lowpass/layer/cell"]
    model = load_model(archive(tmp_path / "m.keras", config, weights))
    x = _x(3, 20, 4)
    state = model.initial_state(3)
    for t in range(20):
        y, state = model.step(x[:, t], state)
        np.testing.assert_array_equal(y, model.predict(x[:, : t + 1]))
    assert y.shape == (3, 3)


def test_mean_over_time(tmp_path):
    config = sequential(input_layer(None, 2), layer("GlobalAveragePooling1D", "mean"), name="pool")
    model = load_model(archive(tmp_path / "m.keras", config, {}))
    x = _x(3, 7, 2)
    np.testing.assert_allclose(model.predict(x), x.mean(axis=1), rtol=1e-6)


def test_unseeded_neurons_differ_between_examples(tmp_path):
    config, weights = digits()
    config["config"]["layers"][2]["config"]["seed"] = None
    model = load_model(archive(tmp_path / "m.keras", config, weights))
    x = np.repeat(_x(1, 4, seed=5), 50, axis=0)
    first, second = model.predict(x, timesteps=20), model.predict(x, timesteps=20)
    assert len(np.unique(first[:, -1, 0])) > 10
    assert (first != second).any()


def test_activity(either):
    x = _x(5, 6, 4)
    acts = either.activity(x)
    assert list(acts) == ["input", "first", "spikes", "filter", "last"]
    np.testing.assert_array_equal(acts["last"], either.predict(x))
    assert set(np.unique(acts["spikes"] * 0.01).round(6)) <= set(range(50))
    some = either.activity(x, layers=["spikes", "first"])
    assert list(some) == ["first", "spikes"]
    np.testing.assert_array_equal(some["spikes"], acts["spikes"])
    assert list(either.activity(x, layers="first")) == ["first"]
    with pytest.raises(
        ValueError, match=r"layers must be among input, first, spi.*Received: nobody$"
    ):
        either.activity(x, layers=["nobody"])
    with pytest.raises(ValueError, match=r"Received: filtre; did you mean 'filter'\?"):
        either.activity(x, layers=["first", "filtre"])
    with pytest.raises(TypeError, match=r"layers must be names, or None for all\. Received: 5"):
        either.activity(x, layers=5)


@pytest.mark.parametrize("batch_size", [1, 4, 9])
def test_activity_in_batches(either, batch_size):
    x = _x(9, 6, 4)
    whole = either.activity(x)
    run = dict(either.last_run)
    acts = either.activity(x, batch_size=batch_size)
    assert list(acts) == list(whole)
    for name, values in whole.items():
        np.testing.assert_array_equal(acts[name], values)
    assert {name: done.events for name, done in either.last_run.items()} == {
        name: done.events for name, done in run.items()
    }
    with pytest.raises(ValueError, match=r"batch_size must be a positive integer\. Received: 0"):
        either.activity(x, batch_size=0)


def test_activity_of_one_layer_needs_memory_for_it_alone(tmp_path):
    """20,000 examples of a 4-byte layer after one of 4 kB, which would keep 80 MB."""
    weights = {
        "layers/dense": [np.ones((4, 1000), "f4"), np.zeros(1000, "f4")],
        "layers/dense_1": [np.ones((1000, 1), "f4"), np.zeros(1, "f4")],
    }
    config = sequential(input_layer(4), dense("wide", 1000), dense("narrow", 1))
    model = load_model(archive(tmp_path / "m.keras", config, weights))
    x = np.ones((20_000, 4), np.float32)
    model.activity(x[:100], layers="narrow")
    tracemalloc.start()
    try:
        model.activity(x, layers="narrow")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16e6  # blocks of 1 MB, on each of a few cores


def test_outputs_of_several_arrays_in_batches(tmp_path):
    """States beside outputs, and a layer that folds time into the batch."""
    cell = [np.ones((3, 2), "f4") / 9, np.ones((2, 2), "f4") / 9, np.ones(2, "f4")]
    inner = sequential(input_layer(2), dense("d", 3), name="inner")
    config = functional(
        [
            applied(input_layer(None, 3)),
            applied(
                layer(
                    "SimpleRNN", "rnn", units=2, return_state=True, return_sequences=True,
                    activation="tanh",
                ),
                [tensor("input")],
            ),
            applied(layer("TimeDistributed", "each", layer=inner), [tensor("rnn")]),
        ],
        [["input", 0, 0]],
        [["each", 0, 0], ["rnn", 0, 1]],
    )  # fmt: skip
    weights = {
        "layers/simple_rnn/cell": cell,
        "layers/time_distributed/layer/layers/dense": [np.ones((2, 3), "f4"), np.zeros(3, "f4")],
    }
    model = load_model(archive(tmp_path / "m.keras", config, weights))
    x = _x(7, 5, 3)
    whole, acts = model.activity(x), model.activity(x, batch_size=3)
    assert acts["each/fold"].shape == (35, 2)
    for name, values in whole.items():
        pairs = zip(values, acts[name], strict=True)
        assert all(np.array_equal(one, other) for one, other in pairs), name
    outputs = model.predict(x, batch_size=2)
    np.testing.assert_array_equal(outputs[1], whole["rnn"][1])
    np.testing.assert_array_equal(outputs[1], whole["rnn"][0][:, -1])


def test_each_call_starts_anew_where_a_layer_was_stateful(tmp_path):
    config, weights = digits()
    config["config"]["layers"][0]["config"]["batch_shape"] = [2, None, 4]
    for item in config["config"]["layers"][2:4]:
        item["config"]["stateful"] = True
    model = load_model(archive(tmp_path / "m.keras", config, weights))
    x = _x(5, 6, 4)  # any number of examples works
    np.testing.assert_array_equal(model.predict(x), model.predict(x))


@pytest.mark.parametrize("initial", ["Zeros", "Ones"])
def test_an_activation_that_was_never_run(tmp_path, initial):
    prelu = layer("PReLU", "slope", alpha_initializer={"class_name": initial})
    config = sequential(input_layer(4), dense("d", 2, prelu))
    weights = {"layers/dense": [-np.ones((4, 2), "f4"), np.zeros(2, "f4")]}
    model = load_model(archive(tmp_path / "m.keras", config, weights))
    y = model.predict(np.ones((1, 4), np.float32))
    np.testing.assert_array_equal(y, np.full((1, 2), 0.0 if initial == "Zeros" else -4.0))
    prelu["config"]["alpha_initializer"] = {"class_name": "RandomNormal"}
    archive(tmp_path / "m.keras", config, weights)
    with pytest.raises(kspike_ref.UnsupportedLayerError, match="PReLU without weights: run the"):
        load_model(tmp_path / "m.keras")


def test_an_activation_with_weights_of_a_dense_layer_in_8_bits(tmp_path):
    policy = {"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8"}, "module": "keras"}
    config = sequential(input_layer(2), dense("d", 2, layer("PReLU", "slope")))
    config["config"]["layers"][1]["config"]["dtype"] = policy
    weights = {
        "layers/dense": [np.eye(2, dtype="i1"), np.zeros(2, "f4"), np.full(2, 0.5, "f4")],
        "layers/dense/activation": [np.array([0.5, 0.25], "f4")],
    }
    model = load_model(archive(tmp_path / "m.keras", config, weights))
    y = model.predict(np.array([[1, -1], [-1, 1]], np.float32))
    np.testing.assert_allclose(y, [[2, -0.5], [-1, 2]], rtol=1e-6)


def test_a_softmax_over_nothing_is_empty(tmp_path):
    config = sequential(input_layer(None, 3), layer("Softmax", "s", axis=1))
    model = load_model(archive(tmp_path / "m.keras", config, {}))
    assert model.predict(np.ones((2, 0, 3), "f4")).shape == (2, 0, 3)


def test_masks_that_merging_layers_cannot_use(tmp_path):
    config = functional(
        [
            applied(input_layer(7, 4)),
            applied(input_layer(4, name="flat")),
            applied(layer("Masking", "masking"), [tensor("input")]),
            applied(layer("Add", "sum"), [[tensor("masking"), tensor("flat")]]),
        ],
        [["input", 0, 0], ["flat", 0, 0]],
        ["sum", 0, 0],
    )
    archive(tmp_path / "m.keras", config, {"layers/x": []})
    with pytest.raises(kspike_ref.UnsupportedLayerError, match="sum: a mask, with inputs of diff"):
        load_model(tmp_path / "m.keras")


def test_applications_have_the_numbers_that_keras_gives_them(tmp_path):
    """The second application runs first, because its input is available earlier."""
    shared = applied(layer("ReLU", "shared"), [tensor("late")], [tensor("input")])
    config = functional(
        [applied(input_layer(3)), shared, applied(dense("late", 3), [tensor("input")])],
        [["input", 0, 0]],
        [["shared", 0, 0], ["shared", 1, 0]],
    )
    weights = {"layers/dense": [-np.eye(3, dtype="f4"), np.zeros(3, "f4")]}
    model = load_model(archive(tmp_path / "m.keras", config, weights))
    x = _x(2, 3)
    acts = model.activity(x)
    assert [node.name for node in model.nodes] == ["input", "shared", "late", "shared"]
    np.testing.assert_array_equal(acts["shared"], np.maximum(-x, 0))
    np.testing.assert_array_equal(acts["shared:1"], np.maximum(x, 0))
    for one, name in zip(model.predict(x), ("shared", "shared:1"), strict=True):
        np.testing.assert_array_equal(one, acts[name])


def test_nodes_tell_how_they_are_connected(model):
    first = model.nodes[1]
    assert first.layer.class_name == "Dense"
    assert first.layer.config["units"] == 6
    assert first.layer.weights["kernel"].shape == (4, 6)
    assert first.input_shapes == ((None, None, 4),)
    assert first.output_shapes == ((None, None, 6),)
    assert first.sources == (0,)
    assert first.node_index == 0
    assert model.inputs == ("input",)
    assert model.outputs == ("last",)
    assert len(model.layers) == 5


def test_nodes_are_keys_by_identity(model):
    counts = {node: i for i, node in enumerate(model.nodes)}
    assert [counts[node] for node in model.nodes] == list(range(len(model.nodes)))


def test_events_are_counted(tmp_path):
    rng = np.random.default_rng(0)
    config = sequential(
        input_layer(None, 40),
        layer("SpikingActivation", "spikes", "kspike_tf", activation="relu", dt=0.001, seed=0),
        dense("after", 128),
        layer("SpikingActivation", "more", "kspike_tf", activation="tanh", dt=0.1, seed=0),
        dense("last", 2),
    )
    weights = {
        "layers/spiking_activation": [], "layers/spiking_activation_1": [],
        "layers/dense": [rng.normal(0, 1, (40, 128)).astype("f4"), np.zeros(128, "f4")],
        "layers/dense_1": [rng.normal(0, 1, (128, 2)).astype("f4"), np.zeros(2, "f4")],
    }  # fmt: skip
    tanh = load_model(archive(tmp_path / "m.keras", config, weights))
    config["config"]["layers"][3]["config"]["activation"] = "relu"
    relu = load_model(archive(tmp_path / "c.keras", config, weights))
    for rate in (5.0, 900.0):  # sparse: event by event; dense: all products
        x = np.full((20, 50, 40), rate, np.float32)
        for model in (tanh, relu):
            spikes = model.activity(x)["spikes"]
            events = np.count_nonzero(spikes)
            by_activity = dict(model.last_run)
            model.predict(x)
            run = model.last_run["after"]
            assert (run.events, run.synops) == (events, events * 128)
            everything = 20 * 50 * 40 * 128
            assert run.operations in (run.synops, everything)
            # a threshold may be between a block's density and that of the whole
            assert (run.operations == run.synops) == (rate == 5.0)
            assert by_activity["after"].events == events
            np.testing.assert_array_equal(model.predict(x), model.activity(x)["last"])


def test_inputs_that_do_not_fit(either):
    for x, timesteps, match in [
        (_x(2, 6, 5), None, r"shape \(batch, time, 4\) at 'input'. Received: \(2, 6, 5\)"),
        (_x(2, 4), None, r"at 'input' \(pass timesteps=N for inputs without.*Received: \(2, 4\)"),
        (_x(2, 6, 4), 3, r"\(batch, 4\) at 'input', without time, .*Received: \(2, 6, 4\)"),
        ([_x(2, 6, 4)] * 2, None, r"x must be 1 arrays \(input\). Received: 2"),
        ({"other": _x(2, 6, 4)}, None, "x must hold input. Received: other"),
    ]:
        with pytest.raises(ValueError, match=match):
            either.predict(x, timesteps=timesteps)
    with pytest.raises(TypeError, match="x must hold real numbers at 'input'"):
        either.predict(_x(2, 6, 4).astype(complex))
    for bad in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="timesteps must be a positive integer"):
            either.predict(_x(2, 4), timesteps=bad)
        with pytest.raises(ValueError, match="batch_size must be a positive integer"):
            either.predict(_x(2, 6, 4), batch_size=bad)


def test_states_that_do_not_fit(model):
    with pytest.raises(ValueError, match="state is for 3 examples, but x holds 2"):
        model.step(_x(2, 4), model.initial_state(3))


@pytest.mark.parametrize("dtype", ["f8", "f2", "u1", "i4", ">f4", "bool"])
def test_any_real_type_is_taken(either, dtype):
    x = np.abs(_x(5, 6, 4) * 3).astype(dtype)
    expected = either.predict(x.astype(np.float32))
    np.testing.assert_array_equal(either.predict(x), expected)
    np.testing.assert_array_equal(either.predict(x.tolist()), expected)


@pytest.mark.parametrize("change", [np.asfortranarray, lambda x: x[::-1][::-1], "readonly"])
def test_any_layout_is_taken(either, change):
    x = _x(5, 6, 4)
    expected = either.predict(x)
    if change == "readonly":
        x.flags.writeable = False
    else:
        x = change(x)
    before = x.copy()
    np.testing.assert_array_equal(either.predict(x), expected)
    np.testing.assert_array_equal(x, before)


def test_no_time_axis(tmp_path):
    weights = {"layers/dense": [np.ones((4, 2), "f4"), np.zeros(2, "f4")]}
    config = sequential(input_layer(4), dense("d", 2))
    model = load_model(archive(tmp_path / "m.keras", config, weights))
    np.testing.assert_allclose(model.predict(np.ones((3, 4))), np.full((3, 2), 4.0))
    with pytest.raises(ValueError, match="timesteps must be None"):
        model.predict(np.ones((3, 4)), timesteps=3)
    with pytest.raises(ValueError, match="no time axis"):
        model.initial_state(3)


def test_layers_that_mix_time_cannot_stream(tmp_path):
    config = sequential(
        input_layer(6, 2), layer("Flatten", "flat"), layer("Reshape", "back", target_shape=[6, 2]),
        layer("SpikingActivation", "spikes", "kspike_tf", **SPIKING),
    )  # fmt: skip
    model = load_model(archive(tmp_path / "m.keras", config, {}))
    assert model.predict(_x(3, 6, 2)).shape == (3, 6, 2)
    with pytest.raises(ValueError, match="no time axis"):
        model.initial_state(3)
    config["config"]["layers"][1:1] = [layer("Lowpass", "low", "kspike_tf")]
    weights = {"layers/lowpass/layer/cell": [np.zeros((1, 2), "f4"), np.ones((1, 2), "f4")]}
    model = load_model(archive(tmp_path / "m.keras", config, weights))
    with pytest.raises(ValueError, match=r"'flat' .Flatten. mixes time steps"):
        model.initial_state(3)


def test_memory_maps(either, tmp_path):
    x = _x(300, 5, 4)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    np.testing.assert_array_equal(either.predict(mapped), either.predict(x))
    np.testing.assert_array_equal(mapped, x)


def test_private_changes_to_a_memory_map_stay(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((5000, 4), np.float32))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="c")
    mapped[:] = 1
    forget(mapped, 0, 5000)
    assert (mapped == 1).all()


def test_progress(either, monkeypatch, capsys):
    x = _x(30, 5, 4)
    np.testing.assert_array_equal(either.predict(x, progress=True), either.predict(x))
    assert "30/30" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match="progress=True needs tqdm"):
        either.predict(x, progress=True)


def test_threads(either):
    x = _x(3000, 10, 4)
    expected = either.predict(x)
    either.num_threads = 1
    try:
        np.testing.assert_array_equal(either.predict(x), expected)
    finally:
        either.num_threads = None
    with pytest.raises(ValueError, match="num_threads must be a positive integer"):
        either.num_threads = 0


def test_one_thread_starts_no_other(tmp_path):
    archive(tmp_path / "m.keras", *digits())
    code = (
        "import sys, threading, numpy as np, kspike_ref\n"
        "model = kspike_ref.load_model(sys.argv[1])\n"
        "model.num_threads = 1\n"
        "model.predict(np.zeros((5000, 20, 4), np.float32))\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "m.keras"], check=True, timeout=300)


def test_calls_from_several_threads(either):
    inputs = [_x(300, 8, 4, seed=i) for i in range(6)]
    expected = [either.predict(x) for x in inputs]
    results = [None] * len(inputs)

    def work(i):
        results[i] = [either.predict(inputs[i]) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for got, wanted in zip(results, expected, strict=True):
        for one in got:
            np.testing.assert_array_equal(one, wanted)


def test_pickled(either):
    x = _x(5, 6, 4)
    copy = pickle.loads(pickle.dumps(either))
    np.testing.assert_array_equal(copy.predict(x), either.predict(x))


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_other_processes(model, method):
    x = _x(2000, 8, 4)
    expected = model.predict(x)  # starts threads before the process forks
    with multiprocessing.get_context(method).Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(model.predict, (x,)), expected)


def test_a_layer_of_ones_own(tmp_path):
    @kspike_ref.register_layer("mine>Scale")
    class Scale(kspike_ref.Layer):
        pointwise_from = 3

        def weight_shapes(self, shape):
            return {"scale": (shape[-1],)}

        def call(self, x):
            return x * self.weights["scale"]

    config = sequential(input_layer(None, 2), layer("Scale", "scale", "mine"))
    weights = {"layers/scale": [np.array([2, 3], "f4")]}
    model = load_model(archive(tmp_path / "m.keras", config, weights))
    np.testing.assert_array_equal(model.predict(np.ones((1, 2, 2))), [[[2, 3], [2, 3]]])
    y, _ = model.step(np.ones((1, 2)), model.initial_state(1))
    np.testing.assert_array_equal(y, [[2, 3]])


def test_an_argument_named_tally_of_ones_own(tmp_path):
    """A layer that counts no operations may call an argument so; a model sets it."""

    @kspike_ref.register_layer("mine>Vote")
    class Vote(kspike_ref.Layer):
        pointwise_from = 2

        def output_shape(self, shape, tally=0.0):
            return shape

        def call(self, x, tally=0.0):
            return x + tally

    entries = [
        applied(input_layer(None, 2)),
        applied(layer("Vote", "v", "mine"), [tensor("input")], tally=2.0),
        applied(layer("TimeDistributed", "t", layer=layer("Vote", "w", "mine")), [tensor("v")]),
    ]
    entries[0]["inbound_nodes"] = []
    config = functional(entries, [["input", 0, 0]], [["t", 0, 0]])
    model = load_model(archive(tmp_path / "m.keras", config, {}))
    np.testing.assert_array_equal(model.predict(np.ones((1, 3, 2))), np.full((1, 3, 2), 3))
    y, _ = model.step(np.ones((1, 2)), model.initial_state(1))
    np.testing.assert_array_equal(y, [[3, 3]])


def test_registering_what_is_no_layer():
    with pytest.raises(TypeError, match="name must be a string such as 'package>Class'"):
        kspike_ref.register_layer(3)
    with pytest.raises(TypeError, match=r"register_layer takes a subclass of kspike_ref\.Layer"):
        kspike_ref.register_layer("mine>Thing")(dict)


def test_a_strangers_class_is_not_taken_for_keras_own():
    assert key_of({"module": "builtins", "class_name": "Dense", "registered_name": "Dense"}) == (
        "custom:Dense"
    )
    assert key_of({"module": "keras.layers", "class_name": "Dense"}) == "Dense"
