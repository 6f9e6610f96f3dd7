"""Tests of initial states: for the right examples, or refused before any computation."""

import archives
import numpy as np
import pytest
from processes import run

import kspike_ref
from kspike_ref import ArchiveError

pytestmark = pytest.mark.memory

UNITS = 3
RNN = {"units": UNITS, "return_sequences": True}


def keras_cell(name):
    return {
        "module": "keras.layers", "class_name": name, "config": {"name": "c", "units": UNITS},
        "registered_name": None,
    }  # fmt: skip


def gated(gates, bias=None):
    return [
        np.full((UNITS, gates * UNITS), 0.1, "f4"), np.full((UNITS, gates * UNITS), 0.1, "f4"),
        np.zeros(bias or (gates * UNITS,), "f4"),
    ]  # fmt: skip


FILTER = [np.zeros((1, UNITS), "f4"), np.full((1, UNITS), 0.05, "f4")]

# The layer, its weights by their path in Keras' files, and the shapes of its states.
LAYERS = {
    "SpikingActivation": (
        archives.layer("SpikingActivation", "stateful", "kspike_tf", **archives.SPIKING),
        {"layers/spiking_activation": []}, [(UNITS,)],
    ),
    "Lowpass": (
        archives.layer("Lowpass", "stateful", "kspike_tf", dt=0.01),
        {"layers/lowpass/layer/cell": FILTER}, [(UNITS,)],
    ),
    "Alpha": (
        archives.layer("Alpha", "stateful", "kspike_tf", dt=0.01),
        {"layers/alpha/layer/cell": [w[0] for w in FILTER]}, [(2, UNITS)],
    ),
    "SimpleRNN": (
        archives.layer("SimpleRNN", "stateful", **RNN),
        {"layers/simple_rnn/cell": gated(1)}, [(UNITS,)],
    ),
    "GRU": (
        archives.layer("GRU", "stateful", **RNN),
        {"layers/gru/cell": gated(3, (2, 3 * UNITS))}, [(UNITS,)],
    ),
    "LSTM": (
        archives.layer("LSTM", "stateful", **RNN),
        {"layers/lstm/cell": gated(4)}, [(UNITS,), (UNITS,)],
    ),
    "RNN": (
        archives.layer(
            "RNN", "stateful", return_sequences=True,
            cell={
                "module": "keras.layers", "class_name": "StackedRNNCells", "registered_name": None,
                "config": {
                    "name": "s", "cells": [keras_cell("SimpleRNNCell"), keras_cell("LSTMCell")],
                },
            },
        ),
        {
            "layers/rnn/cell/cells/simple_rnn_cell": gated(1),
            "layers/rnn/cell/cells/lstm_cell": gated(4),
        },
        [(UNITS,)] * 3,
    ),
    "Bidirectional": (
        archives.layer("Bidirectional", "stateful", layer=archives.layer("LSTM", "inner", **RNN)),
        {
            "layers/bidirectional/forward_layer/cell": gated(4),
            "layers/bidirectional/backward_layer/cell": gated(4),
        },
        [(UNITS,)] * 4,
    ),
}  # fmt: skip

NAMES = sorted(LAYERS)


def with_states(name, path, shapes=None, **config):
    """Save a model of x and states that come from separate inputs."""
    layer, weights, own = LAYERS[name]
    layer = {**layer, "config": {**layer["config"], **config}}
    shapes = own if shapes is None else shapes
    inputs = [f"s{i}" for i in range(len(shapes))]
    items = [archives.applied(archives.input_layer(None, UNITS, name="x"), [])]
    for one, shape in zip(inputs, shapes, strict=True):
        items.append(archives.applied(archives.input_layer(*shape, name=one), []))
    for item in items:
        item["inbound_nodes"] = []
    states = [archives.tensor(one) for one in inputs]
    items.append(archives.applied(layer, [archives.tensor("x")], initial_state=states))
    config = archives.functional(items, [[one, 0, 0] for one in ["x", *inputs]], ["stateful", 0, 0])
    return archives.archive(path, config, weights)


