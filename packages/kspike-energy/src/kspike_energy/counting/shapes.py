"""Shapes of a model's inputs: structures of them as lists, and checks that they fit."""

from collections.abc import Mapping, Sequence
from typing import Any

from kspike_energy.counting.nodes import Shape

__all__ = ["fits", "fitting_shapes", "flat_shapes"]


def fits(shape: Shape, own: Shape) -> bool:
    """Return whether a shape has the rank of another one, and its lengths where they are known."""
    return len(shape) == len(own) and all(
        length is None or length == new for length, new in zip(own, shape, strict=True)
    )


def flat_shapes(shapes: Any, names: Sequence[str] = ()) -> list[Shape]:
    """Return the shapes in a structure of inputs as a list.

    Parameters
    ----------
    shapes : tuple, or list or dict of tuple
        The structure.
    names : sequence of str, optional
        Order of the keys of a dictionary, if these are its keys; sorted otherwise, as in Keras.

    Raises
    ------
    TypeError
        If a shape is no tuple.
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
    """Return the shapes that a user states for a model's inputs as a list, if they fit.

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
        If there are more or fewer than inputs, or one does not fit.
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
