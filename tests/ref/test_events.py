"""Tests of event-driven layers: the bits of the dense product, and operations counted by hand."""

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kspike_ref.kernels import convolve, matmul
from kspike_ref.kernels import events as loops
from kspike_ref.layers import events
from kspike_ref.layers.events import Activity, EventConvolution
from kspike_ref.running import threads
from kspike_ref.signals import frozen

pytestmark = pytest.mark.memory


def spikes(shape, density, dtype=np.float32, seed=0):
    """Return mostly zeros; the others are one to three spikes of either sign."""
    rng = np.random.default_rng(seed)
    height = rng.integers(1, 4, shape) * rng.choice([-1000.0, 1000.0], shape)
    return (height * (rng.random(shape) < density)).astype(dtype)


def geometry_of(spatial, size, stride, rate, padding):
    """Return kernel size, stride, dilation, padding before, and output size by Keras' rules."""
    reach = (size - 1) * rate + 1
    if padding == "valid":
        extent = (spatial - reach) // stride + 1
        return np.stack([size, stride, rate, 0 * size, extent]).astype(np.intp)
    extent = -(-spatial // stride)
    before = np.maximum(0, (extent - 1) * stride + reach - spatial) // 2
    if padding == "causal":
        before = reach - 1
    return np.stack([size, stride, rate, before, extent]).astype(np.intp)


def packed_of(weights, groups):
    """Return the packed matrix of each group, which dense and event-driven kernels read."""
    parts = np.split(weights.reshape(-1, weights.shape[-1]), groups, axis=1)
    return frozen(np.stack([matmul.pack(np.ascontiguousarray(part)) for part in parts]))


def convolution_of(weights, groups=1):
    """Return the event-driven convolution of weights (taps, channels of a group, all filters)."""
    taps, channels, filters = weights.shape
    return EventConvolution(packed_of(weights, groups), taps, channels, filters // groups)


def dense(x, geometry, packed, groups, bias):
    """Return the dense convolution of the same arrays."""
    out = np.tile(bias, (len(x), int(np.prod(geometry[4])), 1))
    convolve.convolve(frozen(x), geometry, packed, groups, out)
    return out


@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_convolution(data):
    rank = data.draw(st.integers(1, 3), "rank")
    dtype = data.draw(st.sampled_from([np.float32, np.float64]), "dtype")
    groups = data.draw(st.sampled_from([1, 1, 2, 3]), "groups")
    channels = groups * data.draw(st.sampled_from([1, 2, 5, 31, 32, 40, 65]), "channels of a group")
    filters = groups * data.draw(st.sampled_from([1, 2, 8, 16, 17, 33, 70]), "filters of a group")
    axes = [np.ones(3, int) for _ in range(4)]
    for i in range(3 - rank, 3):
        axes[1][i] = data.draw(st.integers(1, 3), "size")
        axes[2][i] = data.draw(st.integers(1, 3), "stride")
        axes[3][i] = data.draw(st.integers(1, 3), "dilation")
        axes[0][i] = (axes[1][i] - 1) * axes[3][i] + data.draw(st.integers(1, 5), "room")
    padding = data.draw(st.sampled_from(["valid", "same", "causal"]), "padding")
    geometry = geometry_of(*axes, padding)
    density = data.draw(st.sampled_from([0.0, 0.05, 0.3, 1.0]), "density")
    x = spikes((data.draw(st.integers(0, 3), "batch"), *axes[0], channels), density, dtype)
    rng = np.random.default_rng(1)
    taps = int(np.prod(axes[1]))
    weights = rng.normal(size=(taps, channels // groups, filters)).astype(dtype)
    packed = packed_of(weights, groups)
    bias = rng.normal(size=filters).astype(dtype)

    convolution = convolution_of(weights, groups)
    activity = convolution.activity(x, geometry)
    out = np.empty((len(x), int(np.prod(geometry[4])), filters), dtype)
    done = convolution.convolve(x, geometry, bias, out, activity.synops)

    expected, synops = naive.convolve(x, weights, geometry, groups)
    assert activity == Activity(x.size, np.count_nonzero(x), synops)
    assert done == synops
    # Terms of 3000 times normal random numbers, each rounded once.
    terms = taps * channels // groups
    scale = 3000 * np.finfo(dtype).eps * terms
    np.testing.assert_allclose(out, expected + bias, rtol=1e-5, atol=scale)
    np.testing.assert_array_equal(out, dense(x, geometry, packed, groups, bias))


@pytest.mark.parametrize("batch", [1, 2, 9])
@pytest.mark.parametrize("filters", [20, 64, 100])
def testthreads_share_examples_or_lines(monkeypatch, batch, filters):
    monkeypatch.setattr(threads, "_CORES", 4)
    monkeypatch.setattr(threads, "WORTH_THREADS", 1)
    x = spikes((batch, 1, 12, 12, 8), 0.2)
    geometry = geometry_of(
        *(np.array(v) for v in ([1, 12, 12], [1, 3, 3], [1, 1, 1], [1, 1, 1])), "same"
    )
    weights = np.random.default_rng(1).normal(size=(9, 8, filters)).astype(np.float32)
    packed = packed_of(weights, 1)
    convolution = convolution_of(weights)
    out = np.empty((batch, 144, filters), np.float32)
    done = convolution.convolve(x, geometry, 0, out, 10**9)
    assert done == convolution.activity(x, geometry).synops
    zeros = np.zeros(filters, np.float32)
    np.testing.assert_array_equal(out, dense(x, geometry, packed, 1, zeros))


@pytest.mark.parametrize("size", [0, 5, 31, 32, 33, 70, 100])
def test_events_are_those_of_numpy(size):
    for seed in range(5):
        x = spikes((size,), 0.4, seed=seed)
        assert loops.count(frozen(x)) == np.count_nonzero(x)


def test_not_a_number_is_an_event():
    x = np.array([0.0, np.nan, -0.0, np.inf, 1e-45], np.float32)
    assert loops.count(frozen(x)) == 3


def test_dense_product_of_events():
    """The same bits as the dense product, and as many operations as events."""
    for columns in (1, 10, 16, 33, 128):
        x = spikes((20, 50), 0.1, seed=columns)
        kernel = np.random.default_rng(0).normal(size=(50, columns)).astype(np.float32)
        packed = frozen(matmul.pack(kernel))
        by_events, product = (np.ones((20, columns), np.float32) for _ in range(2))
        count = matmul.multiply_events(frozen(x), packed, by_events)
        matmul.multiply(frozen(x), packed, product)
        assert count == np.count_nonzero(x)
        np.testing.assert_array_equal(by_events, product)


def test_the_choice_follows_the_density():
    size = 100 * 1024
    limit = events.dense_limit(size, 256)
    assert [int(size * density) < limit for density in (0.0, 0.01, 0.9, 1.0)] == [
        True, True, False, False,
    ]  # fmt: skip
    # Ten columns are computed together: listing events soon costs more than multiplying zeros.
    assert 0 < events.dense_limit(size, 10) < size // 10
    weights = np.zeros((9, 32, 64), np.float32)
    convolution = convolution_of(weights)
    size = 28 * 28 * 32
    geometry = np.array([[1, 3, 3], [1, 1, 1], [1, 1, 1], [0, 1, 1], [1, 28, 28]], np.intp)
    chosen = [
        convolution.pays(Activity(size, n, n * 9 * 64), geometry, 1)
        for n in (0, size // 50, size * 9 // 10, size)
    ]
    assert chosen == [True, True, False, False]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 31, 32, 70])
def test_lists_of_events(channels, dtype):
    """The lists are ordered by position; NaN is an event, and −0 is not."""
    x = spikes((7, 2, channels), 0.3, dtype)
    x[1, 0, 0], x[2, 0, 0] = np.nan, -0.0
    starts, index = np.empty(8, np.intp), np.empty(7 * channels, np.intp)
    values = np.empty(7 * channels, dtype)
    for group in range(2):
        sizes = (channels, 2 * channels, 3 * channels)
        flat = frozen(x.reshape(-1))
        loops.list_events(flat, group * channels, 7, sizes, starts, index, values)
        own = x[:, group]
        position, channel = np.nonzero(own)
        count = starts[-1]
        np.testing.assert_array_equal(starts, np.append(0, np.cumsum((own != 0).sum(axis=1))))
        np.testing.assert_array_equal(index[:count], position % 3 * channels + channel)
        np.testing.assert_array_equal(values[:count], own[own != 0])
        flat = frozen(np.ascontiguousarray(own).reshape(-1))
        assert loops.count_between(flat, 1, flat.size) == np.count_nonzero(flat[1:])


@pytest.mark.parametrize("size", [0, 5, 32, 120])
def test_count(size):
    x = spikes((size,), 0.3)
    assert loops.count(frozen(x)) == np.count_nonzero(x)
