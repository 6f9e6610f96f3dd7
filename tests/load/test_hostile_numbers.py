"""Tests of hostile numbers: documented results, limited to the affected units, or clear errors.

The everyday run takes a few hundred cases; `hatch run test-slow tests/load` takes 15,000.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from archives import applied, dense, functional, input_layer, layer, sequential, tensor
from hostile import FINITE, REFUSED, VALUES, arrays, run, same
from hypothesis import assume
from hypothesis import strategies as st
from unsaved import unsaved

import kspike_ref

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy warns of NaN and inf

CASES = [
    pytest.param(40, id="everyday"),
    pytest.param(600, id="all", marks=pytest.mark.slow),
]
every = pytest.mark.parametrize("cases", CASES)

FUNCTIONS = {
    "spiking_activation": lambda x: kspike_ref.spiking_activation(x, seed=1),
    "lowpass": lambda x: kspike_ref.lowpass(x, 0.02),
    "alpha": lambda x: kspike_ref.alpha(x, 0.02),
}


def conv(name, **config):
    return layer("Conv1D", name, filters=3, kernel_size=[2], padding="causal", **config)


MODELS = {
    "dense": [dense("a", 5, "relu"), dense("b", 3, "softmax")],
    "spiking": [
        dense("a", 5),
        layer("SpikingActivation", "b", "kspike_tf", activation="relu", seed=1),
        layer("Lowpass", "c", "kspike_tf"),
        layer("Alpha", "d", "kspike_tf"),
        dense("e", 3),
    ],
    "convolution": [conv("a"), layer("GlobalMaxPooling1D", "b")],
    "recurrent": [layer("LSTM", "a", units=3), layer("RepeatVector", "b", n=2)],
    "gated": [layer("GRU", "a", units=3, reset_after=True, return_sequences=True)],
    "normalised": [layer("LayerNormalization", "a", axis=[-1]), layer("Softmax", "b")],
}


@pytest.fixture(params=MODELS, scope="module")
def model(request):
    return unsaved(sequential(input_layer(None, 4), *MODELS[request.param]))


def outcome(function, x):
    """Return the result of a function, or its TypeError or ValueError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            return function(x)
        except (TypeError, ValueError) as error:
            return error


def check_form(function, given):
    """Compare an argument with an ordinary array of the same numbers."""
    before = given.base.tobytes()
    made, wanted = outcome(function, given.passed), outcome(function, given.plain)
    assert given.base.tobytes() == before, given.label
    if isinstance(wanted, Exception):
        assert isinstance(made, type(wanted)), (given.label, made, wanted)
        return
    assert not isinstance(made, Exception), (given.label, made)
    listed = [made, wanted] if isinstance(made, tuple) else [[made], [wanted]]
    if isinstance(given.passed, list):  # Python's numbers have no NumPy type
        return
    for one, other in zip(*listed, strict=True):
        assert same(one, other), given.label


@every
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_take_any_form(name, cases):
    run(
        lambda given: check_form(FUNCTIONS[name], given),
        cases,
        given=arrays((None, None, None)),
    )


@every
def test_models_take_any_form(model, cases):
    run(lambda given: check_form(model.predict, given), cases, given=arrays((None, None, 4)))


@every
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_refuse_what_is_no_real_number(name, cases):
    def check(given):
        assume(not isinstance(given.passed, list))  # such lists hold Python numbers
        with pytest.raises((TypeError, ValueError)):
            FUNCTIONS[name](given.passed)

    run(check, cases // 4, given=arrays((2, 3, 2), REFUSED, FINITE))


@every
def test_models_refuse_what_is_no_real_number(model, cases):
    def check(given):
        assume(not isinstance(given.passed, list))  # such lists hold Python numbers
        with pytest.raises((TypeError, ValueError)):
            model.predict(given.passed)

    run(check, cases // 4, given=arrays((2, 3, 4), REFUSED, FINITE))


@every
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_keep_a_bad_number_in_its_unit(name, cases):
    """Units without bad numbers have the same bits as if all units were well-behaved."""

    def check(given):
        x = given.plain
        bad = ~np.isfinite(x).all(axis=1, keepdims=True)
        well = np.where(bad, x.dtype.type(1), x)
        made, wanted = outcome(FUNCTIONS[name], x), outcome(FUNCTIONS[name], well)
        assert not isinstance(made, Exception), made
        kept = ~np.broadcast_to(bad, x.shape)
        assert same(made[0][kept], wanted[0][kept]), given.label

    run(check, cases, given=arrays((None, None, None), ["f2", "f4", "f8"]))


@every
def test_models_keep_a_bad_number_in_its_example(model, cases):
    def check(given, row):
        x = given.plain
        others = [i for i in range(len(x)) if i != row]
        well = x.copy()
        well[row] = 1
        with np.errstate(all="ignore"):
            made, wanted = outcome(model.predict, x), outcome(model.predict, well)
        assert not isinstance(made, Exception), made
        assert same(made[others], wanted[others]), given.label
        assert same(model.predict(x[row : row + 1]), made[row : row + 1])  # the same bits alone

    run(
        check,
        cases,
        given=arrays((4, None, 4), ["f4", "f8"], smallest=1),
        row=st.integers(0, 3),
    )


@every
def test_steps_take_what_runs_take(model, cases):
    """A model that streams has the same bits step by step, whatever the numbers are."""
    try:
        model.initial_state(1)
    except ValueError:
        pytest.skip("the model does not stream")

    def check(given):
        x, state, made = given.plain, model.initial_state(len(given.plain)), []
        for t in range(x.shape[1]):
            y, state = model.step(x[:, t], state)
            made.append(y)
        whole = model.predict(x)
        if made and made[0].ndim < whole.ndim:
            assert same(np.stack(made, axis=1), whole), given.label

    run(check, cases, given=arrays((2, None, 4), ["f4"], smallest=1))


@every
def test_two_inputs_of_different_forms(cases):
    model = unsaved(
        functional(
            [
                applied(input_layer(4, name="a")),
                applied(input_layer(4, name="b")),
                applied(layer("Add", "sum"), [[tensor("a"), tensor("b")]]),
            ],
            [["a", 0, 0], ["b", 0, 0]],
            ["sum", 0, 0],
        )
    )

    def check(a, b):
        made = outcome(model.predict, [a.passed, b.passed])
        wanted = outcome(model.predict, [a.plain, b.plain])
        assert isinstance(made, Exception) == isinstance(wanted, Exception), (a.label, b.label)
        assert isinstance(made, Exception) or same(made, wanted), (a.label, b.label)

    run(check, cases, a=arrays((3, 4), values=VALUES), b=arrays((3, 4), values=VALUES))


def test_a_data_frame(model):
    pandas = pytest.importorskip("pandas")
    x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    frame = pandas.DataFrame(x, columns=list("abcd"))
    wanted = model.predict(x, timesteps=3)
    assert same(model.predict(frame, timesteps=3), wanted)
    mixed = frame.assign(d="text")
    with pytest.raises((TypeError, ValueError)):
        model.predict(mixed, timesteps=3)