def without_states(name, path):
    """Save the layer in a model that is not a chain, so that it streams node by node."""
    layer, weights, _ = LAYERS[name]
    squashed = archives.layer("Activation", "squashed", activation="tanh")
    config = archives.sequential(archives.input_layer(None, UNITS), squashed, layer)
    return archives.archive(path, config, {**weights, "layers/activation": []})


def x_of(rows, steps=5):
    return np.random.default_rng(rows).uniform(0, 1, (rows, steps, UNITS)).astype("f4")


# States as inputs of the model


@pytest.mark.parametrize("name", NAMES)
def test_states_of_the_same_examples(name, tmp_path):
    """Each example has the same answer as alone."""
    model = kspike_ref.load_model(with_states(name, tmp_path / "m.keras"))
    rng = np.random.default_rng(0)
    states = [rng.uniform(0, 1, (4, *shape)).astype("f4") for shape in LAYERS[name][2]]
    x = x_of(4)
    y = model.predict([x, *states])
    for row in range(4):
        own = slice(row, row + 1)
        alone = model.predict([x[own], *(state[own] for state in states)])
        np.testing.assert_array_equal(y[own], alone)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("rows", "given"), [(4, 1), (1, 4), (4000, 1), (4, 3)])
def test_states_of_other_examples_are_refused(name, rows, given, tmp_path):
    model = kspike_ref.load_model(with_states(name, tmp_path / "m.keras"))
    states = [np.ones((given, *shape), "f4") for shape in LAYERS[name][2]]
    with pytest.raises(ValueError, match=rf"\b{given}\b.*\b{rows}\b|\b{rows}\b.*\b{given}\b"):
        model.predict([x_of(rows), *states])


@pytest.mark.parametrize("name", NAMES)
def test_states_of_unknown_or_other_units_are_refused_at_load(name, tmp_path):
    own = LAYERS[name][2]
    for wrong in ([None] * len(own[0]), [UNITS + 1] * len(own[0]), [*own[0], 1], []):
        path = with_states(name, tmp_path / "m.keras", [wrong, *own[1:]])
        with pytest.raises(ArchiveError, match="needs states of"):
            kspike_ref.load_model(path)
    path = with_states(name, tmp_path / "m.keras", [*own, own[0]])  # one too many
    with pytest.raises(ArchiveError, match="needs states of"):
        kspike_ref.load_model(path)


def test_two_kinds_of_cells_take_no_states(tmp_path):
    backward = archives.layer("GRU", "other", **RNN, go_backwards=True)
    path = with_states(
        "Bidirectional", tmp_path / "m.keras", [(UNITS,)] * 3, backward_layer=backward
    )
    with pytest.raises(ArchiveError, match="cannot take states for cells of two kinds"):
        kspike_ref.load_model(path)


# States that the model computes


@pytest.mark.parametrize("name", ["SpikingActivation", "Lowpass"])
@pytest.mark.parametrize(("steps", "batch"), [(4, 1), (1, 4), (3000, 2), (2, 3000)])
def test_time_major_with_a_state_of_the_wrong_axis(name, steps, batch, tmp_path):
    """If time comes first, the maximum over the second axis has a row for each step."""
    layer, weights, _ = LAYERS[name]
    layer = {**layer, "config": {**layer["config"], "time_major": True}}
    items = [
        archives.applied(archives.input_layer(None, UNITS, name="x"), []),
        archives.applied(
            archives.layer("GlobalMaxPooling1D", "state"), [archives.tensor("x")]
        ),
        archives.applied(
            layer, [archives.tensor("x")], initial_state=[archives.tensor("state")]
        ),
    ]  # fmt: skip
    items[0]["inbound_nodes"] = []
    config = archives.functional(items, [["x", 0, 0]], ["stateful", 0, 0])
    weights = {**weights, "layers/global_max_pooling1d": []}
    path = archives.archive(tmp_path / "m.keras", config, weights)
    model = kspike_ref.load_model(path)
    x = np.ones((steps, batch, UNITS), "f4")
    some = "1 example" if steps == 1 else f"{steps} examples"
    with pytest.raises(ValueError, match=rf"state is for {some}, but x holds {batch} .*'stateful'"):
        model.predict(x)
    square = np.ones((3, 3, UNITS), "f4")
    assert model.predict(square).shape == (3, 3, UNITS)


# States of streaming


