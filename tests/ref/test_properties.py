"""Tests of properties: causality, chunks, batches, linearity, time, conservation."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from archives import dense, input_layer, layer, sequential
from hypothesis import given, settings
from hypothesis import strategies as st
from unsaved import unsaved

import kspike_ref

pytestmark = pytest.mark.filterwarnings("ignore:.* in seconds:UserWarning")  # large dt are intended

MANY = settings(max_examples=200, deadline=None, database=None, derandomize=True)
SOME = settings(max_examples=40, deadline=None, database=None, derandomize=True)
SECONDS = [1e-4, 0.001, 0.005, 0.01, 0.1]


@st.composite
def signals(draw, largest=1e4):
    """Draw ``(batch, time, units)`` signals: small, large, sparse, negative, or all zero."""
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 24), st.integers(1, 9)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = rng.normal(size=shape) * draw(st.sampled_from([1e-3, 1, 50, largest]))
    x *= rng.random(shape) < draw(st.sampled_from([0.05, 0.5, 1]))
    x = np.abs(x) if draw(st.booleans()) else x
    return x.astype(draw(st.sampled_from([np.float32, np.float64])))


dts, taus = st.sampled_from(SECONDS), st.sampled_from([1e-8, 1e-3, 0.02, 1.0, 1e4])


def spike(x, state=None, dt=0.001, tau=None):
    start = {"seed": 1} if state is None else {"initial_voltage": state}
    return kspike_ref.spiking_activation(x, dt=dt, **start)


def low(x, state=0.0, dt=0.001, tau=0.02):
    return kspike_ref.lowpass(x, tau, dt=dt, initial_level=0.0 if state is None else state)


def alpha(x, state=None, dt=0.001, tau=0.02):
    return kspike_ref.alpha(x, tau, dt=dt, initial_level=0.0 if state is None else state)


LOOPS = {"spiking_activation": spike, "lowpass": low, "alpha": alpha}
FILTERS = {"lowpass": low, "alpha": alpha}


@pytest.fixture(params=LOOPS, scope="module")
def loop(request):
    return LOOPS[request.param]


@pytest.fixture(params=FILTERS, scope="module")
def filtered(request):
    return FILTERS[request.param]


def same(one, other):
    assert one.shape == other.shape
    assert one.dtype == other.dtype
    assert one.tobytes() == other.tobytes()


# --- Causality, chunking, batches


@MANY
@given(x=signals(), dt=dts, tau=taus, data=st.data())
def test_no_output_depends_on_a_later_input(loop, x, dt, tau, data):
    t = data.draw(st.integers(0, x.shape[1]))
    other = x.copy()
    other[:, t:] = data.draw(st.sampled_from([0, -7, 1e5, np.inf, np.nan]))
    same(loop(other, dt=dt, tau=tau)[0][:, :t], loop(x, dt=dt, tau=tau)[0][:, :t])


@MANY
@given(x=signals(), dt=dts, tau=taus, data=st.data())
def test_chunks_of_time_make_no_difference(loop, x, dt, tau, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, x.shape[1]), max_size=5)))
    state, parts = None, []
    for part in np.split(x, cuts, axis=1):
        y, state = loop(part, state, dt, tau)
        parts.append(y)
    whole, last = loop(x, None, dt, tau)
    same(np.concatenate(parts, axis=1), whole)
    same(state, last)


@MANY
@given(x=signals(), dt=dts, tau=taus, data=st.data())
def test_examples_do_not_depend_on_their_batch(loop, x, dt, tau, data):
    rows = data.draw(st.lists(st.integers(0, len(x) - 1), min_size=1, max_size=6))
    y, state = loop(x[rows], dt=dt, tau=tau)
    whole, last = loop(x, dt=dt, tau=tau)
    same(y, whole[rows])
    same(state, last[rows])


@MANY
@given(x=signals(), dt=dts, tau=taus, data=st.data())
def test_units_do_not_depend_on_others(filtered, x, dt, tau, data):
    units = data.draw(st.lists(st.integers(0, x.shape[2] - 1), min_size=1, max_size=6))
    same(filtered(x[..., units], dt=dt, tau=tau)[0], filtered(x, dt=dt, tau=tau)[0][..., units])


# --- Filters


@MANY
@given(x=signals(), dt=dts, tau=taus, a=st.floats(-3, 3), b=st.floats(-3, 3))
def test_filters_are_linear(filtered, x, dt, tau, a, b):
    x = x.astype(np.float64)
    other = np.random.default_rng(0).normal(size=x.shape) * 30
    both = filtered(a * x + b * other, dt=dt, tau=tau)[0]
    apart = a * filtered(x, dt=dt, tau=tau)[0] + b * filtered(other, dt=dt, tau=tau)[0]
    largest = np.abs(a * x).max() + np.abs(b * other).max()
    # The state is float64, and its errors do not grow: 24 steps of a few roundings each.
    np.testing.assert_allclose(both, apart, rtol=0, atol=1e-13 * largest + 1e-300)


@MANY
@given(x=signals(), dt=dts, tau=taus, k=st.sampled_from([-1, 0.5, 2, 2**10]))
def test_filters_scale_exactly_by_powers_of_two(filtered, x, dt, tau, k):
    y, scaled = (filtered(x * x.dtype.type(by), dt=dt, tau=tau)[0] for by in (1, k))
    subnormal = np.finfo(x.dtype).tiny * max(1, k)
    np.testing.assert_allclose(scaled, y * x.dtype.type(k), rtol=0, atol=subnormal)


@MANY
@given(x=signals(), dt=dts, tau=taus)
def test_filters_do_not_overshoot(filtered, x, dt, tau):
    """Both kernels are positive and integrate to one, so the output stays within the inputs."""
    y = filtered(x, dt=dt, tau=tau)[0]
    slack = 1e-6 * np.abs(x).max()
    assert y.max() <= max(0, x.max()) + slack
    assert y.min() >= min(0, x.min()) - slack


# --- Time


@MANY
@given(x=signals(), dt=dts, tau=taus, k=st.sampled_from([2.0**-7, 0.5, 2.0, 64.0]))
def test_only_the_ratio_of_times_matters(filtered, x, dt, tau, k):
    tau = max(tau, 1e-5)  # above the shortest possible one
    same(filtered(x, dt=dt * k, tau=tau * k)[0], filtered(x, dt=dt, tau=tau)[0])


@MANY
@given(x=signals(), dt=dts, k=st.sampled_from([2.0**-7, 0.5, 2.0, 64.0]))
def test_spikes_depend_on_rate_times_dt_alone(x, dt, k):
    rates = np.round(x * 256) / 256
    y, v = spike(rates, dt=dt)
    scaled, last = spike((rates / k).astype(x.dtype), dt=dt * k)
    same(last, v)
    np.testing.assert_array_equal(scaled * x.dtype.type(k), y)


# --- Conservation


@MANY
@given(x=signals(), dt=dts, seed=st.one_of(st.none(), st.integers(0, 2**64 - 1)))
def test_spikes_are_within_one_of_the_integral_of_rates(x, dt, seed):
    """At every step, computed in exact fractions; an increment's rounding is 2⁻³³ at most."""
    y, _ = kspike_ref.spiking_activation(x, dt=dt, seed=seed)
    seconds = Fraction(float(np.float32(dt)) if x.dtype == np.float32 else dt)
    counts = np.rint(y.astype(np.float64) * float(seconds)).astype(np.int64)
    height = x.dtype.type(1 / float(seconds))
    np.testing.assert_array_equal(y, counts.astype(x.dtype) * height)
    for row, unit in np.ndindex(len(x), x.shape[2]):
        integral, spikes = Fraction(0), 0
        for t in range(x.shape[1]):
            integral += Fraction(float(x[row, t, unit])) * seconds
            spikes += int(counts[row, t, unit])
            assert abs(spikes - integral) < 1 + Fraction(t + 1, 2**33)


