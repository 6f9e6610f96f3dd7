"""Tests of filters against an obvious time loop, SciPy's discretisation, and Nengo's synapses."""

import json
import math

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import cont2discrete, lfilter

import kspike_ref
from kspike_ref.kernels import time as loops
from kspike_ref.kernels.memory import aligned
from kspike_ref.synapses import AlphaDynamics, LowpassDynamics

pytestmark = pytest.mark.memory

FILTERS = [kspike_ref.lowpass, kspike_ref.alpha]
DTYPES = [np.float16, np.float32, np.float64]


def a_signal(shape, dtype=np.float32, seed=0):
    """Return spikes over noise: zeros, bursts of 1000 and values between."""
    rng = np.random.default_rng(seed)
    return (1000.0 * (rng.random(shape) < 0.1) + rng.normal(0, 10, shape)).astype(dtype)


def same_bits(a, b):
    """Return whether two arrays have equal values, type and shape, and equal signs of zero."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def assert_naive(function, result, x, tau, dt, level=0.0):
    """Check that output and state equal those of the naive loop.

    The kernels may fuse a product and a sum, and add in another order: a few float64 roundings,
    after which an output may be rounded to the next number of its type.
    """
    level = np.broadcast_to(level, (x.shape[0], *x.shape[2:]))
    if function is kspike_ref.lowpass:
        expected, last = naive.lowpass(x, tau, dt, level)
    else:
        expected, y, p = naive.alpha(x, tau, dt, level, np.zeros(level.shape))
        size = math.prod(x.shape[2:])
        last = np.stack([s.reshape(x.shape[0], size) for s in (y, p)], axis=1)
    output, state = result
    assert (output.shape, output.dtype) == (x.shape, x.dtype)
    assert (state.shape, state.dtype) == (last.shape, np.float64)
    # 1 − e·(1+s) cancels in the naive form: a digit is lost per digit of s, down to s = 1e-3 here.
    largest = np.abs(last).max() + np.abs(expected).max()
    np.testing.assert_allclose(state, last, rtol=0, atol=1e-9 * largest)
    # Half a rounding of the type on either side.
    np.testing.assert_allclose(output, expected, rtol=np.finfo(x.dtype).eps, atol=1e-9 * largest)


@pytest.mark.parametrize("function", FILTERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("units", [(), (5,), (3, 2), (2, 3, 4)])
@pytest.mark.parametrize(("tau", "dt"), [(0.1, 0.001), (0.005, 0.01), (1.0, 0.0007), (1e-5, 1.0)])
@pytest.mark.filterwarnings("ignore:tau and dt are both in seconds")
def test_equals_the_naive_loop(function, dtype, units, tau, dt):
    x = a_signal((4, 60, *units), dtype)
    taus = tau * (1 + np.random.default_rng(1).random(units))
    level = np.random.default_rng(2).normal(0, 10, (4, *units))
    result = function(x, taus, dt, level, unit_axes=len(units))
    assert_naive(function, result, x, taus, dt, level)


@pytest.mark.parametrize("function", FILTERS)
@pytest.mark.parametrize("shape", [(64, 40, 100), (1, 40, 9000), (3, 40, 5001), (2, 2, 70_000)])
def test_equals_the_naive_loop_where_threads_share_the_work(function, shape):
    x, tau = a_signal(shape), np.linspace(0.001, 0.2, shape[2])
    expected, last = function(x, tau)
    assert_naive(function, (expected, last), x, tau, 0.001)
    y, state = function(x.swapaxes(0, 1), tau, time_major=True)
    assert same_bits(np.ascontiguousarray(y.swapaxes(0, 1)), expected)
    assert same_bits(state, last)


def test_kernels_without_the_jit():
    x, out = a_signal((2, 9, 5)), np.empty((2, 9, 5), np.float32)
    taus, region = np.full(5, 0.01), (0, 2, 0, 5)
    level = np.zeros((2, 5))
    loops.lowpass_loop.py_func(x, LowpassDynamics(taus, 0.001).decay, region, level, out)
    assert_naive(kspike_ref.lowpass, (out, level), x, taus, 0.001)
    state, dynamics = np.zeros((2, 2, 5)), AlphaDynamics(taus, 0.001)
    loops.alpha_loop.py_func(x, dynamics.decay, dynamics.ramp, region, state, out)
    assert_naive(kspike_ref.alpha, (out, state), x, taus, 0.001)


def zero_order_hold(order, tau, dt, x):
    """Filter with SciPy; its numerator starts with a delay of one step, which is dropped."""
    denominator = [tau, 1] if order == 1 else [tau * tau, 2 * tau, 1]
    numerator, denominator, _ = cont2discrete(([1], denominator), dt, method="zoh")
    return lfilter(numerator.reshape(-1)[1:], denominator, x)


@pytest.mark.parametrize(("function", "order"), [(kspike_ref.lowpass, 1), (kspike_ref.alpha, 2)])
@pytest.mark.parametrize("tau", [0.005, 0.1, 1.0])
def test_agrees_with_scipy_over_ten_thousand_steps(function, order, tau):
    x = a_signal(10_000)
    y, _ = function(x[None], tau, unit_axes=0)
    expected = zero_order_hold(order, tau, 0.001, x.astype(np.float64))
    # Rounding the output to float32 costs 6e-8.
    assert np.abs(y[0] - expected).max() < 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("function", "name"), [(kspike_ref.lowpass, "Lowpass"), (kspike_ref.alpha, "Alpha")]
)
@pytest.mark.parametrize("dt", [0.001, 0.02])
def test_agrees_with_nengo(function, name, dt):
    nengo = pytest.importorskip("nengo")
    x = a_signal((400, 3), np.float64)
    expected = getattr(nengo, name)(0.05).filt(x, dt=dt, y0=0)
    y, _ = function(x[None], 0.05, dt)
    # Both are float64; Nengo's recursion in powers of z loses a few more digits.
    np.testing.assert_allclose(y[0], expected, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("function", FILTERS)
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_any_chunking_gives_the_same_bits(function, data):
    steps = data.draw(st.integers(1, 40))
    dtype = data.draw(st.sampled_from(DTYPES))
    time_major = data.draw(st.booleans())
    cuts = sorted(data.draw(st.lists(st.integers(0, steps), max_size=5)))
    axis = 0 if time_major else 1
    x = a_signal((steps, 3, 7, 2) if time_major else (3, steps, 7, 2), dtype, seed=steps)
    tau = np.linspace(0.001, 0.1, 14).reshape(7, 2)
    state = level = np.linspace(-3, 3, 14).reshape(7, 2)
    whole, last = function(x, tau, initial_level=level, time_major=time_major)
    parts = []
    for part in np.split(x, cuts, axis=axis):
        y, state = function(part, tau, initial_level=state, time_major=time_major)
        parts.append(y)
    assert same_bits(np.concatenate(parts, axis=axis), whole)
    assert same_bits(state, last)


def test_alpha_by_one_step_or_by_two_gives_the_same_bits():
    """Many units take two steps at a time; few units, or an odd step, one at a time."""
    x, tau = a_signal((2, 33, 4 * loops.L1_UNITS + 5)), 0.03
    whole, last = kspike_ref.alpha(x, tau)
    state, parts = 0.0, []
    for t in range(33):
        y, state = kspike_ref.alpha(x[:, t : t + 1], tau, initial_level=state)
        parts.append(y)
    assert same_bits(np.concatenate(parts, axis=1), whole)
    assert same_bits(state, last)
    few, _ = kspike_ref.alpha(x[:, :, 3:10], tau)
    assert same_bits(few, np.ascontiguousarray(whole[:, :, 3:10]))


@pytest.mark.parametrize("function", FILTERS)
@settings(deadline=None, max_examples=20)
@given(now=st.integers(0, 29))
def test_causality(function, now):
    x = a_signal((2, 30, 6))
    changed = x.copy()
    changed[:, now:] = 777
    before, _ = function(x, 0.01)
    after, _ = function(changed, 0.01)
    np.testing.assert_array_equal(before[:, :now], after[:, :now])
    assert (before[:, now] != after[:, now]).all()  # the input acts in its own step


@pytest.mark.parametrize("function", FILTERS)
@settings(deadline=None, max_examples=30)
@given(a=st.floats(-100, 100), b=st.floats(-100, 100), tau=st.floats(1e-4, 10))
def test_linearity(function, a, b, tau):
    x, z = a_signal((2, 50, 3), np.float64, 1), a_signal((2, 50, 3), np.float64, 2)
    mixed, _ = function(a * x + b * z, tau)
    apart = a * function(x, tau)[0] + b * function(z, tau)[0]
    # Float64 roundings over 50 steps, relative to the size of the terms.
    np.testing.assert_allclose(mixed, apart, rtol=0, atol=1e-12 * (1 + abs(a) + abs(b)) * 1e3)


@pytest.mark.parametrize("function", FILTERS)
@settings(deadline=None, max_examples=30)
@given(scale=st.integers(-10, 10), tau=st.floats(1e-3, 1))
def test_only_the_ratio_of_dt_and_tau_counts(function, scale, tau):
    """A power of two does not change the bits of the ratio."""
    x = a_signal((1, 40, 2))
    expected, _ = function(x, tau, 0.001)
    np.testing.assert_array_equal(function(x, tau * 2.0**scale, 0.001 * 2.0**scale)[0], expected)


@pytest.mark.parametrize("function", FILTERS)
def test_a_constant_is_reached_and_kept(function):
    x = np.full((1, 2000, 3), 0.7, np.float32)
    y, _ = function(x, [0.001, 0.01, 0.05])
    np.testing.assert_array_equal(y[0, -1], np.float32(0.7))
    kept, _ = function(x, 0.05, initial_level=np.float32(0.7))
    np.testing.assert_array_equal(kept, x)


def test_state_keeps_what_float32_would_lose():
    """With τ = 1 s at 1 ms a float32 state is wrong by 1e-5 to 1e-4 after 10⁴ steps."""
    x = a_signal((1, 10_000, 1))
    for function in FILTERS:
        y, _ = function(x, 1.0)
        exact, _ = function(x.astype(np.float64), 1.0)
        assert np.abs(y - exact).max() < 1e-7 * np.abs(exact).max()


def test_alpha_state_is_the_output_and_its_slope():
    """An alpha filter is two lowpass filters, and τ·dy/dt is the first one minus the second."""
    x = a_signal((2, 50, 3), np.float64)
    y, state = kspike_ref.alpha(x, 0.01)
    assert state.shape == (2, 2, 3)
    np.testing.assert_array_equal(state[:, 0], y[:, -1])
    slope = kspike_ref.lowpass(x, 0.01)[1] - y[:, -1]
    # Float64 roundings of numbers up to 1000, over 50 steps.
    np.testing.assert_allclose(state[:, 1], slope, rtol=0, atol=1e-10)


@pytest.mark.parametrize("function", FILTERS)
def test_shapes_of_tau_and_level(function):
    x = a_signal((4, 9, 3, 2))
    rng = np.random.default_rng(0)
    tau, level = rng.uniform(0.01, 0.1, (3, 2)), rng.normal(size=(3, 2))
    expected, last = function(x, tau, initial_level=level)
    for tau_, level_ in [
        (tau[None], level[None]),
        (tau.tolist(), np.broadcast_to(level, (4, 3, 2))),
        (np.asfortranarray(tau), np.asfortranarray(level)),
    ]:
        y, state = function(x, tau_, initial_level=level_)
        assert same_bits(y, expected)
        assert same_bits(state, last)
    scalar, _ = function(x, 0.05, initial_level=2)
    full, _ = function(x, np.full((3, 2), 0.05), initial_level=np.full((4, 3, 2), 2.0))
    assert same_bits(scalar, full)


@pytest.mark.parametrize("function", FILTERS)
def test_level_and_tau_are_not_changed(function):
    level, tau = np.zeros((2, 3)), np.full(3, 0.1)
    _, state = function(np.ones((2, 5, 3)), tau, initial_level=level)
    assert not level.any()
    assert (tau == 0.1).all()
    again = state.copy()
    function(np.ones((2, 5, 3)), tau, initial_level=state)
    assert same_bits(state, again)


@pytest.mark.parametrize("function", FILTERS)
@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("shape", [(0, 5, 3), (2, 0, 3), (2, 5, 0), (0, 0), (2, 0), (1, 1, 0, 4)])
def test_empty_axes(function, shape, time_major):
    y, state = function(
        np.zeros(shape, np.float16), 0.1, initial_level=1.5, time_major=time_major,
        unit_axes=len(shape) - 2,
    )  # fmt: skip
    batch = shape[1 if time_major else 0]
    assert y.shape == shape
    assert y.dtype == np.float16
    if function is kspike_ref.lowpass:
        assert state.shape == (batch, *shape[2:])
        assert (state == 1.5).all() or y.size
    else:
        assert state.shape == (batch, 2, math.prod(shape[2:]))


@pytest.mark.parametrize("function", FILTERS)
def test_broadcast_time_axis_and_other_layouts(function):
    x = a_signal((4, 1, 6))
    for still in (np.broadcast_to(x, (4, 50, 6)), np.broadcast_to(x[:1], (4, 50, 6))):
        expected, last = function(still.copy(), 0.01)
        y, state = function(still, 0.01)
        assert same_bits(y, expected)
        assert same_bits(state, last)
        y, state = function(np.asfortranarray(still).swapaxes(0, 1), 0.01, time_major=True)
        assert same_bits(y.swapaxes(0, 1).copy(), expected)
        assert same_bits(state, last)


@pytest.mark.parametrize("case", range(8))
def test_golden(golden, case):
    """KerasSpiking computes in float32: within 1e-5 of the largest output.

    Its 1 − e·(1 + s), which is s²/2, has only three to four digits there: 1.2e-5 for one alpha.
    """
    config = json.loads((golden / "filters.json").read_text())[case]
    data = np.load(golden / "filters.npz")
    function = getattr(kspike_ref, config["layer"].lower())
    y, _ = function(data["x"], config["tau"], config["dt"], config["initial_level"])
    expected = data[f"case{case}_y"]
    assert np.abs(y - expected).max() < 2e-5 * np.abs(expected).max()


@pytest.mark.parametrize("dynamics", [LowpassDynamics, AlphaDynamics])
def test_trained_time_constants_are_clipped(dynamics):
    """Training may have moved them to zero or below: the filter then passes its input on."""
    filter_ = dynamics([-1.0, 0.0, 1e-9], 0.001)
    x, out = a_signal((2, 5, 3)), np.empty((2, 5, 3), np.float32)
    state = np.ones((2, 3) if dynamics is LowpassDynamics else (2, 2, 3))
    filter_.run(x, state, out)
    np.testing.assert_array_equal(out, x)


BAD = [
    ({"tau": -0.1}, ValueError, r"tau must be positive and finite\. Received: tau=-0\.1"),
    ({"tau": 0}, ValueError, r"tau must be positive and finite\. Received: tau=0\.0"),
    ({"tau": math.nan}, ValueError, r"tau must be positive and finite\. Received: tau=nan"),
    ({"tau": math.inf}, ValueError, r"tau must be positive and finite\. Received: tau=inf"),
    ({"tau": [0.1, -0.2, 0.1]}, ValueError, r"Received: tau=\[ 0\.1 -0\.2  0\.1\]"),
    (
        {"tau": [0.1, 0.1]},
        ValueError,
        r"tau must broadcast to the shape \(3,\)\. Received: tau\.shape=\(2,\)",
    ),
    ({"tau": np.ones((2, 3))}, ValueError, r"tau must broadcast .* tau\.shape=\(2, 3\)"),
    ({"tau": "a"}, TypeError, r"tau must hold real numbers .* Received: tau\.dtype=<U1"),
    ({"tau": 1j}, TypeError, r"tau must hold real numbers .* tau\.dtype=complex128"),
    ({"tau": None}, TypeError, r"tau must hold real numbers .* tau\.dtype=object"),
    ({"dt": 0}, ValueError, r"dt must be positive and finite\. Received: dt=0"),
    ({"dt": -1}, ValueError, r"dt must be positive and finite\. Received: dt=-1"),
    ({"dt": math.nan}, ValueError, r"dt must be positive and finite\. Received: dt=nan"),
    ({"dt": [1]}, TypeError, r"dt must be a real number of seconds\. Received: dt=\[1\]"),
    ({"time_major": None}, TypeError, r"time_major must be a bool\. Received: time_major=None"),
    ({"x": np.zeros(4)}, ValueError, r"x must have the shape .* Received: x\.shape=\(4,\)"),
    ({"x": np.zeros((2, 2), complex)}, TypeError, r"x must hold real .* x\.dtype=complex128"),
    ({"x": np.zeros((2, 2), object)}, TypeError, r"x must hold real .* x\.dtype=object"),
    (
        {"initial_level": np.zeros((4, 3))},
        ValueError,
        r"initial_level must broadcast to the shape \(2, 3\)\. "
        r"Received: initial_level\.shape=\(4, 3\)",
    ),
    ({"initial_level": math.nan}, ValueError, r"initial_level must be finite\. .*=nan"),
    ({"initial_level": np.zeros((3, 2, 3))}, ValueError, r"initial_level\.shape=\(3, 2, 3\)"),
    ({"initial_level": "a"}, TypeError, r"initial_level must hold real numbers"),
]


@pytest.mark.parametrize("function", FILTERS)
@pytest.mark.parametrize(("wrong", "error", "message"), BAD)
def test_bad_input(function, wrong, error, message):
    good = {"x": np.zeros((2, 5, 3), np.float32), "tau": 0.1}
    with pytest.raises(error, match=message):
        function(**(good | wrong))


def test_bad_alpha_state():
    state = np.zeros((2, 2, 3))
    state[1, 1, 2] = np.nan
    with pytest.raises(ValueError, match=r"initial_level must be finite"):
        kspike_ref.alpha(np.zeros((2, 5, 3)), 0.1, initial_level=state)


@pytest.mark.parametrize("shape", [(), (3,), (5, 7)])
def test_state_and_coefficients_start_at_a_cache_line(shape):
    values = np.asfortranarray(np.random.default_rng(0).normal(size=shape))
    copy = aligned(values)
    assert copy.ctypes.data % 64 == 0
    assert copy.flags.c_contiguous
    np.testing.assert_array_equal(copy, values)
    assert not np.shares_memory(copy, values)


@pytest.mark.parametrize("function", FILTERS)
def test_two_axes_are_refused_unless_asked_for(function):
    x = np.ones((100, 3))
    with pytest.raises(ValueError, match=r"x\[None\] for \(time, units\), or unit_axes=0"):
        function(x, 0.1)
    with pytest.raises(ValueError, match=r"x\[:, None\] for \(time, units\), or unit_axes=0"):
        function(x, 0.1, time_major=True)
    y, _ = function(x, 0.1, unit_axes=0)
    assert same_bits(y, function(x[..., None], 0.1)[0][..., 0])


@pytest.mark.parametrize("function", FILTERS)
def test_milliseconds_for_seconds_warn(function):
    with pytest.warns(UserWarning, match=r"both in seconds\..*tau=20 with.*20 ms pass tau=0.02"):
        function(np.ones((1, 2, 3)), 20)
    with pytest.warns(
        UserWarning, match=r"both in seconds\..*dt=1 with tau=0.1; for 1 ms.*dt=0.001"
    ):
        function(np.ones((1, 2, 3)), [0.1, 2, 3], dt=1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("function", FILTERS)
@pytest.mark.parametrize(("tau", "dt"), [(20, 1), (1, 1), (2.0, 0.001), (0.001, 0.5), (1e-8, 0.01)])
def test_time_constants_that_may_be_meant_do_not_warn(function, tau, dt):
    """Both in milliseconds give the right filter; seconds are long for a synapse, but possible."""
    function(np.ones((1, 2, 3)), tau, dt)
    function(np.ones((1, 2, 0)), np.ones(0), dt)
