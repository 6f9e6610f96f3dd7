"""What a user gives to a model: structures, batches, lengths, masks, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from archives import applied, dense, functional, input_layer, layer, sequential, tensor
from unsaved import unsaved

import kspike_ref


def _x(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _two(kind="Add", *, shape=(4,), **config):
    return unsaved(
        functional(
            [
                applied(input_layer(*shape, name="a")),
                applied(input_layer(*shape, name="b")),
                applied(layer(kind, "merged", **config), [[tensor("a"), tensor("b")]]),
            ],
            [["a", 0, 0], ["b", 0, 0]],
            ["merged", 0, 0],
        )
    )


@pytest.mark.parametrize(("one", "other"), [(3, 5), (16, 1), (0, 2)])
def test_inputs_of_unequal_batches(one, other):
    model = _two()
    match = rf"the same number of examples\. Received: {one} at 'a', {other} at 'b'"
    for run in (model.predict, model.activity):
        with pytest.raises(ValueError, match=match):
            run([_x(one, 4), _x(other, 4)])
        with pytest.raises(ValueError, match=match):
            run({"a": _x(one, 4), "b": _x(other, 4)})
    timed = _two(shape=(None, 4))
    with pytest.raises(ValueError, match=match):
        timed.predict([_x(one, 4), _x(other, 4)], timesteps=3)
    with pytest.raises(ValueError, match=match):
        timed.step([_x(one, 4), _x(other, 4)], {})


@pytest.mark.parametrize("kind", ["Add", "Concatenate"])
def test_inputs_of_different_lengths(kind):
    model = _two(kind, shape=(None, 4))
    with pytest.raises(ValueError, match=r"as many time steps\. Received: 5 at 'a', 7 at 'b'"):
        model.predict([_x(2, 5, 4), _x(2, 7, 4)])


def test_one_step_is_taken_for_all_as_in_keras():
    x, y = _x(2, 7, 4), _x(2, 1, 4, seed=1)
    np.testing.assert_array_equal(_two(shape=(None, 4)).predict([x, y]), x + y)


def _time_major(*outer):
    """A filter that takes time first, its level, and an example's own input beside."""
    return unsaved(
        functional(
            [
                applied(input_layer(None, 3, name="x")),
                applied(input_layer(3, name="level")),
                applied(
                    layer("Lowpass", "low", "kspike_tf", dt=0.1, time_major=True),
                    [tensor("x"), [tensor("level")]],
                ),
                applied(dense("d", 2), [tensor("low")]),
                *outer,
            ],
            [["x", 0, 0], ["level", 0, 0]],
            ["d", 0, 0],
        )
    )


@pytest.mark.parametrize(("steps", "batch"), [(4, 9), (9, 4), (1, 5), (5, 1)])
@pytest.mark.parametrize("batch_size", [None, 2])
def test_time_first(steps, batch, batch_size):
    model = _time_major()
    x, level = _x(steps, batch, 3), _x(batch, 3, seed=1)
    weights = model.nodes[3].layer.weights
    tau = model.nodes[2].layer.weights["layer/cell/tau"]
    y, _ = kspike_ref.lowpass(x, tau, 0.1, initial_level=level, time_major=True)
    wanted = y @ weights["kernel"] + weights["bias"]
    got = model.predict([x, level], batch_size=batch_size)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)  # float32, in another order
    match = rf"number of examples\. Received: {batch} at 'x', {batch + 1} at 'level'"
    with pytest.raises(ValueError, match=match):
        model.predict([x, _x(batch + 1, 3)])


def test_time_first_for_inputs_without_time():
    model = _time_major()
    x, level = _x(5, 3), _x(5, 3, seed=1)
    still = model.predict([x, level], timesteps=7)
    assert still.shape == (7, 5, 2)
    np.testing.assert_array_equal(still, model.predict([np.repeat(x[None], 7, axis=0), level]))
    with pytest.raises(ValueError, match=r"shape \(time, batch, 3\) at 'x' \(pass timesteps=N"):
        model.predict([x, level])