@MANY
@given(x=signals(), dt=dts)
def test_voltages_stay_within_one_spike(x, dt):
    _, v = spike(x, dt=dt)
    assert np.all((v >= 0) & (v < 1))
    assert np.all(v * 2.0**32 == np.rint(v * 2.0**32))  # on the grid


# --- Models


@pytest.fixture(scope="module", params=["spiking", "recurrent", "filters"])
def model(request):
    inner = {
        "spiking": [
            layer("SpikingActivation", "a", "kspike_tf", activation="relu", seed=1, dt=0.01),
            layer("Lowpass", "b", "kspike_tf", dt=0.01),
        ],
        "recurrent": [
            layer("LSTM", "a", units=5, return_sequences=True),
            layer("GRU", "b", units=3, return_sequences=True, reset_after=True),
        ],
        "filters": [
            layer("Alpha", "a", "kspike_tf", dt=0.01),
            layer("SimpleRNN", "b", units=4, return_sequences=True),
        ],
    }[request.param]
    return unsaved(sequential(input_layer(None, 6), dense("d", 7, "relu"), *inner))


def inputs(data):
    shape = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 12)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    return (rng.normal(size=(*shape, 6)) * data.draw(st.sampled_from([1, 40]))).astype(np.float32)


@SOME
@given(data=st.data())
def test_models_are_causal(model, data):
    x = inputs(data)
    t = data.draw(st.integers(1, x.shape[1]))
    other = x.copy()
    other[:, t:] = -1000
    same(model.predict(other)[:, :t], model.predict(x)[:, :t])
    same(model.predict(x[:, :t]), model.predict(x)[:, :t])


@SOME
@given(data=st.data())
def test_models_do_not_depend_on_batches_or_steps(model, data):
    x = inputs(data)
    rows = data.draw(st.permutations(range(len(x))))
    size = data.draw(st.integers(1, 6))
    whole = model.predict(x)
    same(model.predict(x[rows], batch_size=size), whole[rows])
    state, steps = model.initial_state(len(x)), []
    for t in range(x.shape[1]):
        y, state = model.step(x[:, t], state)
        steps.append(y)
    same(np.stack(steps, axis=1), whole)
