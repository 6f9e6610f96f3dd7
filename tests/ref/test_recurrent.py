"""Tests of recurrent layers: compiled loops against plain formulas and the step-by-step path."""

from itertools import pairwise, product
from threading import Event

import numpy as np
import pytest
from archives import applied, archive, functional, input_layer, layer, tensor

import kspike_ref
from kspike_ref import activations
from kspike_ref.kernels import activations as compiled
from kspike_ref.layers import cells

UNITS, FEATURES, STEPS = 5, 3, 11
GATES = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}
KINDS = [("SimpleRNN", {}), ("LSTM", {}), ("GRU", {}), ("GRU", {"reset_after": False})]
FUNCTIONS = ["linear", "relu", "tanh", "sigmoid", "hard_sigmoid"]
TOLERANCE = {"float32": 2e-6, "float64": 1e-14}  # a few roundings of values around 1


def weights_of(kind, options, units=UNITS, seed=0):
    """Return weights of a cell, large enough to drive the gates apart."""
    rng = np.random.default_rng(seed)
    width = GATES[kind] * units
    both = kind == "GRU" and options.get("reset_after", True)
    shapes = [(FEATURES, width), (units, width), (2, width) if both else (width,)]
    return [rng.normal(0, 0.6, shape).astype("f4") for shape in shapes]


def model(path, kind, options, masking=False, units=UNITS):
    """Save and load a model of one recurrent layer, optionally behind Masking."""
    options = {"units": units, "return_sequences": True, **options}
    layers = [applied(input_layer(None, FEATURES)), applied(layer(kind, "y", **options))]
    if masking:
        layers.insert(1, applied(layer("Masking", "masking", mask_value=9.0)))
    layers[0]["inbound_nodes"] = []
    for before, item in pairwise(layers):
        item["inbound_nodes"] = [{"args": [tensor(before["name"])], "kwargs": {}}]
    states = {"LSTM": 2}.get(kind, 1) if options.get("return_state") else 0
    outputs = [["y", 0, i] for i in range(1 + states)]
    config = functional(layers, [["input", 0, 0]], outputs)
    name = {"SimpleRNN": "simple_rnn"}.get(kind, kind.lower())
    saved = {f"layers/{name}/cell": weights_of(kind, options, units)}
    return kspike_ref.load_model(archive(path / "m.keras", config, saved))


def signal(batch=4, steps=STEPS, masked=False):
    x = np.random.default_rng(1).normal(0, 1, (batch, steps, FEATURES)).astype("f4")
    if masked:
        x[np.random.default_rng(2).random((batch, steps)) < 0.4] = 9
        x[0, :3] = x[1, -3:] = x[2] = 9  # at the start, at the end, everywhere
    return x


def by_formula(kind, options, x):
    """Compute the layer's formulas in float64."""
    w, u, b = (np.float64(values) for values in weights_of(kind, options))
    f = activations.get(options.get("activation", "tanh"))
    g = activations.get(options.get("recurrent_activation", "sigmoid"))
    h = c = np.zeros((len(x), UNITS))
    out = []
    for step in np.float64(x).swapaxes(0, 1):
        after = kind == "GRU" and options.get("reset_after", True)
        z = step @ w + (b[0] if after else b)
        if kind == "SimpleRNN":
            h = f(z + h @ u)
        elif kind == "LSTM":
            i, forget, new, o = np.split(z + h @ u, 4, axis=1)
            c = g(forget) * c + g(i) * f(new)
            h = g(o) * f(c)
        else:
            update, reset, new = np.split(z, 3, axis=1)
            inner = np.split(h @ u + (b[1] if after else 0), 3, axis=1)
            update, reset = g(update + inner[0]), g(reset + inner[1])
            product = reset * inner[2] if after else (reset * h) @ u[:, 2 * UNITS :]
            h = update * h + (1 - update) * f(new + product)
        out.append(h)
    return np.stack(out, axis=1)


@pytest.mark.parametrize("policy", ["float32", "float64"])
@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_formulas(tmp_path, kind, options, policy):
    x = signal()
    options = {**options, "dtype": policy}
    y = model(tmp_path, kind, options).predict(x)
    assert y.dtype == policy
    np.testing.assert_allclose(y, by_formula(kind, options, x), rtol=0, atol=TOLERANCE[policy])


@pytest.mark.parametrize(("gate", "function"), list(product(FUNCTIONS, FUNCTIONS)))
@pytest.mark.parametrize(("kind", "options"), KINDS[1:])
def test_activations(tmp_path, kind, options, gate, function):
    options = {**options, "recurrent_activation": gate, "activation": function}
    x = signal(steps=3)  # few steps, as states grow without bound if no function limits them
    expected = by_formula(kind, options, x)
    y = model(tmp_path, kind, options).predict(x)
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("function", ["elu", "softsign", "hard_tanh"])
@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_activations_without_a_compiled_loop(tmp_path, kind, options, function):
    options = {**options, "activation": function}
    x = signal()
    y = model(tmp_path, kind, options).predict(x)
    np.testing.assert_allclose(y, by_formula(kind, options, x), rtol=0, atol=2e-6)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "more",
    [{}, {"go_backwards": True}, {"zero_output_for_mask": True}, {"return_sequences": False},
     {"use_bias": False}],
    ids=lambda more: "".join(more) or "plain",
)  # fmt: skip
@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_like_step_by_step(tmp_path, monkeypatch, kind, options, more, masked):
    """Compares one loop for all steps with the path for activations that have no loop."""
    if "use_bias" in more:
        monkeypatch.setattr(f"{__name__}.weights_of", _without_bias(weights_of))
    loaded = model(tmp_path, kind, {**options, **more, "return_state": True}, masked)
    x = signal(masked=masked)
    fast = loaded.predict(x)
    done = loaded.last_run
    monkeypatch.setattr(cells, "COMPILED", {})
    slow = loaded.predict(x)
    assert len(fast) == len(slow) == (3 if kind == "LSTM" else 2)
    for one, other in zip(fast, slow, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-6)
    assert done == loaded.last_run  # the same number of operations