def test_time_first_at_each_step_goes_in_one_block():
    """A wrapper folds time into the batch, which the layer within takes for time."""
    inner = layer("Lowpass", "low", "kspike_tf", dt=0.1, time_major=True)
    model = unsaved(sequential(input_layer(4, 3, 2), layer("TimeDistributed", "each", layer=inner)))
    x = _x(9, 4, 3, 2)
    np.testing.assert_array_equal(model.predict(x, batch_size=2), model.predict(x))


def test_masked_arrays():
    model = _two()
    x = np.ma.masked_array(_x(3, 4), mask=False)
    np.testing.assert_array_equal(model.predict([x, x]), 2 * x.data)  # nothing is masked
    x[1, 2] = np.ma.masked
    with pytest.raises(TypeError, match=r"masked array at 'b'.*lost.*x\.filled\(value\).*Masking"):
        model.predict([_x(3, 4), x])
    for function, arguments in [
        (kspike_ref.spiking_activation, {}),
        (kspike_ref.lowpass, {"tau": 0.1}),
        (kspike_ref.alpha, {"tau": 0.1}),
    ]:
        with pytest.raises(TypeError, match=r"must not be a masked array.*\.filled\("):
            function(x[None], **arguments)
    with pytest.raises(TypeError, match="tau must not be a masked array"):
        kspike_ref.lowpass(_x(1, 3, 4), tau=np.ma.masked_less([-1.0, 1, 1, 1], 0))


def test_a_list_of_one_input():
    model = unsaved(sequential(input_layer(None, 3), dense("d", 2), name="m"))
    x = _x(4, 5, 3)
    wanted = model.predict(x)
    for given in ([x], (x,), {"input": x}, {"input": x, "more": 0}, x.tolist(), list(x)):
        np.testing.assert_array_equal(model.predict(given), wanted)
    np.testing.assert_array_equal(model.predict([x[:1].tolist()]), wanted[:1])
    still = model.predict([x[:, 0]], timesteps=2)
    np.testing.assert_array_equal(still, model.predict(x[:, 0], timesteps=2))


@pytest.mark.parametrize(
    ("structure", "given"),
    [
        (["a", {"q": "b"}], lambda a, b: [a, {"q": b}]),
        (["a", {"q": "b"}], lambda a, b: [a, b]),
        ({"p": "a", "q": "b"}, lambda a, b: {"q": b, "p": a}),
        ({"p": "a", "q": "b"}, lambda a, b: {"b": b, "a": a}),
        ({"q": "a", "p": ["b"]}, lambda a, b: {"q": a, "p": [b]}),
        ([["a"], ["b"]], lambda a, b: [[a], [b]]),
        (["a", "b"], lambda a, b: (a, b)),
    ],
)
def test_nested_inputs(structure, given):
    def leaves(value):
        if isinstance(value, list):
            return [leaves(item) for item in value]
        if isinstance(value, dict):
            return {key: leaves(item) for key, item in value.items()}
        return [value, 0, 0]

    config = functional(
        [
            applied(input_layer(4, name="a")),
            applied(input_layer(4, name="b")),
            applied(layer("Subtract", "y"), [[tensor("a"), tensor("b")]]),
        ],
        leaves(structure),
        ["y", 0, 0],
    )
    a, b = _x(3, 4), _x(3, 4, seed=1)
    np.testing.assert_array_equal(unsaved(config).predict(given(a, b)), a - b)


def test_structures_that_do_not_fit():
    model = _two()
    for x, match in [
        ([_x(3, 4)], r"x must be 2 arrays \(a, b\)\. Received: 1"),
        (_x(3, 4), r"x must be 2 arrays \(a, b\)\. Received: 1"),
        ({"a": _x(3, 4)}, r"x must hold a, b\. Received: a"),
        ([[1, 2], [3]], r"x must be an array at 'b'|shape"),
        ([[[1, 2], [3]], _x(3, 4)], "x must be an array at 'a'"),
    ]:
        with pytest.raises(ValueError, match=match):
            model.predict(x)
    with pytest.raises(TypeError, match="real numbers at 'a'"):
        model.predict([np.array([["x"] * 4]), _x(1, 4)])
