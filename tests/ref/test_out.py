"""Tests of ``out`` in the three public functions: the same bits in the caller's array."""

import numpy as np
import pytest

import kspike_ref

pytestmark = pytest.mark.memory

FUNCTIONS = {
    "spiking_activation": lambda x, **options: kspike_ref.spiking_activation(x, seed=3, **options),
    "lowpass": lambda x, **options: kspike_ref.lowpass(x, 0.01, **options),
    "alpha": lambda x, **options: kspike_ref.alpha(x, 0.01, **options),
}


@pytest.fixture(params=FUNCTIONS)
def function(request):
    return FUNCTIONS[request.param]


def signal(shape=(3, 20, 7), dtype=np.float32):
    return np.random.default_rng(0).uniform(-500, 2000, shape).astype(dtype)


def check(function, x, out, **options):
    """Call with and without ``out``: the answer is the same and fills ``out``."""
    expected, state = function(x.copy(), **options)
    y, last = function(x, out=out, **options)
    assert y is out
    assert y.tobytes() == expected.tobytes()
    assert y.dtype == expected.dtype
    assert last.tobytes() == state.tobytes()


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_same_bits(function, dtype, time_major):
    x = signal(dtype=dtype)
    check(function, x, np.full_like(x, np.nan), time_major=time_major)


@pytest.mark.parametrize("shape", [(0, 5, 3), (2, 0, 3), (2, 5, 0), (2, 5, 3, 4), (64, 40, 100)])
def test_shapes(function, shape):
    x = signal(shape)
    check(function, x, np.full_like(x, np.nan))


def test_without_units(function):
    x = signal((4, 30))
    check(function, x, np.full_like(x, np.nan), unit_axes=0)


def test_integers_come_out_as_floats(function):
    x = signal().astype(np.int16)
    check(function, x, np.full(x.shape, np.nan, np.float32))


def test_one_input_at_all_steps(function):
    x = np.broadcast_to(signal((3, 1, 7)), (3, 20, 7))
    check(function, x, np.full(x.shape, np.nan, np.float32))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_memory_that_is_not_contiguous(function, dtype):
    x = signal(dtype=dtype)
    room = np.zeros((3, 20, 14), dtype)
    y, _ = function(x, out=room[:, :, ::2])
    assert np.shares_memory(y, room)
    assert y.tobytes() == function(x)[0].tobytes()
    assert not room[:, :, 1::2].any()
    check(function, x, np.asfortranarray(x) * 0)
    check(function, x, np.zeros(x.nbytes + 1, np.uint8)[1:].view(dtype).reshape(x.shape))


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 19, 20])
@pytest.mark.parametrize("units", [7, 600])  # `alpha` takes two steps at a time above 512 units
def test_in_place(function, units, steps, time_major):
    x = signal((3, steps, units))
    check(function, x, x, time_major=time_major)


def test_in_place_where_the_input_is_copied_first(function):
    x = signal()
    expected = function(x[:, :, ::-1].copy())[0]
    assert function(x[:, :, ::-1], out=x)[0] is x
    assert x.tobytes() == expected.tobytes()


def test_the_state_may_be_in_out(function):
    """States are copied before the first step."""
    x = signal((3, 20, 7), np.float64)
    level = np.full((3, 7), 0.25)
    name = "initial_voltage" if function is FUNCTIONS["spiking_activation"] else "initial_level"
    call = {
        "initial_voltage": lambda v, **o: kspike_ref.spiking_activation(x, initial_voltage=v, **o),
        "initial_level": lambda v, **o: function(x, initial_level=v, **o),
    }[name]
    out = np.zeros_like(x)
    out[:, 3] = level
    assert call(out[:, 3], out=out)[0].tobytes() == call(level)[0].tobytes()


def overlapping(shift):
    """Return an input, and an array for the output that starts ``shift`` numbers later."""
    room = np.zeros(3 * 20 * 7 + shift, np.float32)
    return room[: 3 * 20 * 7].reshape(3, 20, 7), room[shift:].reshape(3, 20, 7)


@pytest.mark.parametrize("shift", [1, 7, 419])
def test_refuses_memory_that_overlaps(function, shift):
    x, out = overlapping(shift)
    with pytest.raises(ValueError, match=r"out must not overlap (x|rates) in part"):
        function(x, out=out)
    with pytest.raises(ValueError, match="out must not overlap"):
        function(out, out=x)


def test_refuses_memory_that_holds_the_input_of_all_steps(function):
    out = signal((1, 20, 7))
    with pytest.raises(ValueError, match="out must not overlap"):
        function(np.broadcast_to(out[:, :1], out.shape), out=out)
    out = signal()  # here the input is copied first
    expected = function(np.broadcast_to(out[:, :1].copy(), out.shape))[0]
    y, _ = function(np.broadcast_to(out[:, :1], out.shape), out=out)
    assert y.tobytes() == expected.tobytes()


def test_memory_side_by_side(function):
    x, out = overlapping(3 * 20 * 7)
    check(function, x, out)


def test_refuses_what_does_not_fit(function):
    x = signal()
    read_only = np.zeros_like(x)
    read_only.flags.writeable = False
    for out, error, message in [
        ([0.0], TypeError, "out must be a NumPy array. Received: list"),
        (np.float32(0), TypeError, "out must be a NumPy array. Received: float32"),
        (np.ma.zeros(x.shape, np.float32), TypeError, "out must be a NumPy array. .*MaskedArray"),
        (np.zeros((3, 20, 8), np.float32), ValueError, r"the shape of (x|rates), \(3, 20, 7\)"),
        (np.zeros((20, 3, 7), np.float32), ValueError, r"Received: out.shape=\(20, 3, 7\)"),
        (np.zeros(x.size, np.float32), ValueError, "out must have the shape"),
        (np.zeros(x.shape), TypeError, "out must be float32, .* Received: out.dtype=<f8"),
        (np.zeros(x.shape, np.int32), TypeError, "out must be float32"),
        (np.zeros(x.shape, ">f4"), TypeError, "native byte order. Received: out.dtype=>f4"),
        (read_only, ValueError, "out must be writable. Received: a read-only array"),
    ]:
        with pytest.raises(error, match=message):
            function(x, out=out)


def test_nothing_is_written_where_another_argument_is_wrong(function):
    x, out = signal(), np.full((3, 20, 7), 5, np.float32)
    with pytest.raises(ValueError, match="dt must be positive"):
        function(x, out=out, dt=-1.0)
    assert (out == 5).all()
