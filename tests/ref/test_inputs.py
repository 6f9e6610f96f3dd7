"""Tests of a model's inputs: structures, batches, lengths, masks, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from archives import applied, dense, functional, input_layer, layer, sequential, tensor
from unsaved import unsaved

import kspike_ref
from kspike_ref.layers.shape import repeated


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
    with pytest.raises(ValueError, match=r"number of time steps\. Received: 5 at 'a', 7 at 'b'"):
        model.predict([_x(2, 5, 4), _x(2, 7, 4)])


def test_one_step_is_taken_for_all_as_in_keras():
    x, y = _x(2, 7, 4), _x(2, 1, 4, seed=1)
    np.testing.assert_array_equal(_two(shape=(None, 4)).predict([x, y]), x + y)


def _time_major(*outer):
    """Return a model of a time-major filter and an input for each example's initial level."""
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
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)  # float32 sums in another order
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
    """A wrapper folds time into the batch, which the inner layer takes for time."""
    inner = layer("Lowpass", "low", "kspike_tf", dt=0.1, time_major=True)
    model = unsaved(sequential(input_layer(4, 3, 2), layer("TimeDistributed", "each", layer=inner)))
    x = _x(9, 4, 3, 2)
    np.testing.assert_array_equal(model.predict(x, batch_size=2), model.predict(x))


@pytest.mark.parametrize("error", [TypeError, RuntimeError, NotImplementedError])
def test_tensors_that_do_not_become_arrays(error):
    """Like PyTorch's with a gradient, of bfloat16 or on a device: see tests/load/test_torch.py."""

    class Tensor:
        shape, ndim = (1, 3, 4), 3

        def __array__(self, dtype=None, copy=None):
            raise error("use detach()")

    for function, name in [
        (lambda x: unsaved(sequential(input_layer(3, 4))).predict(x), "x"),
        (kspike_ref.spiking_activation, "rates"),
        (lambda x: kspike_ref.lowpass(x, 0.1), "x"),
        (lambda x: kspike_ref.lowpass(_x(1, 3, 4), x), "tau"),
        (lambda x: kspike_ref.alpha(_x(1, 3, 4), 0.1, initial_level=x), "initial_level"),
    ]:
        message = rf"^{name} must be an array.*Received: Tensor; use detach\(\)"
        with pytest.raises(TypeError, match=message):
            function(Tensor())


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


def test_sequences_of_different_lengths_say_what_to_do():
    model = unsaved(sequential(input_layer(None, 2), layer("Flatten", "flat")))
    lists = [[[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]]]
    arrays = np.empty(2, object)
    arrays[:] = [np.asarray(each) for each in lists]
    for x in (lists, arrays):
        with pytest.raises(ValueError, match=r"'input'.*Pad the sequences .*a Masking layer"):
            model.predict(x)


def _fails(item, x, match, error=ValueError, *, shape=(None, 4)):
    model = unsaved(sequential(input_layer(*shape), item))
    for run in (model.predict, model.activity, model):
        with pytest.raises(error, match=match) as caught:
            run(x)
        assert type(caught.value) is error


def test_lengths_that_a_layer_does_not_take():
    """Errors of NumPy or a layer about a block are reported in the shapes that the user passed."""
    conv = layer("Conv1D", "conv", filters=2, kernel_size=[5], strides=[1], padding="valid")
    _fails(
        conv, _x(40, 3, 4), r"layer 'conv' \(Conv1D\) does not take x of shape \(40, 3, 4\): a w"
    )
    turn = layer("Reshape", "turn", target_shape=[-1, 8])
    _fails(turn, _x(40, 3, 4), r"'turn' \(Reshape\) does not take x of shape \(40, 3, 4\): \(3, 4")
    crop = layer("Cropping1D", "crop", cropping=[4, 4])
    flat = layer("GlobalMaxPooling2D", "flat")
    model = unsaved(sequential(input_layer(None, 4, 1), flat))
    assert model.predict(_x(2, 3, 4, 1)).shape == (2, 1)
    with pytest.raises(ValueError, match=r"'flat' .* does not take x of shape \(2, 0, 4, 1\)"):
        model.predict(_x(2, 0, 4, 1))
    assert unsaved(sequential(input_layer(None, 4), crop)).predict(_x(2, 9, 4)).shape == (2, 1, 4)


def test_numbers_that_a_layer_does_not_take():
    embedding = layer("Embedding", "words", input_dim=3, output_dim=2)
    _fails(embedding, [[7, 1]], r"'words' .* x of shape \(1, 2\): x must hold int", shape=(None,))


