"""Arguments that the public functions share: signals, time steps, time constants, seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kspike_ref.kernels.memory import frozen as frozen  # also for the modules that import this one

Floats = NDArray[np.floating[Any]]
State = NDArray[np.float64]

_FLOATS = ("float16", "float32", "float64")


@dataclass(frozen=True)
class Signal:
    """A public input array in the form the kernels work on.

    Attributes
    ----------
    rows : ndarray
        The values as ``(rows, steps, units)``, C-contiguous and read-only, or ``(rows, 1, units)``
        where one input is presented at all steps (a time axis of stride 0).
    steps : int
        The number of time steps.
    shape : tuple of int
        The shape that came, and that outputs have.
    batch : int
        The number of examples.
    units : tuple of int
        The unit axes.
    dtype : dtype
        The type of outputs: float16, float32 or float64.
    """

    rows: Floats
    steps: int
    shape: tuple[int, ...]
    batch: int
    units: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def state_shape(self) -> tuple[int, ...]:
        """The shape of a state with one number a unit, ``(batch, *units)``."""
        return (self.batch, *self.units)

    @property
    def size(self) -> int:
        """The number of units of one example."""
        return math.prod(self.units)

    def empty(self) -> Floats:
        """Return room for an output, in the form of `rows`."""
        rows, _, units = self.rows.shape
        return np.empty((rows, self.steps, units), self.rows.dtype)

    def restore(self, out: Floats) -> Floats:
        """Return an output in the shape and type of the input."""
        return out.reshape(self.shape).astype(self.dtype, copy=False)


def signal(
    name: str,
    values: ArrayLike,
    time_major: bool,
    half: type = np.float32,
    unit_axes: int | None = None,
) -> Signal:
    """Check an input array and bring it into the form the kernels work on.

    Parameters
    ----------
    name : str
        The name of the argument, for messages.
    values : array_like
        ``(batch, time, *units)``, or ``(time, batch, *units)``.
    time_major : bool
        Whether time is the first axis.
    half : type
        The type that float16 is computed in.
    unit_axes : int, optional
        How many axes the units have; one or more if it is not said.

    Returns
    -------
    Signal
        With time first, examples and units are one axis, so that nothing is transposed.

    Raises
    ------
    TypeError
        If ``values`` are not real numbers, or ``time_major`` is not a bool.
    ValueError
        If ``values`` have other axes, or are ragged.
    """
    if not isinstance(time_major, (bool, np.bool_)):
        raise TypeError(f"time_major must be a bool. Received: time_major={time_major!r}")
    x = real_array(name, values)
    _check_axes(name, x.shape, time_major, unit_axes)
    dtype = x.dtype
    time = 0 if time_major else 1
    steps, batch, units = x.shape[time], x.shape[1 - time], x.shape[2:]
    shape = x.shape
    if steps > 1 and x.strides[time] == 0:
        x = x[:1] if time_major else x[:, :1]
    x = np.ascontiguousarray(x, half if dtype == np.float16 else None)
    if not x.flags.aligned:
        x = x.copy()
    size = math.prod(units)
    given = x.shape[time]
    rows = x.reshape((1, given, batch * size) if time_major else (batch, given, size))
    return Signal(frozen(rows), steps, shape, batch, units, dtype)


def _check_axes(name: str, shape: tuple[int, ...], time_major: bool, unit_axes: Any) -> None:
    """Refuse a signal with other axes, above all (time, units) that lacks its batch."""
    is_whole = isinstance(unit_axes, int | np.integer) and not isinstance(unit_axes, bool)
    if unit_axes is not None and not (is_whole and unit_axes >= 0):
        raise ValueError(f"unit_axes must be an integer, 0 or more. Received: {unit_axes!r}")
    if len(shape) > 2 if unit_axes is None else len(shape) == 2 + unit_axes:
        return
    units = "*units" if unit_axes is None else ", ".join(["units"] * unit_axes)
    first = "time, batch" if time_major else "batch, time"
    wanted = f"({first}, {units})" if units else f"({first})"
    hint = ""
    if len(shape) == 2 and unit_axes is None:
        added = f"{name}[:, None]" if time_major else f"{name}[None]"
        hint = f"; pass {added} for (time, units), or unit_axes=0 for ({first}) without units"
    raise ValueError(f"{name} must have the shape {wanted}{hint}. Received: {name}.shape={shape}")


def real_array(name: str, values: ArrayLike) -> Floats:
    """Return an array of floats in native byte order; integers and bools become floats.

    Parameters
    ----------
    name : str
        The name of the argument, for messages.
    values : array_like
        What came. Bools and integers of up to 16 bits become float32, wider ones float64.

    Returns
    -------
    ndarray
        Of float16, float32 or float64; no copy where the type fits.

    Raises
    ------
    TypeError
        If the values are not real numbers, or some are masked.
    ValueError
        If the values are ragged.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise TypeError(
            f"{name} must not be a masked array, as its mask would be lost: pass "
            f"{name}.filled(value)"
        )
    try:
        x = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must be an array of numbers. Received: {error}") from error
    if x.dtype.kind in "biu":
        return x.astype(np.result_type(x.dtype, np.float32))
    if x.dtype.name not in _FLOATS:
        raise TypeError(
            f"{name} must hold real numbers ({', '.join(_FLOATS)}, integers or bools). "
            f"Received: {name}.dtype={x.dtype}"
        )
    return x.astype(x.dtype.newbyteorder("="), copy=False)


