"""Tests of activations: values by hand, extremes, in place. tests/cross compares with Keras."""

import math

import numpy as np
import pytest
from scipy import special

from kspike_ref import activations, softmax

ELEMENTWISE = sorted(
    set(activations.ACTIVATIONS) - {"glu", "softmax", "log_softmax", "sparsemax", "threshold"}
)

E = math.e
BY_HAND = [
    ("celu", {"alpha": 2.0}, [-2, 0, 3], [2 * (1 / E - 1), 0, 3]),
    ("elu", {"alpha": 2.0}, [-1, 0, 3], [2 * (1 / E - 1), 0, 3]),
    ("exponential", {}, [0, 1], [1, E]),
    ("gelu", {}, [-1, 0, 1], [-0.15865525, 0, 0.84134475]),
    ("gelu", {"approximate": True}, [-1, 0, 1], [-0.15880801, 0, 0.84119199]),
    ("glu", {}, [1, 2, 0, 0], [0.5, 1]),
    ("hard_shrink", {}, [-1, -0.5, 0.5, 0.6], [-1, 0, 0, 0.6]),
    ("hard_sigmoid", {}, [-3, 0, 1.5, 3], [0, 0.5, 0.75, 1]),
    ("hard_silu", {}, [-3, 0, 1.5, 4], [0, 0, 1.125, 4]),
    ("hard_tanh", {}, [-2, 0.5, 2], [-1, 0.5, 1]),
    ("leaky_relu", {}, [-2, 0, 3], [-0.4, 0, 3]),
    ("linear", {}, [-2, 3], [-2, 3]),
    ("log_sigmoid", {}, [0], [-math.log(2)]),
    ("log_softmax", {}, [0, 0], [-math.log(2)] * 2),
    ("mish", {}, [0, 1], [0, math.tanh(math.log(1 + E))]),
    ("relu", {}, [-1, 0, 2], [0, 0, 2]),
    ("relu", {"max_value": 1.5}, [-1, 1, 2], [0, 1, 1.5]),
    ("relu", {"negative_slope": 0.5, "threshold": 1.0, "max_value": 2.0}, [-1, 1, 3], [-1, 0, 2]),
    ("relu6", {}, [-1, 3, 7], [0, 3, 6]),
    ("selu", {}, [0, 1], [0, 1.05070098]),
    ("sigmoid", {}, [0, math.log(3)], [0.5, 0.75]),
    ("silu", {}, [0, math.log(3)], [0, 0.75 * math.log(3)]),
    ("soft_shrink", {}, [-1, 0.5, 2], [-0.5, 0, 1.5]),
    ("softmax", {}, [0, math.log(3)], [0.25, 0.75]),
    ("softplus", {}, [0, 100], [math.log(2), 100]),
    ("softsign", {}, [-3, 1], [-0.75, 0.5]),
    ("sparse_plus", {}, [-2, 0, 0.5, 3], [0, 0.25, 0.5625, 3]),
    ("sparse_sigmoid", {}, [-2, 0, 3], [0, 0.5, 1]),
    ("sparsemax", {}, [3, 0, 0], [1, 0, 0]),
    ("squareplus", {}, [0, 1.5], [1, 2]),
    ("tanh", {}, [0, math.log(3) / 2], [0, 0.5]),
    ("tanh_shrink", {}, [0, math.log(3) / 2], [0, math.log(3) / 2 - 0.5]),
    ("threshold", {"threshold": 1.0, "default_value": 7.0}, [0, 1, 2], [7, 7, 2]),
]


@pytest.mark.parametrize(("name", "parameters", "x", "expected"), BY_HAND)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_by_hand(name, parameters, x, expected, dtype):
    given = np.array(x, dtype)
    kept = given.copy()
    y = activations.get(name)(given, **parameters)
    assert y.dtype == dtype
    # The values above have eight digits, float32 has seven.
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(given, kept)


def test_every_function_is_tested_by_hand():
    aliases = {"swish", "hard_swish"}
    assert {name for name, *_ in BY_HAND} == set(activations.ACTIVATIONS) - aliases


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.filterwarnings("error")
def test_extremes(name):
    """There is no overflow, NaN or warning where the result is finite."""
    x = np.array([-1e30, -1e4, -200, -90, -1e-30, -0.0, 0, 1e-30, 90, 200, 1e4, 1e30], np.float32)
    y = activations.get(name)(x)
    assert not np.isnan(y).any()
    finite = y[np.isfinite(y)]
    assert finite.size == (8 if name == "exponential" else 12)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "sparsemax"])
@pytest.mark.filterwarnings("error")
def test_extremes_along_an_axis(name):
    x = np.array([[1e30, 0], [-1e30, -1e30], [200, -200]], np.float32)
    y = activations.get(name)(x)
    assert not np.isnan(y[0]).any()
    assert not np.isnan(y[2]).any()