def test_steps_that_a_layer_does_not_take():
    embedding = layer("Embedding", "words", input_dim=3, output_dim=2)
    low = layer("LSTM", "rnn", units=2)
    model = unsaved(sequential(input_layer(None), embedding, low))
    state = model.initial_state(2)
    with pytest.raises(
        ValueError, match=r"'words' .* does not take x of shape \(2,\): x must hold"
    ):
        model.step(np.array([1, 9]), state)
    with pytest.raises(ValueError, match=r"examples. Received: 3 at|of 2 examples|shape"):
        model.step(np.ones((3, 4)), state)


def test_errors_of_ones_own_layer():
    class MyError(Exception):
        pass

    @kspike_ref.register_layer("mine>Raises")
    class Raises(kspike_ref.Layer):
        def call(self, x):
            raise self.error

    for error, wanted in [
        (MyError("x"), MyError),
        (IndexError("y"), ValueError),
        (TypeError("z"), TypeError),
        (MemoryError("m"), MemoryError),
    ]:
        Raises.error = error
        model = unsaved(sequential(input_layer(4), layer("Raises", "own", "mine")))
        with pytest.raises(wanted):
            model.predict(_x(2, 4))


@pytest.mark.parametrize("count", [-1, 1.5, True, "2", None, 2**70])
def test_counts_that_are_none(count):
    model = unsaved(sequential(input_layer(None, 4), layer("Lowpass", "low", "kspike_tf")))
    if count != 2**70:
        with pytest.raises((TypeError, ValueError), match="batch_size must"):
            model.initial_state(count)
    if count is not None:
        with pytest.raises(ValueError, match="timesteps must be a positive integer"):
            model.predict(_x(2, 4), timesteps=count)
        with pytest.raises(ValueError, match="batch_size must be a positive integer"):
            model.predict(_x(2, 3, 4), batch_size=count)


def test_numpy_integers_are_counts():
    model = unsaved(sequential(input_layer(None, 4), layer("Lowpass", "low", "kspike_tf")))
    x = _x(5, 4)
    wanted = model.predict(x, timesteps=3)
    got = model.predict(x, timesteps=np.int64(3), batch_size=np.int64(2))
    np.testing.assert_array_equal(got, wanted)
    model.step(x, model.initial_state(np.int32(5)))


@pytest.mark.parametrize("verbose", [0, 1, 2, "auto", None])
def test_verbose(verbose, capsys):
    model = unsaved(sequential(input_layer(4), dense("d", 2)))
    x = _x(3, 4)
    np.testing.assert_array_equal(model.predict(x, verbose=verbose), model(x))
    assert ("3/3" in capsys.readouterr().err) == (verbose in (1, 2))
    with pytest.raises(ValueError, match="verbose must be 0, 1, 2 or 'auto'"):
        model.predict(x, verbose=3)
    with pytest.raises(ValueError, match="training must be False"):
        model(x, training=True)


def test_a_misspelt_input_gets_a_suggestion():
    with pytest.raises(ValueError, match=r"hold left, right\. Received: left, rihgt; did you mean"):
        unsaved(
            functional(
                [
                    applied(input_layer(4, name="left")),
                    applied(input_layer(4, name="right")),
                    applied(layer("Add", "sum"), [[tensor("left"), tensor("right")]]),
                ],
                [["left", 0, 0], ["right", 0, 0]],
                ["sum", 0, 0],
            )
        ).predict({"left": _x(3, 4), "rihgt": _x(3, 4)})


def _window(kind, name, **config):
    return layer(kind, name, **{"strides": [1], "padding": "same", **config})


# Layers and their output shapes for (batch, time, 4), without the batch axis.
OVER_TIME = [
    (layer("LSTM", "l", units=3), (3,)),
    (layer("LSTM", "l", units=3, return_sequences=True), ("time", 3)),
    (layer("GlobalAveragePooling1D", "l"), (4,)),
    (layer("GlobalMaxPooling1D", "l"), (4,)),
    (layer("Lowpass", "l", "kspike_tf"), ("time", 4)),
    (layer("Lowpass", "l", "kspike_tf", return_sequences=False), (4,)),
    (layer("SpikingActivation", "l", "kspike_tf", return_sequences=False), (4,)),
    (layer("Dense", "l", units=2, use_bias=True), ("time", 2)),
    (layer("TimeDistributed", "l", layer=dense("d", 2)), ("time", 2)),
    (layer("GroupNormalization", "l", groups=2, axis=-1), ("time", 4)),
    (layer("LayerNormalization", "l", axis=-1), ("time", 4)),
    (layer("Softmax", "l"), ("time", 4)),
    (layer("Masking", "l"), ("time", 4)),
    (_window("Conv1D", "l", filters=3, kernel_size=[2]), ("time", 3)),
    (_window("Conv1DTranspose", "l", filters=3, kernel_size=[2]), ("time", 3)),
    (_window("MaxPooling1D", "l", pool_size=[2]), ("time", 4)),
    (layer("Reshape", "l", target_shape=[-1, 2, 2]), ("time", 2, 2)),
    (layer("Permute", "l", dims=[2, 1]), (4, "time")),
]


