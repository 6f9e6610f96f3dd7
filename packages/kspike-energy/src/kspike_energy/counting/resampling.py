"""Fan-out of layers that resize images."""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from kspike_energy.counting.fan_out import Factor, FanOut, Number
from kspike_energy.counting.nodes import Node, defined

__all__ = ["resampled", "resampled_to_aspect_ratio", "taps"]

# Half the width of an interpolation kernel, in input elements. Kernels are zero at every nonzero
# whole distance, so an output that lies on an input element depends on that element alone.
_RADIUS = {"bilinear": 1, "bicubic": 2, "lanczos3": 3, "lanczos5": 5}


def taps(
    inputs: int, outputs: int, interpolation: str = "nearest", antialias: bool = False
) -> NDArray[np.int64]:
    """Return the number of outputs that every input element of an axis contributes to.

    Elements are centred at half-integers. Taps beyond the border fall on the last element or are
    dropped, so an input element counts at most once per output.

    Parameters
    ----------
    inputs, outputs : int
        Length of the axis before and after.
    interpolation : {"nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"}, optional
        The kernel; any other name counts as "nearest".
    antialias : bool, optional
        Whether the kernel widens when the axis becomes shorter.

    Examples
    --------
    >>> taps(3, 6, "bilinear")  # the first and the last output have one tap each
    array([3, 4, 3])
    """
    places = np.arange(outputs)
    if interpolation not in _RADIUS:
        nearest = (2 * places + 1) * inputs // (2 * outputs)
        return np.bincount(nearest, minlength=inputs).astype(np.int64)
    # Distances between elements are whole multiples of 1 / (2 · outputs).
    distance = 2 * outputs * np.arange(inputs) - ((2 * places + 1) * inputs - outputs)[:, None]
    unit = 2 * max(inputs, outputs) if antialias else 2 * outputs
    inside = np.abs(distance) < _RADIUS[interpolation] * unit
    zero = (distance % unit == 0) & (distance != 0)
    reached: NDArray[np.int64] = np.sum(inside & ~zero, axis=0, dtype=np.int64)
    return reached


def resampled(node: Node, interpolation: str, antialias: bool = False, steps: int = 1) -> FanOut:
    """Return the fan-out of a layer that resizes axes of its input.

    Parameters
    ----------
    node : Node
        The application of the layer.
    interpolation, antialias
        As in `taps`.
    steps : int, optional
        Number of output steps per input step, along time.
    """
    factors: list[Factor] = []
    each: Number = Fraction(steps) if node.timed_inputs[0] else 1
    start = 2 if node.timed_inputs[0] else 1
    problem = f"layer {node.spec.name!r} has an input of undefined shape {node.inputs[0]}"
    for lengths in zip(node.inputs[0][start:], node.outputs[0][start:], strict=True):
        before, after = defined(lengths, problem)
        factors.append(1 if before == after else taps(before, after, interpolation, antialias))
    return FanOut(node.units_in(), tuple(factors), each)


def resampled_to_aspect_ratio(node: Node, interpolation: str, antialias: bool) -> FanOut:
    """Return the fan-out of `Resizing` that first crops or pads images to the aspect ratio.

    Keras computes the size of the cropped or padded image in single precision, rounds it down, and
    pads both sides of an axis alike. Padding is not an input element.
    """
    shape = node.units_in()
    first = 1 if node.config.get("data_format") == "channels_first" else 0
    lengths = shape[first : first + 2]
    targets = (int(node.config["height"]), int(node.config["width"]))
    factors: list[Factor] = [1] * len(shape)
    for axis in (0, 1):
        length, target = lengths[axis], targets[axis]
        wanted = int(np.float32(lengths[1 - axis] * target) / np.float32(targets[1 - axis]))
        if node.config.get("crop_to_aspect_ratio"):
            kept = max(min(length, wanted), 1)
            start = (length - kept) // 2
            reached = np.zeros(length, dtype=np.int64)
            reached[start : start + kept] = taps(kept, target, interpolation, antialias)
        else:
            margin = (max(length, wanted) - length) // 2
            padded = taps(length + 2 * margin, target, interpolation, antialias)
            reached = padded[margin : margin + length]
        factors[first + axis] = reached
    return FanOut(shape, tuple(factors))
