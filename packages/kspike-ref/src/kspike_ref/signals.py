"""Signals, states and time constants in the form that kernels take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kspike_ref import dtypes
from kspike_ref.kernels.memory import frozen

Floats = NDArray[np.floating[Any]]
State = NDArray[np.float64]

_FLOATS = ("float16", "float32", "float64")


@dataclass(frozen=True)
class Signal:
    """A public input array in the form the kernels work on.

    Attributes
    ----------
    name : str
        The name of the argument, for messages.
    rows : ndarray
        The values as ``(rows, steps, units)``, C-contiguous and read-only, or ``(rows, 1, units)``
        if one input is presented at all steps (a time axis of stride 0).
    steps : int
        The number of time steps.
    shape : tuple of int
        The shape of the argument and of outputs.
    batch : int
        The number of examples.
    units : tuple of int
        The unit axes.
    dtype : dtype
        The type of outputs: float16, float32 or float64.
    """

    name: str
    rows: Floats
    steps: int
    shape: tuple[int, ...]
    batch: int
    units: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def state_shape(self) -> tuple[int, ...]:
        """The shape of a state with one number per unit, ``(batch, *units)``."""
        return (self.batch, *self.units)

    @property
    def size(self) -> int:
        """The number of units in one example."""
        return math.prod(self.units)

    def room(self, out: Floats | None = None) -> Floats:
        """Return memory for an output in the form of `rows`: that of ``out`` if it fits.

        Parameters
        ----------
        out : ndarray, optional
            The caller's array. Its memory is used if it is C-contiguous, aligned and of the type
            of `rows`; otherwise `restore` copies.

        Raises
        ------
        TypeError
            If ``out`` is not an array, or not of the type `dtype`.
        ValueError
            If it has another shape than `shape`, is read-only, or overlaps the input in part.
        """
        rows, _, units = self.rows.shape
        shape = (rows, self.steps, units)
        if out is not None:
            self._check(out)
            flags = out.flags
            if out.dtype == self.rows.dtype and flags.c_contiguous and flags.aligned:
                room = np.asarray(out).reshape(shape)
                self._check_overlap(room)
                return room
        return np.empty(shape, self.rows.dtype)

    def _check(self, out: Any) -> None:
        """Refuse an array that cannot hold the output."""
        if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
            raise TypeError(f"out must be a NumPy array. Received: {type(out).__name__}")
        if out.shape != self.shape:
            raise ValueError(
                f"out must have the shape of {self.name}, {self.shape}. "
                f"Received: out.shape={out.shape}"
            )
        if out.dtype != self.dtype:
            raise TypeError(
                f"out must be {self.dtype}, the type of the output, in native byte order. "
                f"Received: out.dtype={out.dtype.str}"
            )
        if not out.flags.writeable:
            raise ValueError("out must be writable. Received: a read-only array")

    def _check_overlap(self, room: Floats) -> None:
        """Refuse an output that overwrites inputs before they are read."""
        x = self.rows
        # Loops read an element before they overwrite it.
        is_in_place = x.shape == room.shape and x.ctypes.data == room.ctypes.data
        if np.may_share_memory(x, room) and not is_in_place:
            raise ValueError(
                f"out must not overlap {self.name} in part. Pass {self.name} itself to overwrite "
                "it, or a separate array"
            )

    def restore(self, room: Floats, out: Floats | None = None) -> Floats:
        """Return an output in the shape and type of the input.

        Parameters
        ----------
        room : ndarray
            The result of `room`, filled.
        out : ndarray, optional
            The argument of `room`; it is returned.
        """
        if out is None:
            return room.reshape(self.shape).astype(self.dtype, copy=False)
        if not np.may_share_memory(room, out):
            out[...] = room.reshape(self.shape)
        return out


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
        The number of unit axes; None for one or more.

    Returns
    -------
    Signal
        With time first, examples and units form one axis, which avoids a transpose.

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
    return Signal(name, frozen(rows), steps, shape, batch, units, dtype)


def _check_axes(name: str, shape: tuple[int, ...], time_major: bool, unit_axes: Any) -> None:
    """Refuse a signal with other axes, above all (time, units) without a batch."""
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
        The values. Bools and integers of up to 16 bits become float32, wider ones float64.

    Returns
    -------
    ndarray
        Of float16, float32 or float64; not copied if the type fits.

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
    x = dtypes.array(values, f"{name} must be an array of numbers")
    if x.dtype.kind in "biu":
        return x.astype(np.result_type(x.dtype, np.float32))
    if x.dtype.name not in _FLOATS:
        raise TypeError(
            f"{name} must hold real numbers ({', '.join(_FLOATS)}, integers or bools). "
            f"Received: {name}.dtype={x.dtype}"
        )
    return x.astype(x.dtype.newbyteorder("="), copy=False)


def per_unit(name: str, values: ArrayLike, shape: tuple[int, ...]) -> State:
    """Broadcast a state or a parameter to a shape, as float64.

    Parameters
    ----------
    name : str
        The name of the argument, for messages.
    values : array_like
        Values that broadcast to ``shape``; an extra leading axis of length 1 is dropped.
    shape : tuple of int
        ``(batch, *units)`` or ``units``.

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
        Seconds; a scalar, or an array that broadcasts to ``units`` or ``(1, *units)``.
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


def shown(values: Floats) -> str:
    """Format a value, or the ends of an array, for an error message."""
    if values.size == 1:
        return str(values.reshape(-1)[0])
    return np.array2string(values, threshold=8, edgeitems=3)