@pytest.fixture(params=["chain", *(name for name in NAMES if name != "Bidirectional")])
def streaming(request, tmp_path):
    """Return a model of each layer that streams; `Bidirectional` needs all time steps."""
    if request.param == "chain":
        return kspike_ref.load_model(
            archives.archive(tmp_path / "m.keras", *archives.digits(inputs=UNITS))
        )
    return kspike_ref.load_model(without_states(request.param, tmp_path / "m.keras"))


@pytest.mark.parametrize(("rows", "given"), [(4, 1), (1, 4), (3000, 1), (1, 0)])
def test_steps_with_states_of_other_examples(streaming, rows, given):
    some = "1 example" if given == 1 else f"{given} examples"
    with pytest.raises(ValueError, match=f"^state is for {some}, but x holds {rows}"):
        streaming.step(x_of(rows)[:, 0], streaming.initial_state(given))


def test_steps_with_the_state_of_a_step(streaming):
    x = x_of(4)
    _, state = streaming.step(x[:, 0], streaming.initial_state(4))
    streaming.step(x[:, 1], state)
    with pytest.raises(ValueError, match=r"^state is for 4 examples, but x holds 2"):
        streaming.step(x[:2, 1], state)


@pytest.mark.parametrize("state", [None, 0.0, (), [], "state", {}, {0: ()}, {1: 1}])
def test_steps_with_what_is_no_state(streaming, state):
    with pytest.raises((TypeError, ValueError), match=r"state must come from"):
        streaming.step(x_of(2)[:, 0], state)


def test_steps_with_states_of_another_form(streaming):
    state = streaming.initial_state(2)
    if isinstance(state, np.ndarray):
        wrong = [
            state[:, None],
            state.astype("f4"),
            state[:-1],
            state.tolist(),
            state.astype(object),
        ]
    else:
        (node, kept), *_ = state.items()
        changed = [
            [], [*kept, *kept, *kept], [None], [a.tolist() for a in kept],
            [a.astype(complex) for a in kept], [np.repeat(a, 2, axis=-1) for a in kept],
            [a[..., None] for a in kept], [a[0] for a in kept],
        ]  # fmt: skip
        wrong = [{**state, node: tuple(arrays)} for arrays in changed]
        wrong += [{**state, node: list(kept)}, {**state, 99: kept}]
    for other in wrong:
        with pytest.raises((TypeError, ValueError), match="state"):
            streaming.step(x_of(2)[:, 0], other)


@pytest.mark.parametrize("bad", [1.0, None, "2", True])
def test_no_number_of_examples(streaming, bad):
    for one in (bad, -1):
        with pytest.raises(ValueError, match=r"batch_size must be .* Received"):
            streaming.initial_state(one)
    state = streaming.initial_state(np.int64(2))
    streaming.step(x_of(2)[:, 0], state)


# Former crashes


def test_what_used_to_crash(tmp_path):
    """Run in separate processes, because a fault would end this one too."""
    path = with_states("Lowpass", tmp_path / "lowpass.keras")
    chain = archives.archive(tmp_path / "chain.keras", *archives.digits(inputs=UNITS))
    code = f"""
import numpy as np, kspike_ref
model = kspike_ref.load_model({str(path)!r})
try:
    model.predict([np.ones((4000, 50, 3), "f4"), np.ones((1, 3), "f4")])
except ValueError:
    print("refused")
model = kspike_ref.load_model({str(chain)!r})
try:
    model.step(np.ones((3000, 3), "f4"), model.initial_state(1))
except ValueError:
    print("refused")
"""
    assert run(code) == "refused\nrefused\n"


def test_time_major_with_more_examples_than_steps(tmp_path):
    """The first axes differ, and both are right."""
    first = kspike_ref.load_model(with_states("Lowpass", tmp_path / "a.keras"))
    other = kspike_ref.load_model(with_states("Lowpass", tmp_path / "b.keras", time_major=True))
    x, state = x_of(5, steps=2), np.random.default_rng(0).uniform(0, 1, (5, UNITS)).astype("f4")
    swapped = np.ascontiguousarray(x.swapaxes(0, 1))
    expected = first.predict([x, state])
    np.testing.assert_array_equal(other.predict([swapped, state]), expected.swapaxes(0, 1))
