"""Shapes of a model's inputs: flattening of structures, and checks that shapes fit."""

from collections.abc import Mapping, Sequence
from typing import Any

from kspike_energy.counting.nodes import Shape

__all__ = ["fits", "fitting_shapes", "flat_shapes"]


def fits(shape: Shape, own: Shape) -> bool:
    """Return whether a shape has the rank of ``own``, and its lengths where they are known."""
    return len(shape) == len(own) and all(
        length is None or length == new for length, new in zip(own, shape, strict=True)
    )


def flat_shapes(shapes: Any, names: Sequence[str] = ()) -> list[Shape]:
    """Flatten a structure of shapes to a list.

    Parameters
    ----------
    shapes : tuple, or list or dict of tuple
        The structure.
    names : sequence of str, optional
        Order of a dictionary's keys, if it has these keys; otherwise they are sorted, as in Keras.

    Raises
    ------
    TypeError
        If a shape is not a tuple.
    """
    if isinstance(shapes, Mapping):
        order = names if names and set(names) == set(shapes) else sorted(shapes)
        return [shape for key in order for shape in flat_shapes(shapes[key])]
    if not isinstance(shapes, (tuple, list)):
        raise TypeError(f"input_shape must be a tuple of lengths. Received: input_shape={shapes!r}")
    if shapes and isinstance(shapes[0], (tuple, list)):
        return [shape for part in shapes for shape in flat_shapes(part)]
    return [tuple(shapes)]


def fitting_shapes(shapes: Any, own: Sequence[Shape], names: Sequence[str]) -> list[Shape]:
    """Check that a user's shapes fit a model's inputs, and return them as a list.

    Parameters
    ----------
    shapes : tuple, or list or dict of tuple
        The user's ``input_shape``.
    own : sequence of tuple
        The inputs' own shapes, with None for open lengths.
    names : sequence of str
        The inputs' names, in the same order.

    Raises
    ------
    TypeError
        If ``shapes`` are not tuples.
    ValueError
        If there are more or fewer shapes than inputs, or one does not fit.
    """
    wanted = flat_shapes(shapes, names)
    if len(wanted) != len(own):
        raise ValueError(
            f"input_shape must hold {len(own)} shapes. Received: input_shape={shapes!r}"
        )
    for name, had, got in zip(names, own, wanted, strict=True):
        if not fits(got, had):
            raise ValueError(
                f"input_shape must fit {tuple(had)}, the shape of input {name!r}. "
                f"Received: {tuple(got)}"
            )
    return wanted