@pytest.mark.parametrize("name", sorted(activations.ACTIVATIONS))
def test_out(name):
    """Into another array, and in place; with several axes, and with an axis of length 0."""
    parameters = {"threshold": 0.3, "default_value": 2.0} if name == "threshold" else {}
    function = activations.get(name)
    for shape in [(3, 4, 6), (0, 6)]:
        x = np.random.default_rng(0).normal(0, 4, shape).astype(np.float32)
        expected = function(x.copy(), **parameters)
        out = np.empty_like(expected)
        assert function(x, out=out, **parameters) is out
        np.testing.assert_array_equal(out, expected)
        if name != "glu":
            assert function(x, out=x, **parameters) is x
            np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_error_function_is_scipys(dtype):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, scale, 10_000) for scale in (1e-6, 0.1, 1, 3, 30)])
    x = np.concatenate([x, [0.0, -0.0, np.inf, -np.inf, np.nan]]).astype(dtype)
    y, expected = activations.erf(x), special.erf(x)
    assert y.dtype == expected.dtype
    if dtype == np.float64:  # SciPy and the C library are both this exact
        np.testing.assert_array_max_ulp(y[:-1], expected[:-1], 4)
        assert np.isnan(y[-1])
    else:
        np.testing.assert_array_equal(y, expected)
        assert np.signbit(y[-4])


def test_the_error_function_of_half_precision():
    y = activations.erf(np.array([-1, 0, 0.5], np.float16))
    assert y.dtype == np.float16
    assert y.tolist() == np.float16([-0.8427008, 0, 0.5204999]).tolist()


def test_the_error_function_of_other_layouts():
    x = np.random.default_rng(0).normal(size=(3, 4, 5))
    for view in (x.T, x[:, ::2], x[:0], x[0, 0, 0]):
        y = activations.erf(view)
        assert y.shape == view.shape
        np.testing.assert_array_equal(y, activations.erf(view.copy()))


@pytest.mark.parametrize("name", ["glu", "softmax", "log_softmax", "sparsemax"])
def test_axis(name):
    x = np.random.default_rng(0).normal(size=(3, 4, 6)).astype(np.float32)
    function = activations.get(name)
    expected = function(x.swapaxes(1, 2).copy()).swapaxes(1, 2)
    np.testing.assert_allclose(function(x, axis=1), expected, rtol=1e-6)  # sums in another order


def test_get():
    assert activations.get(None) is activations.linear
    assert activations.get("swish") is activations.silu
    written = {"module": "keras.activations", "class_name": "function", "config": "gelu"}
    assert activations.get(written) is activations.gelu


@pytest.mark.parametrize(
    "identifier",
    ["Relu", "", "get", 3, {}, {"class_name": "function", "config": "mine>f"}, {"config": "relu"}],
)
def test_get_refuses(identifier):
    with pytest.raises(
        ValueError, match=r"activation must be one of celu, .* Received: activation="
    ):
        activations.get(identifier)


def test_glu_of_an_odd_length():
    with pytest.raises(ValueError, match=r"x must have an even length along axis -1\. .*\(2, 3\)"):
        activations.glu(np.zeros((2, 3), np.float32))


def _softmax_of_numpy(x):
    y = np.exp(x - x.max(axis=-1, keepdims=True))
    y /= y.sum(axis=-1, keepdims=True)
    return y


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_softmax_of_short_rows_has_the_bits_of_numpy(dtype):
    """Also of rows that are too long for the compiled loops, and of NaN and infinities."""
    rng = np.random.default_rng(0)
    for columns in range(1, 140):
        x = rng.normal(0, [[0.1], [1], [30]], (3, columns)).astype(dtype)
        assert activations.softmax(x).tobytes() == _softmax_of_numpy(x).tobytes(), columns
    x = np.tile(x[:1, :11], (5, 1))
    for row, values in enumerate([[np.nan], [np.inf], [-np.inf], [np.nan, np.inf]]):
        x[row, 3 : 3 + len(values)] = values
    x[4] = -np.inf
    y = activations.softmax(x)
    np.testing.assert_array_equal(y, _softmax_of_numpy(x))
    assert np.isnan(y).all(axis=1).tolist() == [True, True, False, True, True]


def test_softmax_in_other_layouts():
    x = np.random.default_rng(0).normal(size=(3, 4, 5))
    swapped = x.astype(x.dtype.newbyteorder())
    for view in (x.T, x[:, ::2], x[..., ::-1], x[:0], x[..., :0], x.astype(np.float16), swapped):
        y = activations.softmax(view)
        assert y.dtype == view.dtype.newbyteorder("=")
        np.testing.assert_array_equal(y, _softmax_of_numpy(view) if view.size else view)
    expected, flat = activations.softmax(x[:2]), x.reshape(-1).copy()
    onto = flat[7:47].reshape(2, 4, 5)  # overlaps its input
    assert activations.softmax(flat[:40].reshape(2, 4, 5), out=onto) is onto
    np.testing.assert_array_equal(onto, expected)
    narrow = np.empty((2, 4, 5), np.float32)
    np.testing.assert_allclose(activations.softmax(x[:2], out=narrow), expected, rtol=1e-6)


@pytest.mark.parametrize("axis", [-1, 2, (-1,), (2,)])
def test_softmax_over_the_last_axis_is_compiled(axis, monkeypatch):
    """Whether the axis is counted from the front or from the back."""
    x, calls = np.random.default_rng(0).normal(size=(3, 4, 5)), []
    expected = _softmax_of_numpy(x)
    compute = softmax.loops.softmax
    monkeypatch.setattr(softmax.loops, "softmax", lambda *given: (calls.append(1), compute(*given)))
    np.testing.assert_array_equal(activations.softmax(x, axis=axis), expected)
    assert calls
    activations.softmax(x, axis=1)
    assert len(calls) == 1
