# ruff: noqa: D102 (methods of subclasses in this file are documented in Layer)
"""The base classes of the operations of ``keras.ops``, and checks that they share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from kspike_ref import dtypes
from kspike_ref.layers.base import Layer
from kspike_ref.layers.errors import Shape, UnsupportedUseError, mixing
from kspike_ref.layers.merge import broadcast
from kspike_ref.saved.archive import ArchiveError

MAX_COUNT = 1 << 24  # copies of an element, or elements of padding: model files are untrusted


class Operation(Layer):
    """A function of ``keras.ops``, whose inputs keep their types.

    Attributes
    ----------
    options : tuple of str
        The arguments besides tensors. A model that sets another one is refused.
    """

    casts = ""
    options: ClassVar[tuple[str, ...]] = ()

    def __init__(self, name: str, class_name: str, config: Mapping[str, Any]) -> None:
        self.class_name = class_name
        usable = ("name", *self.known_options())
        for key, value in config.items():
            if key not in usable and value is not None:
                raise UnsupportedUseError(
                    f"{name}: keras.ops.{function_name(class_name)} with "
                    f"{key}={value!r:.80}; the argument {key!r} is not supported"
                )
        self.result_type = config.get("dtype")  # of the result; a layer's dtype is its policy
        own = {key: value for key, value in config.items() if key != "dtype"}
        super().__init__(name, class_name, {**own, "name": name})

    def known_options(self) -> tuple[str, ...]:
        """Return the options of this operation; classes of several operations override it."""
        return self.options

    def mixes(self, what: str) -> UnsupportedUseError:
        """Return the error for a use that mixes the examples of a batch."""
        return mixing(f"keras.ops.{function_name(self.class_name)} with {what}")

    def needs(self, what: str) -> UnsupportedUseError:
        """Return the error for a use that lacks an argument."""
        return UnsupportedUseError(f"keras.ops.{function_name(self.class_name)} needs {what}")

    def unsupported(self, what: str) -> UnsupportedUseError:
        """Return the error for an argument with an unsupported value."""
        return UnsupportedUseError(f"keras.ops.{function_name(self.class_name)} with {what}")

    def result_dtype(self, name: Any) -> dtypes.DType:
        """Return the NumPy type of the Keras type that the file names."""
        if name not in dtypes.NAMES:
            names = ", ".join(dtypes.NAMES)
            raise ArchiveError(f"dtype must be one of {names}. Received: {name!r:.80}")
        return dtypes.computed(name)

    def counts(self, key: str) -> list[int]:
        """Return the small non-negative integers of an option; a single one becomes a list."""
        given = self.config[key]
        return [count(key, n) for n in (given if isinstance(given, list) else [given])]


class AlongAxes(Operation):
    """An operation along one axis or several, never along the batch.

    Attributes
    ----------
    default_axis : int or None
        The axis if the file has none; None means all axes.
    """

    options: ClassVar[tuple[str, ...]] = ("axis",)
    default_axis: ClassVar[int | None] = None

    def axes(self, rank: int) -> tuple[int, ...]:
        """Return the axes for an input of ``rank`` axes, as non-negative numbers."""
        given = self.config.get("axis", self.default_axis)
        if given is None:
            raise self.mixes("axis=None")
        found = positive_axes(given, rank)
        if 0 in found:
            raise self.mixes(f"axis={given}")
        return found

    def axis(self, rank: int) -> int:
        """Return the axis of an operation along a single one."""
        axes = self.axes(rank)
        if len(axes) != 1:
            raise self.unsupported(f"several axes: axis={list(axes)}")
        return axes[0]

    def output_shape(self, *shapes: Any) -> Any:
        self.axes(len(shapes[0]))
        return super().output_shape(*shapes)

    def pointwise(self, *shapes: Any) -> bool:
        rank = len(shapes[0])
        return rank > 2 and 1 not in self.axes(rank)


def function_name(class_name: str) -> str:
    """Return the name of the function for which Keras writes ``class_name`` into a file."""
    parts = "".join(f"_{c.lower()}" if c.isupper() else c for c in class_name)
    return parts.lstrip("_")


def keys(names: Any) -> list[str]:
    """Return the registry's keys of operations."""
    return [f"ops:{name}" for name in names]


