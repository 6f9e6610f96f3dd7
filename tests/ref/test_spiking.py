"""Tests of spikes, bit for bit against an obvious time loop, in all layouts, types and chunks."""

import json
import math

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kspike_ref
from kspike_ref.kernels import time as loops
from kspike_ref.spiking import SpikingDynamics

pytestmark = pytest.mark.memory

DTS = [0.001, 0.0007, 0.003, 1 / 30]
DTYPES = [np.float16, np.float32, np.float64]


def some_rates(shape, dtype=np.float32, seed=0):
    """Return rates from −500 to 2,000 Hz."""
    return np.random.default_rng(seed).uniform(-500, 2000, shape).astype(dtype)


def same_bits(a, b):
    """Return whether two arrays have equal values, type and shape, and equal signs of zero."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dt", DTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("units", [(), (5,), (3, 2), (2, 3, 4)])
def test_equals_the_naive_loop(dtype, dt, units):
    rates = some_rates((4, 60, *units), dtype)
    v0 = kspike_ref.initial_voltage((4, *units), 1)
    spikes, voltage = kspike_ref.spiking_activation(rates, dt, v0, unit_axes=len(units))
    expected, last = naive.spiking(rates, dt, v0)
    assert same_bits(spikes, expected)
    assert same_bits(voltage, last)
    assert np.unique(np.round(spikes.astype(float) * dt)).size > 2  # several spikes, negative ones


def test_equals_the_naive_loop_with_hundreds_of_spikes_in_a_step():
    rates = some_rates((2, 50, 40)) * 300
    v0 = np.zeros((2, 40))
    spikes, voltage = kspike_ref.spiking_activation(rates, 0.001, v0)
    expected, last = naive.spiking(rates, 0.001, v0)
    assert spikes.max() * 0.001 > 500
    assert same_bits(spikes, expected)
    assert same_bits(voltage, last)


@pytest.mark.parametrize(
    "shape", [(64, 40, 100), (1, 40, 9000), (3, 40, 5001), (40, 1, 9000), (2, 2, 70_000)]
)
def test_equals_the_naive_loop_where_threads_share_the_work(shape):
    rates = some_rates(shape)
    v0 = kspike_ref.initial_voltage(shape[2:], 3)
    spikes, voltage = kspike_ref.spiking_activation(rates, seed=3)
    expected, last = naive.spiking(rates, 0.001, np.broadcast_to(v0, (shape[0], shape[2])))
    assert same_bits(spikes, expected)
    assert same_bits(voltage, last)
    spikes, voltage = kspike_ref.spiking_activation(rates.swapaxes(0, 1), seed=3, time_major=True)
    assert same_bits(np.ascontiguousarray(spikes.swapaxes(0, 1)), expected)
    assert same_bits(voltage, last)


def test_kernel_without_the_jit():
    rates, out, voltage = some_rates((2, 9, 5)), np.empty((2, 9, 5), np.float32), np.zeros((2, 5))
    dynamics = SpikingDynamics(0.001)
    gain, height, region = dynamics.gain, dynamics.height, (0, 2, 0, 5)
    loops.spike_loop.py_func(rates, gain, height, False, region, voltage, out)
    expected, last = naive.spiking(rates, 0.001, np.zeros((2, 5)))
    assert same_bits(out, expected)
    assert same_bits(voltage, last)


def test_half_precision_is_not_lost():
    """A float16 voltage would never reach 1 at this rate."""
    spikes, _ = kspike_ref.spiking_activation(
        np.full((1, 100_000, 1), 0.1, np.float16), 0.001, initial_voltage=0.0
    )
    # float16(0.1) is 0.09998 Hz: 9.998 spikes in 100 s.
    assert np.count_nonzero(spikes) == 9


@settings(deadline=None, max_examples=40)
@given(
    rate=st.floats(-500, 2000, width=32),
    v0=st.integers(0, 2**32 - 1),
    steps=st.integers(0, 3000),
    dt=st.sampled_from(DTS),
)
def test_count_is_exact(rate, v0, steps, dt):
    """After T steps there have been floor(v0 + T·q) spikes, in integers."""
    spikes, voltage = kspike_ref.spiking_activation(
        np.full((1, steps, 1), rate, np.float32), dt, initial_voltage=v0 * 2.0**-32
    )
    seconds = float(np.float32(dt))
    q = int(np.rint(np.float64(np.float32(rate)) * (seconds * 2.0**32)))
    count, rest = divmod(v0 + steps * q, 2**32)
    height = np.float32(1 / seconds)
    assert int(np.rint(spikes.astype(np.float64) / height).sum()) == count
    assert voltage[0, 0] == rest * 2.0**-32


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_any_chunking_gives_the_same_bits(data):
    steps = data.draw(st.integers(1, 40))
    dtype = data.draw(st.sampled_from(DTYPES))
    time_major = data.draw(st.booleans())
    cuts = sorted(data.draw(st.lists(st.integers(0, steps), max_size=5)))
    rates = some_rates((steps, 3, 7) if time_major else (3, steps, 7), dtype, seed=steps)
    axis = 0 if time_major else 1
    whole, last = kspike_ref.spiking_activation(rates, seed=5, time_major=time_major)
    voltage = kspike_ref.initial_voltage(7, 5)
    parts = []
    for part in np.split(rates, cuts, axis=axis):
        spikes, voltage = kspike_ref.spiking_activation(
            part, initial_voltage=voltage, time_major=time_major
        )
        parts.append(spikes)
    assert same_bits(np.concatenate(parts, axis=axis), whole)
    assert same_bits(np.broadcast_to(voltage, (3, 7)).copy(), last)


@settings(deadline=None, max_examples=25)
@given(now=st.integers(0, 29), seed=st.integers(0, 2**64 - 1))
def test_causality(now, seed):
    rates = some_rates((2, 30, 6))
    changed = rates.copy()
    changed[:, now:] = 777
    before, _ = kspike_ref.spiking_activation(rates, seed=seed)
    after, _ = kspike_ref.spiking_activation(changed, seed=seed)
    np.testing.assert_array_equal(before[:, :now], after[:, :now])


def test_voltage_stays_on_the_grid_in_the_unit_interval():
    _, voltage = kspike_ref.spiking_activation(some_rates((8, 500, 30)))
    ticks = voltage * 2.0**32
    np.testing.assert_array_equal(ticks, np.round(ticks))
    assert voltage.min() >= 0
    assert voltage.max() < 1


def test_given_voltage_is_rounded_to_the_grid_and_not_changed():
    v0 = np.array([0.1, 0.3])
    _, voltage = kspike_ref.spiking_activation(np.zeros((1, 3, 2)), initial_voltage=v0)
    np.testing.assert_array_equal(voltage[0], np.rint(v0 * 2**32) / 2**32)
    np.testing.assert_array_equal(v0, [0.1, 0.3])


def test_voltage_of_units_is_shared_and_of_examples_is_not():
    rates = some_rates((3, 20, 4))
    v0 = kspike_ref.initial_voltage((3, 4), 0)
    for given_, full in [
        (v0[0], np.tile(v0[0], (3, 1))),
        (v0[:1], np.tile(v0[0], (3, 1))),
        (v0,) * 2,
    ]:
        spikes, _ = kspike_ref.spiking_activation(rates, initial_voltage=given_)
        assert same_bits(spikes, naive.spiking(rates, 0.001, full)[0])


def test_seed_does_not_depend_on_the_batch():
    rates = some_rates((5, 30, 6))
    whole, _ = kspike_ref.spiking_activation(rates, seed=9)
    alone, _ = kspike_ref.spiking_activation(rates[3:4], seed=9)
    assert same_bits(whole[3:4], alone)


def test_no_seed_draws_for_each_example_and_each_call():
    rates = np.zeros((3, 1, 50))
    first = kspike_ref.spiking_activation(rates)[1]
    second = kspike_ref.spiking_activation(rates)[1]
    drawn = np.concatenate([first, second])
    assert np.unique(drawn).size == drawn.size
    assert 0.35 < drawn.mean() < 0.65  # six standard deviations of the mean of 300


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("shape", [(0, 5, 3), (2, 0, 3), (2, 5, 0), (0, 0), (2, 0), (1, 1, 0, 4)])
def test_empty_axes(shape, time_major):
    spikes, voltage = kspike_ref.spiking_activation(
        np.zeros(shape, np.float16), seed=0, time_major=time_major, unit_axes=len(shape) - 2
    )
    assert spikes.shape == shape
    assert spikes.dtype == np.float16
    assert voltage.shape == (shape[1 if time_major else 0], *shape[2:])


def test_no_steps_leave_the_voltage():
    v0 = kspike_ref.initial_voltage(3, 0)
    _, voltage = kspike_ref.spiking_activation(np.zeros((2, 0, 3)), initial_voltage=v0)
    np.testing.assert_array_equal(voltage, [v0, v0])


def test_broadcast_time_axis():
    still = some_rates((4, 1, 6))
    for rates in (np.broadcast_to(still, (4, 50, 6)), np.broadcast_to(still[:1], (4, 50, 6))):
        spikes, voltage = kspike_ref.spiking_activation(rates, seed=2)
        expected, last = kspike_ref.spiking_activation(rates.copy(), seed=2)
        assert same_bits(spikes, expected)
        assert same_bits(voltage, last)
        turned, _ = kspike_ref.spiking_activation(rates.swapaxes(0, 1), seed=2, time_major=True)
        assert same_bits(turned.swapaxes(0, 1).copy(), expected)


def test_layouts_in_memory():
    rates = some_rates((6, 20, 8))
    expected = kspike_ref.spiking_activation(rates, seed=1)[0]
    shifted = np.frombuffer(b"\0" + rates.tobytes(), np.uint8)[1:].view(np.float32)
    assert not shifted.flags.aligned
    for other in (
        np.asfortranarray(rates),
        np.repeat(rates, 2, axis=2)[..., ::2],
        rates[:, ::-1][:, ::-1],
        rates.astype(">f4"),
        shifted.reshape(rates.shape),
    ):
        assert same_bits(kspike_ref.spiking_activation(other, seed=1)[0], expected)


def test_input_is_not_changed_and_output_is_new():
    rates = some_rates((2, 3, 4))
    kept = rates.copy()
    spikes, _ = kspike_ref.spiking_activation(rates)
    np.testing.assert_array_equal(rates, kept)
    assert not np.shares_memory(spikes, rates)
    assert spikes.flags.writeable


@pytest.mark.parametrize(
    ("given_", "dtype"),
    [
        (np.ones((1, 4), bool), np.float32),
        (np.full((1, 4), 250, np.int16), np.float32),
        (np.full((1, 4), 250, np.uint32), np.float64),
        ([[250, 250, 250, 250]], np.float64),
        ([[250.0, 250.0, 250.0, 250.0]], np.float64),
    ],
)
def test_integers_become_floats(given_, dtype):
    spikes, _ = kspike_ref.spiking_activation(given_, initial_voltage=0.0, unit_axes=0)
    assert spikes.dtype == dtype


def test_rates_that_are_not_finite_stay_in_their_neuron():
    rates = np.full((1, 4, 3), 250.0)
    rates[0, 1, 1] = np.nan
    rates[0, 1, 2] = np.inf
    spikes, voltage = kspike_ref.spiking_activation(rates, initial_voltage=0.0)
    np.testing.assert_array_equal(spikes[0, :, 0], [0, 0, 0, 1000])
    assert np.isnan(voltage[0, 1:]).all()


@pytest.mark.parametrize("case", range(5))
def test_golden(golden, case):
    """KerasSpiking accumulates in float32: a spike may move by a step, so counts differ by one."""
    config = json.loads((golden / "spiking.json").read_text())[case]
    data = np.load(golden / "spiking.npz")
    base = {"linear": lambda x: x, "relu": lambda x: np.maximum(x, 0), "tanh": np.tanh}
    rates = base[config["activation"]](data["x"] * np.float32(config["input_scale"]))
    if config["training"] and not config["spiking_aware_training"]:
        np.testing.assert_allclose(data[f"case{case}_y"], rates, rtol=1e-6)
        return
    spikes, voltage = kspike_ref.spiking_activation(rates, config["dt"], data["voltage"])
    ours = np.cumsum(spikes * config["dt"], axis=1)
    theirs = np.cumsum(data[f"case{case}_y"] * config["dt"], axis=1)
    assert np.abs(ours - theirs).max() < 1.01
    # The integral, spikes and voltage, is the same up to 60 roundings in float32.
    np.testing.assert_allclose(
        ours[:, -1] + voltage, theirs[:, -1] + data[f"case{case}_voltage"], atol=1e-4
    )


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**64 - 1), size=st.integers(0, 21))
def test_initial_voltage_is_philox(seed, size):
    words = []
    for counter in range(math.ceil(size / 4)):
        words += naive.philox([counter, 0, 0, 0], [seed % 2**32, seed >> 32])
    expected = np.array(words[:size], np.float64) * 2.0**-32
    np.testing.assert_array_equal(kspike_ref.initial_voltage(size, seed), expected)


def test_initial_voltage_known_answer():
    """The first line of Random123's kat_vectors for philox4x32-10: counter and key 0."""
    words = [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    drawn = kspike_ref.initial_voltage((2, 2), 0)
    np.testing.assert_array_equal(drawn.reshape(-1) * 2**32, words)
    assert drawn.dtype == np.float64


@pytest.mark.parametrize("shape", [(), 7, (3,), [2, 5], (0, 4), np.array([2, 2])])
def test_initial_voltage_shapes(shape):
    axes = (shape,) if isinstance(shape, int) else tuple(shape)
    assert kspike_ref.initial_voltage(shape, np.uint8(3)).shape == axes


GOOD = np.zeros((2, 5, 3), np.float32)
BAD = [
    ({"dt": 0.0}, ValueError, r"dt must be positive and finite\. Received: dt=0\.0"),
    ({"dt": -0.001}, ValueError, r"dt must be positive and finite\. Received: dt=-0\.001"),
    ({"dt": math.nan}, ValueError, r"dt must be positive .* Received: dt=nan"),
    ({"dt": math.inf}, ValueError, r"dt must be positive .* Received: dt=inf"),
    ({"dt": 1e-40}, ValueError, r"dt must be a normal number in float32.* Received: dt=1e-40"),
    ({"dt": 1e40}, ValueError, r"dt must be a normal number in float32.* Received: dt=1e\+40"),
    ({"dt": "1"}, TypeError, r"dt must be a real number of seconds\. Received: dt='1'"),
    ({"dt": None}, TypeError, r"dt must be a real number of seconds\. Received: dt=None"),
    ({"dt": True}, TypeError, r"dt must be a real number of seconds\. Received: dt=True"),
    ({"dt": 1j}, TypeError, r"dt must be a real number .* Received: dt=1j"),
    ({"dt": [0.1]}, TypeError, r"dt must be a real number .* Received: dt=\[0\.1\]"),
    ({"seed": 1.0}, TypeError, r"seed must be an integer\. Received: seed=1\.0"),
    ({"seed": True}, TypeError, r"seed must be an integer\. Received: seed=True"),
    ({"seed": "a"}, TypeError, r"seed must be an integer\. Received: seed='a'"),
    ({"seed": -1}, ValueError, r"seed must be from 0 to 2\*\*64 - 1\. Received: seed=-1"),
    ({"seed": 2**64}, ValueError, r"seed must be .* Received: seed=18446744073709551616"),
    (
        {"seed": 1, "initial_voltage": 0.0},
        ValueError,
        r"seed must be None if initial_voltage is given\. Received: seed=1",
    ),
    (
        {"initial_voltage": np.zeros((3, 3))},
        ValueError,
        r"initial_voltage must broadcast to the shape \(2, 3\)\. "
        r"Received: initial_voltage\.shape=\(3, 3\)",
    ),
    (
        {"initial_voltage": np.zeros((1, 1, 2, 3))},
        ValueError,
        r"initial_voltage must broadcast .* Received: initial_voltage\.shape=\(1, 1, 2, 3\)",
    ),
    (
        {"initial_voltage": math.nan},
        ValueError,
        r"initial_voltage must be finite\. Received: initial_voltage=nan",
    ),
    (
        {"initial_voltage": [0, math.inf, 0]},
        ValueError,
        r"initial_voltage must be finite\. Received: initial_voltage=\[ 0\. inf  0\.\]",
    ),
    (
        {"initial_voltage": "a"},
        TypeError,
        r"initial_voltage must hold real numbers .* Received: initial_voltage\.dtype=<U1",
    ),
    ({"time_major": 1}, TypeError, r"time_major must be a bool\. Received: time_major=1"),
    (
        {"rates": np.zeros(3)},
        ValueError,
        r"rates must have the shape \(batch, time, \*units\)\. Received: rates\.shape=\(3,\)",
    ),
    (
        {"rates": np.zeros(3), "time_major": True},
        ValueError,
        r"rates must have the shape \(time, batch, \*units\)\. Received: rates\.shape=\(3,\)",
    ),
    ({"rates": 1.0}, ValueError, r"rates must have the shape .* Received: rates\.shape=\(\)"),
    (
        {"rates": np.zeros((1, 2), complex)},
        TypeError,
        r"rates must hold real numbers .* Received: rates\.dtype=complex128",
    ),
    ({"rates": np.zeros((1, 2), object)}, TypeError, r"Received: rates\.dtype=object"),
    ({"rates": [[1.0], [1.0, 2.0]]}, ValueError, r"rates must be an array of numbers\. Received"),
    ({"rates": None}, TypeError, r"Received: rates\.dtype=object"),
]


@pytest.mark.parametrize(("wrong", "error", "message"), BAD)
def test_bad_input(wrong, error, message):
    with pytest.raises(error, match=message):
        kspike_ref.spiking_activation(**({"rates": GOOD} | wrong))


@pytest.mark.parametrize(
    ("shape", "seed", "error", "message"),
    [
        (3, None, TypeError, r"seed must be an integer\. Received: seed=None"),
        (3, 0.5, TypeError, r"seed must be an integer\. Received: seed=0\.5"),
        (3, -7, ValueError, r"seed must be from 0 .* Received: seed=-7"),
        (
            (2, -1),
            0,
            ValueError,
            r"shape must not hold negative lengths\. Received: shape=\(2, -1\)",
        ),
        ((2, 1.5), 0, TypeError, r"shape must hold integers\. Received: shape=\(2, 1\.5\)"),
        ("ab", 0, TypeError, r"shape must hold integers\. Received: shape='ab'"),
        (None, 0, TypeError, r"shape must hold integers\. Received: shape=None"),
        (True, 0, TypeError, r"shape must hold integers\. Received: shape=True"),
    ],
)
def test_bad_input_of_initial_voltage(shape, seed, error, message):
    with pytest.raises(error, match=message):
        kspike_ref.initial_voltage(shape, seed)


@pytest.mark.parametrize("time_major", [False, True])
def test_two_axes_are_refused_unless_asked_for(time_major):
    """Without its batch axis, (time, units) would be read as (batch, time)."""
    rates = np.full((1000, 3), 20.0)
    hint = r"rates\[:, None\] for" if time_major else r"rates\[None\] for"
    axes = r"\(time, batch\)" if time_major else r"\(batch, time\)"
    with pytest.raises(ValueError, match=f"{hint} .time, units., or unit_axes=0 for {axes} with"):
        kspike_ref.spiking_activation(rates, time_major=time_major)
    batched = rates[:, None] if time_major else rates[None]
    spikes, _ = kspike_ref.spiking_activation(batched, seed=0, time_major=time_major)
    assert np.count_nonzero(spikes) == 60
    without = np.full((4, 5), 20.0)
    spikes, voltage = kspike_ref.spiking_activation(
        without, seed=0, time_major=time_major, unit_axes=0
    )
    assert (spikes.shape, voltage.shape) == ((4, 5), (5,) if time_major else (4,))


def test_unit_axes_are_checked():
    with pytest.raises(
        ValueError, match=r"\(batch, time, units\)\. Received: rates\.shape=\(2, 3\)"
    ):
        kspike_ref.spiking_activation(np.ones((2, 3)), unit_axes=1)
    with pytest.raises(ValueError, match=r"\(batch, time, units, units\)\. Received"):
        kspike_ref.spiking_activation(np.ones((2, 3, 4)), unit_axes=2)
    for bad in (-1, 1.0, True):
        with pytest.raises(ValueError, match="unit_axes must be an integer, 0 or more"):
            kspike_ref.spiking_activation(np.ones((2, 3, 4)), unit_axes=bad)


def test_milliseconds_for_seconds_warn():
    with pytest.warns(
        UserWarning, match=r"dt is in seconds.*20 times a step\. For 1 ms pass dt=0.001"
    ):
        kspike_ref.spiking_activation(np.full((1, 5, 1), 20.0), dt=1, seed=0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("rate", "dt"), [(0.02, 1), (1.0, 1), (0.0, 10), (900.0, 0.1), (np.nan, 1)]
)
def test_time_steps_that_may_be_meant_do_not_warn(rate, dt):
    """Rates of at most one spike per step, whatever the unit of time."""
    kspike_ref.spiking_activation(np.full((1, 5, 2), [rate, 0.0]), dt=dt, seed=0)


@pytest.mark.parametrize("voltage", [1e300, 2.0**20, -(2.0**20)])
def test_voltages_off_the_grid_are_refused(voltage):
    with pytest.raises(ValueError, match=r"below 2\*\*20 spikes.*initial_voltage=-?1"):
        kspike_ref.spiking_activation(np.ones((1, 2, 3)), initial_voltage=voltage)
    kspike_ref.spiking_activation(np.ones((1, 2, 3)), initial_voltage=voltage / 1e300 + 2**19)