def _without_bias(function):
    return lambda *args, **options: function(*args, **options)[:2]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("more", [{}, {"return_sequences": False}, {"zero_output_for_mask": True}],
                         ids=lambda more: "".join(more) or "plain")  # fmt: skip
@pytest.mark.parametrize(("kind", "options"), KINDS)
@pytest.mark.parametrize("units", [5, 40])  # 40: whole SIMD vectors and a remainder
def test_bits_depend_on_neither_batch_nor_chunks(tmp_path, kind, options, more, masked, units):
    loaded = model(tmp_path, kind, {**options, **more}, masked, units)
    x = signal(9, masked=masked)
    expected = loaded.predict(x)
    for size in (1, 2, 5):
        np.testing.assert_array_equal(loaded.predict(x, batch_size=size), expected)
    state, steps = loaded.initial_state(len(x)), []
    for t in range(STEPS):
        y, state = loaded.step(x[:, t], state)
        steps.append(y)
    made = steps[-1] if "return_sequences" in more else np.stack(steps, axis=1)
    np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize(("kind", "options"), KINDS)
@pytest.mark.parametrize("piece", [1, 300, 10**9])
def test_bits_do_not_depend_on_the_pieces_of_an_interruptible_run(
    tmp_path, monkeypatch, kind, options, piece
):
    loaded = model(tmp_path, kind, options)
    x = signal(3)
    expected = loaded.predict(x)
    monkeypatch.setattr(cells, "PIECE", piece)
    monkeypatch.setattr(cells.interrupt, "current", _never)
    np.testing.assert_array_equal(loaded.predict(x), expected)


def _never():
    """Return an event that is never set, as in a call that waits for Ctrl-C."""
    return Event()


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_states_that_are_given_are_not_changed(tmp_path, kind, options):
    loaded = model(tmp_path, kind, options)
    x = signal()
    _, state = loaded.step(x[:, 0], loaded.initial_state(4))
    first, after = loaded.step(x[:, 1], state)
    kept = first.copy()
    second, _ = loaded.step(x[:, 1], state)
    loaded.step(x[:, 2], after)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, kept)


# The compiled activations


CODES = {
    compiled.LINEAR: activations.linear,
    compiled.RELU: activations.relu,
    compiled.TANH: activations.tanh,
    compiled.SIGMOID: activations.sigmoid,
    compiled.HARD_SIGMOID: activations.hard_sigmoid,
    compiled.HARD_SIGMOID_OF_KERAS_2: lambda x: np.clip(x * 0.2 + 0.5, 0, 1),
}


def test_every_code_is_tried():
    assert sorted(CODES) == list(range(compiled.COUNT))
    assert sorted(cells.COMPILED.values()) == sorted(CODES)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("code", CODES)
def test_compiled_activations(code, dtype):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, scale, 1000) for scale in (1e-9, 1e-3, 0.1, 1, 5, 30)])
    x = x.astype(dtype)
    y = x.copy()
    compiled.activate(y, code)
    expected = CODES[code](x.astype(np.longdouble)) if code < 2 else CODES[code](x.astype("f8"))
    # Rounding of the exponential, of a sum and of a quotient; near 0, hard_sigmoid cancels.
    eps, tiny = np.finfo(dtype).eps, 2 * np.finfo(dtype).tiny
    hard = code in (compiled.HARD_SIGMOID, compiled.HARD_SIGMOID_OF_KERAS_2)
    np.testing.assert_allclose(y, expected, rtol=0 if hard else 4 * eps, atol=eps if hard else tiny)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("code", CODES)
def test_compiled_activations_of_extremes(code, dtype):
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, -1e30, 100, -100], dtype)
    y = x.copy()
    compiled.activate(y, code)
    with np.errstate(over="ignore"):
        expected = CODES[code](x)
    # Results below the smallest normal number may be rounded to it.
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=2e-38)
    assert np.signbit(y[4]) == np.signbit(expected[4]) or code == compiled.RELU


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("code", CODES)
def test_bits_of_compiled_activations_do_not_depend_on_the_place(code, dtype):
    """Whole vectors and the remainder of an array use the same instructions."""
    x = np.random.default_rng(0).normal(0, 3, 200).astype(dtype)
    expected = x.copy()
    compiled.activate(expected, code)
    for first in range(0, 70, 3):
        for size in (1, 7, 16, 33, 100):
            part = x[first : first + size].copy()
            compiled.activate(part, code)
            np.testing.assert_array_equal(part, expected[first : first + size])


@pytest.mark.parametrize("number", [np.float32, np.float64])
def test_parts_of_the_exponential(number):
    """The same in Python as in compiled loops: eˣ = 2ⁿ·(1 + q)."""
    for x in np.linspace(-80, 80, 101):
        q, power = compiled.expm1_parts(number(x))
        assert type(q) is type(power) is number
        assert np.frexp(power)[0] == 0.5
        expected, eps = np.exp(number(x)), np.finfo(number).eps
        np.testing.assert_allclose(power * (1 + q), expected, rtol=4 * eps)
