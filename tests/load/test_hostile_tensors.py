"""Tests of hostile numbers in kspike_tf layers: the answer of kspike_ref, or a clear error."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from hostile import FINITE, REFUSED, arrays, run, same
from hypothesis import assume

import kspike_ref
import kspike_tf

CASES = [
    pytest.param(12, id="everyday"),
    pytest.param(400, id="all", marks=pytest.mark.slow),
]
every = pytest.mark.parametrize("cases", CASES)
pytestmark = pytest.mark.filterwarnings("ignore")  # NumPy and kspike_ref warn of such numbers

TAU, DT = np.float32(0.02), 0.001
ERRORS = (TypeError, ValueError, tf.errors.InvalidArgumentError)

LAYERS = {
    "spiking_activation": lambda dtype: kspike_tf.SpikingActivation("linear", seed=1, dtype=dtype),
    "lowpass": lambda dtype: kspike_tf.Lowpass(TAU, dtype=dtype),
    "alpha": lambda dtype: kspike_tf.Alpha(TAU, dtype=dtype),
}
FUNCTIONS = {
    "spiking_activation": lambda x: kspike_ref.spiking_activation(x, DT, seed=1)[0],
    "lowpass": lambda x: kspike_ref.lowpass(x, TAU, DT)[0],
    "alpha": lambda x: kspike_ref.alpha(x, TAU, DT)[0],
}


@pytest.fixture(params=LAYERS, scope="module")
def name(request):
    return request.param


def graph(layer):
    """Return a layer as a compiled function; each number of units needs its own."""
    return tf.function(layer, reduce_retracing=True)


def outcome(function, x):
    try:
        return np.asarray(function(x))
    except ERRORS as error:
        return error


@every
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_answer_as_kspike_ref(name, dtype, cases):
    """Also for NaN, infinities and large numbers: spikes bit for bit, filters up to rounding."""
    layers = {n: LAYERS[name](dtype) for n in range(1, 5)}

    def check(given):
        x = given.plain
        ours = np.asarray(layers[x.shape[2]](x))
        theirs = FUNCTIONS[name](x)
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        if name == "spiking_activation":
            assert same(ours, theirs), given.label
            return
        # Compare where both are finite; sums of opposite infinities are NaN in both.
        finite = np.isfinite(ours) & np.isfinite(theirs)
        assert np.array_equal(np.isfinite(ours), np.isfinite(theirs)), given.label
        largest = np.abs(np.where(np.isfinite(x), x, 0)).max(initial=1e-300)
        # TensorFlow's threads treat subnormal numbers as zero.
        least = float(np.finfo(dtype).tiny)
        tolerance = {
            "rtol": 1e-5 if dtype == "float32" else 1e-12,
            "atol": max(1e-7 * float(largest), least),
        }
        np.testing.assert_allclose(ours[finite], theirs[finite], **tolerance)

    run(check, cases, given=arrays((None, None, None), [np.dtype(dtype).str[1:]], smallest=1))


@every
def test_any_form_gives_the_same_answer(name, cases):
    """For types and layouts that Keras accepts; TensorFlow raises an error for others."""
    layers = {n: LAYERS[name]("float32") for n in range(1, 5)}

    def check(given):
        x = given.plain
        before = given.base.tobytes()
        made = outcome(layers[x.shape[2]], given.passed)
        assert given.base.tobytes() == before, given.label
        if isinstance(made, Exception):
            assert str(made), given.label
            return
        wanted = np.asarray(layers[x.shape[2]](x.astype(x.dtype.newbyteorder("=")).astype("f4")))
        assert same(made, wanted), given.label

    run(check, cases, given=arrays((None, None, None), smallest=1))


@every
def test_what_is_no_real_number_is_refused(name, cases):
    layer = LAYERS[name]("float32")

    def check(given):
        assume(not isinstance(given.passed, list))  # such lists hold Python numbers
        with pytest.raises((*ERRORS, tf.errors.UnimplementedError)):
            layer(given.passed)

    run(check, cases // 4, given=arrays((2, 3, 2), REFUSED, FINITE))


@every
def test_a_bad_number_stays_in_its_unit_in_gradients_too(name, cases):
    layers = {n: LAYERS[name]("float32") for n in range(1, 5)}

    def gradient(x):
        x = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layers[x.shape[2]](x, training=True)
            loss = tf.reduce_sum(y)
        return np.asarray(y), np.asarray(tape.gradient(loss, x))

    def check(given):
        x = given.plain
        bad = ~np.isfinite(x).all(axis=1, keepdims=True)
        kept = ~np.broadcast_to(bad, x.shape)
        pairs = zip(gradient(x), gradient(np.where(bad, np.float32(1), x)), strict=True)
        for made, wanted in pairs:
            assert same(made[kept], wanted[kept]), given.label

    run(check, cases, given=arrays((None, None, None), ["f4"], smallest=1))


def test_models_in_predict_take_bad_numbers(name):
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, LAYERS[name]("float32")(inputs))
    x = np.full((4, 5, 3), 100, np.float32)
    x[1, 2, 0], x[2, 1, 1], x[3, 0, 2] = np.nan, np.inf, 1e38
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = model.predict(x, verbose=0)
        assert same(y[0], model.predict(x[:1], verbose=0)[0])
    assert np.isfinite(y[:1]).all()
    assert np.isfinite(y[1, :, 1:]).all()
    assert not np.isfinite(y[1, -1, 0])
