"""Tests of a run's cost: estimates against runs, limits, and Ctrl-C in long runs."""

from __future__ import annotations

import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from archives import (
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
from unsaved import unsaved

from kspike_ref import load_model
from kspike_ref.layers import window
from kspike_ref.running import interrupt
from kspike_ref.running import threads as _threads
from kspike_ref.running.cost import shapes_of
from kspike_ref.running.graph import Ref


def _conv(name, filters, **options):
    config = {"kernel_size": [3, 3], "strides": [1, 1], "padding": "same", **options}
    return layer("Conv2D", name, filters=filters, activation="relu", **config)


def _spikes(activation="relu"):
    return layer("SpikingActivation", "spikes", "kspike_tf", activation=activation, dt=0.01, seed=0)


def _up(name, size):
    return layer("UpSampling1D", name, size=size)


UP = sequential(input_layer(4, 1), *(_up(f"up{i}", 100) for i in range(2)))
MODELS = {
    "chain": (
        sequential(input_layer(None, 64), dense("a", 200), _spikes(), dense("b", 9)),
        (500, 40, 64),
    ),
    "softplus": (
        sequential(input_layer(None, 64), dense("a", 200), _spikes("softplus")),
        (99, 40, 64),
    ),
    "conv": (
        sequential(
            input_layer(32, 32, 3), _conv("a", 16), _conv("b", 16), layer("Flatten", "flat"),
            dense("c", 10, "gelu"),
        ),
        (60, 32, 32, 3),
    ),
    "pooling": (
        sequential(
            input_layer(64, 64, 8),
            layer("AveragePooling2D", "pool", pool_size=[2, 2], strides=[2, 2], padding="valid"),
            layer("LayerNormalization", "norm", axis=-1),
        ),
        (40, 64, 64, 8),
    ),
    "transpose": (
        sequential(
            input_layer(32, 32, 8),
            layer(
                "Conv2DTranspose", "up", filters=8, kernel_size=[3, 3], strides=[2, 2],
                padding="same",
            ),
        ),
        (9, 32, 32, 8),
    ),
    "lstm": (sequential(input_layer(None, 8), layer("LSTM", "l", units=64)), (200, 50, 8)),
    "bidirectional": (
        sequential(
            input_layer(None, 8),
            layer(
                "Bidirectional", "b", merge_mode="concat",
                layer=layer("GRU", "g", units=32, return_sequences=True),
            ),
        ),
        (200, 50, 8),
    ),
    "up": (UP, (30, 4, 1)),
    "each": (
        sequential(
            input_layer(None, 32, 32, 3),
            layer("TimeDistributed", "each", layer=_conv("a", 8)),
            layer("TimeDistributed", "flat", layer=layer("Flatten", "f")),
            dense("c", 10, "tanh"),
        ),
        (3, 20, 32, 32, 3),
    ),
    "words": (
        sequential(
            layer("InputLayer", "input", batch_shape=[None, None], dtype="int32"),
            layer("Embedding", "words", input_dim=9, output_dim=32, mask_zero=True),
            layer("LSTM", "l", units=32, return_sequences=True),
            layer("GlobalAveragePooling1D", "mean"),
        ),
        (300, 40),
    ),
    "a model at each step": (
        sequential(
            input_layer(None, 16, 16, 3),
            layer(
                "TimeDistributed", "each",
                layer=sequential(
                    input_layer(16, 16, 3), _conv("a", 8), layer("Flatten", "flat"), name="inner"
                ),
            ),
            layer("Lowpass", "low", "kspike_tf"),
        ),
        (9, 20, 16, 16, 3),
    ),
    "time first": (
        sequential(
            input_layer(None, 64),
            layer("SpikingActivation", "s", "kspike_tf", dt=0.1, time_major=True, activation="elu"),
            dense("d", 32, "selu"),
        ),
        (30, 200, 64),
    ),
    "normalised": (
        sequential(
            input_layer(40, 64), layer("BatchNormalization", "b", axis=-1),
            layer("GroupNormalization", "g", groups=8, axis=-1),
            layer("UnitNormalization", "u", axis=-1), layer("Permute", "p", dims=[2, 1]),
            layer("Conv1D", "c", filters=8, kernel_size=[3], padding="causal", activation="silu"),
        ),
        (300, 40, 64),
    ),
    "attention": (
        functional(
            [
                applied(input_layer(None, 16)),
                applied(
                    layer(
                        "MultiHeadAttention", "heads", num_heads=4, key_dim=8, value_dim=8,
                        use_bias=True, dropout=0.0,
                    ),
                    [tensor("input"), tensor("input")],
                ),
                applied(layer("Attention", "plain", use_scale=False), [[tensor("heads")] * 2]),
                applied(
                    layer("AdditiveAttention", "sum", use_scale=False),
                    [[tensor("plain"), tensor("input")]],
                ),
            ],
            ["input", 0, 0],
            ["sum", 0, 0],
        ),
        (20, 100, 16),
    ),
    "convolution over time": (
        sequential(
            input_layer(5, 16, 16, 2),
            layer(
                "ConvLSTM2D", "c", filters=8, kernel_size=[3, 3], strides=[1, 1], padding="same",
            ),
        ),
        (30, 5, 16, 16, 2),
    ),
    "hot": (
        sequential(
            input_layer(3000),
            layer("CategoryEncoding", "c", num_tokens=1000, output_mode="count"),
            layer("Discretization", "d", bin_boundaries=[*range(500)], output_mode="multi_hot"),
        ),
        (50, 3000),
    ),
    "looked up": (
        sequential(input_layer(9000), layer("IntegerLookup", "l", vocabulary=[*range(1, 9)])),
        (50, 9000),
    ),
    "stretched": (
        sequential(input_layer(900, 1, 3), layer("Resizing", "r", height=1, width=900)),
        (2, 900, 1, 3),
    ),
    "filled up": (
        sequential(
            input_layer(2, 90, 3),
            layer("Resizing", "r", height=100, width=4, pad_to_aspect_ratio=True),
        ),
        (5, 2, 90, 3),
    ),
    "antialiased": (
        sequential(
            input_layer(20_000, 1, 1),
            layer("Resizing", "r", height=9000, width=1, antialias=True, interpolation="lanczos5"),
        ),
        (1, 20_000, 1, 1),
    ),
    "bytes": (
        sequential(
            layer("InputLayer", "input", batch_shape=[None, 20, 20, 3], dtype="uint8"),
            layer("Resizing", "r", height=300, width=300),
        ),
        (6, 20, 20, 3),
    ),
    "separable": (
        sequential(
            input_layer(40, 40, 3),
            layer(
                "SeparableConv2D", "s", filters=1, kernel_size=[3, 3], strides=[1, 1],
                padding="same", depth_multiplier=32,
            ),
        ),
        (8, 40, 40, 3),
    ),
    "equation": (
        functional(
            [
                applied(input_layer(300, 3)),
                applied(
                    {
                        **layer("Einsum", "e", subscripts="bik,bjk,bik,bjk->b"),
                        "module": "keras.src.ops.numpy",
                    },
                    [tensor("input")] * 4,
                ),
            ],
            ["input", 0, 0],
            ["e", 0, 0],
        ),
        (8, 300, 3),
    ),
    "activations": (
        sequential(
            input_layer(1000), layer("Activation", "a", activation="gelu"),
            layer("Softmax", "b"), layer("Activation", "c", activation="mish"),
        ),
        (1000, 1000),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("threads", [1, 2])
def test_memory_stays_below_the_bound(name, threads):
    """The bound is also useful: at most ten times the peak."""
    config, shape = MODELS[name]
    x = np.ones(shape, np.float32)
    unsaved(config).predict(x)
    for batch_size in (None, 7, shape[0]):
        model = unsaved(config)  # has no buffers from an earlier run
        model.num_threads = threads
        tracemalloc.start()
        try:
            model.predict(x, batch_size=batch_size)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        bound = model.cost(shape, batch_size=batch_size).bytes
        assert peak <= bound, batch_size
        assert bound <= 10 * peak + (2 << 20), batch_size


@pytest.mark.parametrize("name", MODELS)
def test_memory_of_all_layers_stays_below_the_bound(name):
    config, shape = MODELS[name]
    model = unsaved(config)
    x = np.ones(shape, np.float32)
    keep = tuple(range(len(model.nodes)))
    tracemalloc.start()
    try:
        model.activity(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    bound = model._engine.budget.cost(
        (shape,), shape[0], None, model._engine.num_threads(), keep
    ).bytes
    assert peak <= bound <= 10 * peak + (2 << 20)


def test_operations_are_those_that_run():
    """Products are counted exactly; each element costs one more operation."""
    for name in ("conv", "each", "softplus"):
        config, shape = MODELS[name]
        model = unsaved(config)
        model.predict(np.ones(shape, np.float32))
        done = sum(run.operations for run in model.last_run.values())
        told = model.cost(shape).operations
        assert done <= told <= 1.5 * done + 1e7, name
    assert model.cost((1, 10, 64)).operations * 50 == model.cost((50, 10, 64)).operations


def test_what_is_never_run():
    """A file of 1 kB that describes terabytes, and one that describes hours of work."""
    model = unsaved(sequential(input_layer(1, 1), *(_up(f"up{i}", 40000) for i in range(2))))
    assert model.cost((1, 1, 1)).bytes > 4 * 40000**2
    assert "GB at the peak" in str(model.cost((1, 1, 1)))
    with pytest.raises(ValueError, match=r"may need [\d,]+ bytes\. .*max_bytes=10,000,000,000"):
        model.predict(np.ones((1, 1, 1)), max_bytes=10**10)
    pool = layer("MaxPooling2D", "pool", pool_size=[256, 256], strides=[1, 1], padding="same")
    up = layer("UpSampling2D", "up", size=[1000, 1000])
    model = unsaved(sequential(input_layer(1, 1, 1), up, pool))
    assert model.cost((1, 1, 1, 1)).operations > 256**2 * 1000**2
    with pytest.raises(ValueError, match=r"may need [\d,]+ operations\. .*max_operations=1,000,"):
        model.predict(np.ones((1, 1, 1, 1)), max_operations=1_000_000)


def test_shapes_that_do_not_fit():
    model = unsaved(MODELS["chain"][0])
    for shape, match in [
        ((3, 64), r"shape \(batch, time, 64\).*Received: \(3, 64\)"),
        ((3, None, 64), r"x must be|shape must"),
        ([(3, 4, 64)] * 2, r"shape must be 1 shapes \(input\)"),
        ({"other": (3, 4, 64)}, "x must hold input"),
        (3, "shape must hold lengths"),
    ]:
        with pytest.raises(ValueError, match=match):
            model.cost(shape)
    wanted = model.cost((3, 4, 64))
    assert model.cost([(3, 4, 64)]) == model.cost({"input": (3, 4, 64)}) == wanted
    assert repr(wanted).startswith("Cost(operations=")


@pytest.mark.parametrize("name", ["chain", "conv"])
def test_limits(name, tmp_path):
    config, shape = MODELS[name]
    model = unsaved(config)
    cost = model.cost(shape)
    x = np.ones(shape, np.float32)
    model.predict(x, max_bytes=cost.bytes, max_operations=cost.operations)
    with pytest.raises(ValueError, match=r"may need [\d,]+ bytes\. Received: max_bytes="):
        model.predict(x, max_bytes=cost.bytes - 1)
    with pytest.raises(ValueError, match=r"Received: max_operations="):
        model.predict(x, max_operations=cost.operations - 1)
    few = unsaved(config, max_operations=cost.operations - 1)
    with pytest.raises(ValueError, match=r"Received: max_operations="):
        few.predict(x)
    few.predict(x[:1])
    with pytest.raises(ValueError, match=r"Received: max_bytes="):
        unsaved(config, max_bytes=10).activity(x)
    for bad in (0, -1, "1e9", True, float("nan")):
        with pytest.raises(ValueError, match="max_bytes must be a positive number"):
            model.predict(x, max_bytes=bad)


def test_limits_of_a_loaded_model(tmp_path):
    path = archive(tmp_path / "m.keras", *digits())
    model = load_model(path, max_operations=100)
    with pytest.raises(ValueError, match=r"max_operations=100;"):
        model.predict(np.ones((1, 9, 4), np.float32))
    with pytest.raises(ValueError, match=r"max_operations=10;"):
        load_model(path, max_operations=10).step(np.ones((1, 4), np.float32), None)
    roomy = load_model(path, max_bytes=1e9, max_operations=1e6)
    y, _ = roomy.step(np.ones((1, 4), np.float32), roomy.initial_state(1))
    np.testing.assert_array_equal(y, roomy.predict(np.ones((1, 1, 4)))[:, 0])
    with pytest.raises(ValueError, match="max_operations must be a positive number or None"):
        load_model(path, max_operations=-1)


@pytest.mark.parametrize(
    "item",
    [
        layer("MaxPooling2D", "p", pool_size=[3, 2], strides=[2, 1], padding="same"),
        layer("AveragePooling2D", "p", pool_size=[3, 2], strides=[1, 2], padding="valid"),
        layer("Conv2D", "c", filters=3, kernel_size=[3, 2], strides=[2, 1], padding="same"),
        layer("Conv2D", "c", filters=4, kernel_size=[3, 2], dilation_rate=[2, 1], groups=2),
        layer("DepthwiseConv2D", "d", kernel_size=[2, 3], strides=[1, 1], padding="same"),
        layer("SeparableConv2D", "s", filters=3, kernel_size=[3, 3], strides=[1, 1]),
    ],
    ids=lambda item: item["class_name"],
)  # fmt: skip
def test_pieces_have_the_bits_of_the_whole(item, monkeypatch):
    model = unsaved(sequential(input_layer(9, 8, 2), item))
    x = np.random.default_rng(0).normal(size=(3, 9, 8, 2)).astype(np.float32)
    whole = model.predict(x)
    monkeypatch.setattr(window, "_PIECE", 40)
    for piece in (40, 300):
        monkeypatch.setattr(window, "_PIECE", piece)
        cut = interrupt.interruptible(lambda: model.predict(x))
        np.testing.assert_array_equal(cut, whole)


FILTERS = 300


LONG = {
    # 40 s in one kernel, for one number
    "pooling": sequential(
        input_layer(1, 1, 1),
        layer("UpSampling2D", "up", size=[800, 800]),
        layer("MaxPooling2D", "pool", pool_size=[256, 256], strides=[1, 1], padding="same"),
    ),
    "one kernel": sequential(
        input_layer(1, 1, 1),
        layer("UpSampling2D", "up", size=[1, 30000]),
        layer("AveragePooling2D", "pool", pool_size=[1, 60000], strides=[1, 1], padding="same"),
        layer("UpSampling2D", "more", size=[3, 1]),
        layer("MaxPooling2D", "last", pool_size=[1, 60000], strides=[1, 1], padding="same"),
    ),
    # one compiled loop over a billion filter steps
    "chain": sequential(
        input_layer(None, 1),
        *(layer("Alpha", f"filter{i}", "kspike_tf", dt=0.001) for i in range(FILTERS)),
        layer("GlobalAveragePooling1D", "mean"),
    ),
    # a compiled loop over time, one short product after another
    "recurrent": sequential(input_layer(None, 1), layer("SimpleRNN", "rnn", units=64)),
}
SHAPES = {"chain": (1, 2_000_000, 1), "recurrent": (1, 3_000_000, 1)}


@pytest.mark.parametrize("kind", LONG)
def test_control_c_in_a_long_run(kind, tmp_path):
    """Ctrl-C is noticed while a compiled loop runs; the model still works afterwards."""
    cell = [np.zeros(1, "f4"), np.ones(1, "f4")]
    names = ["alpha", *(f"alpha_{i}" for i in range(1, FILTERS))]
    weights = {f"layers/{name}/layer/cell": cell for name in names} if kind == "chain" else {}
    if kind == "recurrent":
        weights = {"layers/simple_rnn/cell": [np.ones((n, 64), "f4") / 99 for n in (1, 64)]}
        weights["layers/simple_rnn/cell"].append(np.zeros(64, "f4"))
    weights = weights or {"layers/x": []}
    archive(tmp_path / "m.keras", LONG[kind], weights)
    code = """if True:
        import os, signal, sys, threading, time
        import numpy as np, kspike_ref
        path, shape = sys.argv[1], eval(sys.argv[2])
        model = kspike_ref.load_model(path)
        small = np.ones([1, 1, *shape[2:]], np.float32)
        x = np.broadcast_to(small, shape)
        sent = []
        def send():
            time.sleep(1.0)
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=send, daemon=True).start()
        try:
            model.predict(x.copy())
        except KeyboardInterrupt:
            seconds = time.perf_counter() - sent[0]
            assert seconds < 5, seconds
        else:
            raise SystemExit("the run was too short, or nothing was seen")
        if shape[1] > 1:
            model.predict(small)
        for _ in range(600):  # pieces of work end soon
            if not any(t.name == "kspike_ref run" for t in threading.enumerate()):
                break
            time.sleep(0.1)
        else:
            raise SystemExit("a thread is left")
    """
    shape = SHAPES.get(kind, (1, 1, 1, 1))
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.keras"), repr(shape)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_a_thread_that_is_stopped_ends_between_two_pieces():
    begun, stop = [], threading.Event()

    def work(i):
        begun.append(i)
        stop.set()

    token = interrupt._stop.set(stop)
    try:
        with pytest.raises(interrupt.Stopped):
            _threads.share(work, range(100), 1)
    finally:
        interrupt._stop.reset(token)
    assert begun == [0]


def test_where_no_thread_can_be_started(monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert interrupt.interruptible(threading.get_ident) == threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        interrupt.interruptible(lambda: 1 / 0)


def test_a_run_of_its_own_thread_gives_results_and_errors():
    for result in (None, 3, [1]):
        assert interrupt.interruptible(lambda result=result: result) is result
    assert interrupt.interruptible(threading.get_ident) != threading.get_ident()
    with _threads.limit_threads(1):
        assert interrupt.interruptible(_threads.num_threads) == 1
    with pytest.raises(ZeroDivisionError):
        interrupt.interruptible(lambda: 1 / 0)


def test_shapes_are_those_of_a_run():
    """Checks every tensor: time-major batches, states beside outputs, folded time."""
    rnn = layer("LSTM", "rnn", units=2, return_sequences=True, return_state=True)
    inner = sequential(input_layer(2), dense("d", 3), name="inner")
    config = functional(
        [
            applied(input_layer(None, 3)),
            applied(rnn, [tensor("input")]),
            applied(layer("TimeDistributed", "each", layer=inner), [tensor("rnn")]),
            applied(layer("RepeatVector", "repeat", n=4), [tensor("rnn", 0, 1)]),
            applied(layer("Concatenate", "joined", axis=1), [[tensor("rnn"), tensor("repeat")]]),
        ],
        [["input", 0, 0]],
        [["each", 0, 0], ["joined", 0, 0], ["rnn", 0, 2]],
    )
    models = [*MODELS.values(), (config, (3, 5, 3))]
    for config, shape in models:
        model = unsaved(config)
        shape = (min(3, shape[0]), *shape[1:])
        shapes = shapes_of(model._graph, [shape])
        acts = list(model.activity(np.ones(shape, np.float32)).values())
        for i, made in enumerate(acts):
            for k, y in enumerate(made if isinstance(made, list) else [made]):
                assert shapes[Ref(i, k)] == y.shape, model.nodes[i].name


def test_a_step_costs_a_step():
    """Also if the model fixes the number of time steps and reshapes by that number."""
    config = sequential(
        input_layer(10, 2, 3),
        layer("Reshape", "row", target_shape=[10, 6]),
        layer("Lowpass", "low", "kspike_tf", dt=0.1),
        dense("d", 4),
    )
    x = np.ones((2, 10, 2, 3), np.float32)
    whole = unsaved(config)
    few = unsaved(config, max_operations=whole.cost(x.shape).operations // 9)
    with pytest.raises(ValueError, match="max_operations"):
        few.predict(x)
    state = few.initial_state(2)
    for t in range(10):
        y, state = few.step(x[:, t], state)
    np.testing.assert_array_equal(y, whole.predict(x)[:, -1])
    with pytest.raises(ValueError, match="max_operations=9;"):
        unsaved(config, max_operations=9).step(x[:, 0], few.initial_state(2))


def test_a_cost_that_no_float_holds_is_printed():
    model = unsaved(sequential(input_layer(None, 5), dense("d", 2)))
    assert "operations" in repr(model.cost((10**300, 10**300, 5)))