def time_step(dt: float) -> float:
    """Check the length of a time step.

    Parameters
    ----------
    dt : float
        Seconds.

    Returns
    -------
    float
        The same as a Python float.

    Raises
    ------
    TypeError
        If ``dt`` is not a real number.
    ValueError
        If ``dt`` is not positive and finite, or leaves the range of float32.
    """
    values = np.asarray(dt)
    if values.shape != () or values.dtype.kind not in "iuf":
        raise TypeError(f"dt must be a real number of seconds. Received: dt={dt!r}")
    seconds = float(values)
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"dt must be positive and finite. Received: dt={dt!r}")
    tiny, huge = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
    if not tiny <= seconds <= huge:
        raise ValueError(
            f"dt must be a normal number in float32, {tiny:.3g} to {huge:.3g}. Received: dt={dt!r}"
        )
    return seconds


def per_unit(name: str, values: ArrayLike, shape: tuple[int, ...]) -> State:
    """Broadcast a state or a parameter to the shape it is needed in, as float64.

    Parameters
    ----------
    name : str
        The name of the argument, for messages.
    values : array_like
        Of a shape that broadcasts to ``shape``.
    shape : tuple of int
        ``(batch, *units)``, or ``units``, of which a leading axis of length 1 is no part.

    Returns
    -------
    ndarray
        A float64 array of that shape, which may share memory with ``values``.

    Raises
    ------
    TypeError
        If the values are not real numbers.
    ValueError
        If they are not finite, or do not broadcast to ``shape``.
    """
    given = real_array(name, values)
    array = given.astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite. Received: {name}={shown(given)}")
    if array.ndim == len(shape) + 1 and array.shape[0] == 1:
        array = array[0]
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(
            f"{name} must broadcast to the shape {shape}. Received: {name}.shape={given.shape}"
        ) from None


def time_constant(tau: ArrayLike, units: tuple[int, ...]) -> State:
    """Check time constants and broadcast them to the units.

    Parameters
    ----------
    tau : array_like
        Seconds; a scalar, or of a shape that broadcasts to ``units`` or ``(1, *units)``.
    units : tuple of int
        The unit axes.

    Returns
    -------
    ndarray
        Of the shape ``units``.

    Raises
    ------
    TypeError
        If ``tau`` does not hold real numbers.
    ValueError
        If ``tau`` is not positive and finite, or does not broadcast.
    """
    given = real_array("tau", tau)
    if not (np.isfinite(given) & (given > 0)).all():
        raise ValueError(f"tau must be positive and finite. Received: tau={shown(given)}")
    return per_unit("tau", given, units)


def seed_words(seed: int) -> tuple[int, int]:
    """Check a seed and cut it into the two words of a Philox key.

    Parameters
    ----------
    seed : int
        0 to 2⁶⁴ − 1.

    Returns
    -------
    tuple of int
        The low and the high 32 bits.

    Raises
    ------
    TypeError
        If ``seed`` is not an integer (a bool is none).
    ValueError
        If ``seed`` is negative or longer than 64 bits.
    """
    if isinstance(seed, (bool, np.bool_)) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"seed must be an integer. Received: seed={seed!r}")
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must be from 0 to 2**64 - 1. Received: seed={seed!r}")
    return int(seed) & 0xFFFFFFFF, int(seed) >> 32


def unit_shape(shape: int | Sequence[int]) -> tuple[int, ...]:
    """Check a shape of units.

    Parameters
    ----------
    shape : int or sequence of int
        The lengths of the axes.

    Returns
    -------
    tuple of int
        The same as a tuple.

    Raises
    ------
    TypeError
        If a length is not an integer.
    ValueError
        If a length is negative.
    """
    axes: Sequence[Any] = (shape,) if np.ndim(shape) == 0 else tuple(shape)  # type: ignore[arg-type]
    for axis in axes:
        if isinstance(axis, (bool, np.bool_)) or not isinstance(axis, (int, np.integer)):
            raise TypeError(f"shape must hold integers. Received: shape={shape!r}")
        if axis < 0:
            raise ValueError(f"shape must not hold negative lengths. Received: shape={shape!r}")
    return tuple(int(axis) for axis in axes)


def shown(values: Floats) -> str:
    """Return a value, or the ends of an array, short enough for a message.

    Parameters
    ----------
    values : ndarray
        What came.

    Returns
    -------
    str
        At most a few numbers.
    """
    if values.size == 1:
        return str(values.reshape(-1)[0])
    return np.array2string(values, threshold=8, edgeitems=3)