def positive_axes(given: Any, rank: int) -> tuple[int, ...]:
    """Return one axis or a list of axes from a file, as non-negative numbers.

    Raises
    ------
    ArchiveError
        If they are not integers, or not axes of a tensor of ``rank`` axes.
    """
    axes = given if isinstance(given, list) else [given]
    if not all(type(axis) is int and -rank <= axis < rank for axis in axes):
        raise ArchiveError(
            f"axis must be valid for an input with {rank} axes. Received: {given!r:.80}"
        )
    return tuple(axis % rank for axis in axes)


def check_distinct(axes: tuple[int, ...]) -> tuple[int, ...]:
    """Return axes; refuse them if one is named twice."""
    if len(set(axes)) < len(axes):
        raise ArchiveError(f"axis must name each axis once. Received: {axes}")
    return axes


def count(name: str, value: Any) -> int:
    """Return a small non-negative integer of a file."""
    if type(value) is not int or not 0 <= value <= MAX_COUNT:
        raise ArchiveError(f"{name} must be from 0 to {MAX_COUNT}. Received: {value!r:.80}")
    return value


def with_lengths(shape: Shape, axis: int, *lengths: int | None) -> Shape:
    """Return a shape with one axis replaced by axes of ``lengths``, or removed without any."""
    return (*shape[:axis], *lengths, *shape[axis + 1 :])


def is_number(value: Any) -> bool:
    """Return whether a constant of a model is a number that an array can hold."""
    return isinstance(value, float) or (isinstance(value, int) and -(2**63) <= value < 2**63)


def shape_of(value: Any) -> Shape:
    """Return the shape of an argument: a tensor's shape, an array, or a number."""
    return value if isinstance(value, tuple) else np.shape(value)


def broadcast_shape(layer: Operation, arguments: Any) -> Shape:
    """Return the shape to which tensors, arrays and numbers broadcast, the batch first.

    Parameters
    ----------
    layer : Operation
        The operation, for messages.
    arguments : sequence of tuple, ndarray or number
        A tuple is the shape of a tensor.

    Raises
    ------
    UnsupportedUseError
        If the first axis of an operand is not the batch: NumPy aligns the last axes.
    ArchiveError
        If they do not broadcast, or none is a tensor.
    """
    tensors = [shape for shape in arguments if isinstance(shape, tuple)]
    constants = [value for value in arguments if not isinstance(value, tuple)]
    if not tensors or not all(isinstance(c, np.ndarray) or is_number(c) for c in constants):
        raise ArchiveError(
            f"layer {layer.name!r} must be called with tensors, arrays and numbers. "
            f"Received: {arguments!r:.80}"
        )
    rank = len(tensors[0])
    if any(len(shape) != rank for shape in tensors):
        raise layer.mixes(f"tensors of different rank, {tensors},")
    for shape in map(np.shape, constants):
        if len(shape) > rank or (len(shape) == rank and shape[0] != 1):
            raise layer.mixes(f"a constant of shape {shape}")
    return broadcast([shape_of(value) for value in arguments])


def same_steps(arguments: Any) -> bool:
    """Return whether tensors share axis 1, and no constant differs along it."""
    tensors = [shape for shape in arguments if isinstance(shape, tuple)]
    constants = [np.shape(value) for value in arguments if not isinstance(value, tuple)]
    rank = len(tensors[0])
    return (
        rank > 1
        and len({shape[1] for shape in tensors}) == 1
        and all(len(shape) < rank - 1 or shape[1 - rank] == 1 for shape in constants)
    )