@pytest.mark.filterwarnings("error", "ignore::kspike_ref.FewSpikesWarning")
@pytest.mark.parametrize(
    ("item", "wanted"), OVER_TIME, ids=[f"{i['class_name']}-{len(w)}" for i, w in OVER_TIME]
)
def test_no_examples_and_no_steps(item, wanted):
    """Shapes and types are as usual, and the last value of no steps is the initial one."""
    chain = unsaved(sequential(input_layer(None, 4), item))
    behind = layer("Activation", "t", activation="tanh")
    layers = unsaved(sequential(input_layer(None, 4), item, behind))
    for batch, steps in [(2, 5), (0, 5), (2, 0), (0, 0)]:
        x = np.ones((batch, steps, 4), np.float32)
        shape = (batch, *(steps if n == "time" else n for n in wanted))
        for model in (chain, layers):
            y = model.predict(x)
            assert (y.shape, y.dtype) == (shape, np.float32)
            assert model.activity(x)[model.outputs[0]].shape == shape


def test_no_examples_of_a_stream():
    for last in ([], [layer("Activation", "t", activation="tanh")]):
        low = layer("Lowpass", "low", "kspike_tf")
        model = unsaved(sequential(input_layer(None, 4), low, dense("d", 2), *last))
        y, state = model.step(np.ones((0, 4), np.float32), model.initial_state(0))
        assert y.shape == (0, 2)
        assert model.step(np.ones((0, 4)), state)[0].shape == (0, 2)


def test_a_pooling_window_longer_than_the_input():
    """Keras makes no output, as long as the input reaches over half of the window."""
    pool = layer("MaxPooling1D", "pool", pool_size=[2], strides=[2], padding="valid")
    model = unsaved(sequential(input_layer(None, 4), pool))
    assert [model.predict(_x(2, n, 4)).shape[1] for n in range(5)] == [0, 0, 1, 1, 2]


def test_a_misspelt_option_gets_a_suggestion():
    model = unsaved(sequential(input_layer(None, 4), dense("d", 2)))
    x = _x(2, 3, 4)
    for run, options, match in [
        (model.predict, {"timestep": 3}, r"^predict takes x, batch_size, .*; did you mean 'timest"),
        (model.activity, {"layer": ["d"]}, r"Received: layer; did you mean 'layers'\?"),
        (model.cost, {"batchsize": 3}, r"Received: batchsize; did you mean 'batch_size'\?"),
        (kspike_ref.load_model, {"max_byte": 1}, "Received: max_byte; did you mean 'max_bytes'"),
        (kspike_ref.lowpass, {"tua": 1}, r"Received: tua; did you mean 'tau'\?"),
        (kspike_ref.spiking_activation, {"zzz": 1}, r"Received: zzz$"),
        (model.initial_state, {"batchsize": 1}, "Received: batchsize; did you mean 'batch_size'"),
        (kspike_ref.register_layer, {"nam": 1}, r"Received: nam; did you mean 'name'\?"),
    ]:
        with pytest.raises(TypeError, match=match):
            run(x, **options)


@pytest.mark.parametrize(
    ("function", "options"),
    [("spiking_activation", {"dt": 1}), ("lowpass", {"tau": 20}), ("alpha", {"tau": 20})],
)
def test_warnings_point_at_the_caller(function, options):
    with pytest.warns(UserWarning, match="seconds") as caught:
        getattr(kspike_ref, function)(np.full((1, 2, 3), 20.0), **options)
    assert caught[0].filename == __file__


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("name", "value"), [("Mean", np.nan), ("Std", np.nan), ("Sum", 0)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_operations_over_no_steps(name, value, keepdims):
    """As in Keras; NumPy would warn about the mean."""
    operation = layer(name, "op", axis=[1], keepdims=keepdims)
    operation["module"] = "keras.src.ops.numpy"
    config = functional(
        [applied(input_layer(None, 4)), applied(operation, [tensor("input")])],
        ["input", 0, 0],
        ["op", 0, 0],
    )
    y = unsaved(config).predict(_x(2, 0, 4))
    np.testing.assert_array_equal(y, np.full((2, 1, 4) if keepdims else (2, 4), value, np.float32))


@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("factor", [1, 2, 5])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (0, 3, 4, 5), (2, 3, 0, 5)])
def test_repeated_elements(shape, axis, factor):
    x = _x(*shape).transpose(0, 2, 1, 3)
    np.testing.assert_array_equal(repeated(x, axis, factor), np.repeat(x, factor, axis))
