"""Layers with a kernel of weights: dense, einsum, convolutions, embedding.

Biases are not connections: a bias is no synapse, and published multiply-add counts leave it out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from kspike_energy.counting.fan_out import FanOut, Number, Windows, windows_fan_out
from kspike_energy.counting.nodes import Counts, Node, Term, UndefinedShapeError
from kspike_energy.counting.rules.table import activation_units, rule

__all__ = ["ConvolutionPlan", "as_tuple", "convolution", "einsum_fan_out", "einsum_output"]


@rule("Dense", linear=True)
def dense(node: Node) -> Counts:
    """Count a connection from every element of the last axis to every unit."""
    neurons, spiking = activation_units(node, math.prod(node.units_out()))
    fan_out = FanOut.uniform(node.units_in(), int(node.config["units"]))
    return Counts((Term(fan_out),), neurons, spiking)


@rule("EinsumDense", linear=True)
def einsum_dense(node: Node) -> Counts:
    """Count a connection from every input element to the outputs that the equation sums it into."""
    neurons, spiking = activation_units(node, math.prod(node.units_out()))
    fan_out = einsum_fan_out(
        node.config["equation"], node.inputs[0], node.outputs[0], node.units_in()
    )
    return Counts((Term(fan_out),), neurons, spiking)


def einsum_fan_out(
    equation: str,
    inputs: Sequence[int | None],
    outputs: Sequence[int | None],
    units: tuple[int, ...],
) -> FanOut:
    """Return the fan-out of the first operand of an einsum with a kernel.

    Parameters
    ----------
    equation : str
        An equation such as ``"abc,cd->abd"``, with or without an ellipsis.
    inputs, outputs : sequence of int or None
        Full shapes of the first operand and of the result.
    units : tuple of int
        Shape of the first operand without batch and time.
    """
    left, right = equation.replace(" ", "").split("->")
    first = left.split(",")[0]
    lengths = dict(zip(*_letters(right, outputs), strict=True))
    known, _ = _letters(first, inputs)
    fresh = [lengths[letter] for letter in lengths if letter not in known]
    if any(length is None for length in fresh):
        raise UndefinedShapeError(f"equation {equation!r} has an output of undefined shape")
    return FanOut.uniform(units, math.prod(length for length in fresh if length is not None))


def einsum_output(
    equation: str, inputs: Sequence[int | None], outputs: Sequence[int | None]
) -> tuple[int | None, ...]:
    """Return the result's shape, with missing lengths taken from the first operand."""
    left, right = equation.replace(" ", "").split("->")
    labels, _ = _letters(right, outputs)
    known = dict(zip(*_letters(left.split(",")[0], inputs), strict=True))
    return tuple(
        known.get(label) if length is None else length
        for label, length in zip(labels, outputs, strict=True)
    )


def _letters(term: str, shape: Sequence[int | None]) -> tuple[list[str], Sequence[int | None]]:
    """Return one label per axis; the axes of an ellipsis are numbered from its end."""
    if "..." in term:
        before, after = term.split("...")
        hidden = len(shape) - len(before) - len(after)
        labels = [*before, *(f"...{hidden - i}" for i in range(hidden)), *after]
    else:
        labels = list(term)
    return labels, shape


@rule("Embedding", "ReversibleEmbedding")
def embedding(node: Node) -> Counts:
    """Count one row fetched per index: an index is one event, whatever its value."""
    if node.inputs[0] and len(node.outputs[0]) == len(node.inputs[0]):
        # A reversible embedding used backwards: a dense layer onto the vocabulary.
        return Counts((Term(FanOut.uniform(node.units_in(), int(node.config["input_dim"]))),))
    fan_out = FanOut.uniform(node.units_in(), int(node.config["output_dim"]))
    return Counts((Term(fan_out, every_step=True),))


def as_tuple(value: Any, rank: int) -> tuple[int, ...]:
    """Return one number per spatial axis."""
    if isinstance(value, (list, tuple)):
        return tuple(int(v) for v in value)
    return (int(value),) * rank


@dataclass(frozen=True)
class ConvolutionPlan:
    """Geometry of one convolution or pooling.

    Parameters
    ----------
    kernel, strides, dilation : tuple of int
        One number per spatial axis.
    padding : {"valid", "same", "causal"}
        Where the padding goes.
    each : int or Fraction
        Connections of one element of one window.
    channels_first : bool
        Whether the channel axis comes before the spatial axes.
    transposed : bool
        Whether an input element writes a window of outputs.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: str
    each: Number
    channels_first: bool = False
    transposed: bool = False

    @classmethod
    def from_config(
        cls, config: Any, each: Number, rank: int, *, transposed: bool = False
    ) -> "ConvolutionPlan":
        """Read the geometry from a layer's configuration."""
        return cls(
            kernel=as_tuple(config["kernel_size"], rank),
            strides=as_tuple(config["strides"], rank),
            dilation=as_tuple(config.get("dilation_rate", 1), rank),
            padding=config["padding"].lower(),
            each=each,
            channels_first=config.get("data_format") == "channels_first",
            transposed=transposed,
        )


def convolution(node: Node, plan: ConvolutionPlan, index: int = 0) -> FanOut:
    """Return the fan-out of a convolution over an input.

    If it slides along time, the count is that of a step far from both ends of the sequence: a full
    window divided by the stride.
    """
    full_in, full_out = node.inputs[index], node.outputs[0]
    first = 2 if plan.channels_first else 1
    timed = node.timed_inputs[index]
    each = plan.each
    windows: list[Windows | None] = []
    for axis in range(1, len(full_in)):
        place = axis - first
        spatial = 0 <= place < len(plan.kernel)
        if axis == 1 and timed:
            if spatial:
                each = Fraction(each) * plan.kernel[place]
                each = each if plan.transposed else Fraction(each) / plan.strides[place]
            continue
        if not spatial:
            windows.append(None)
            continue
        inputs, outputs = full_in[axis], full_out[axis]
        if inputs is None or outputs is None:
            raise UndefinedShapeError(
                f"layer {node.spec.name!r} has an input of undefined shape {full_in}"
            )
        windows.append(
            Windows(
                inputs,
                outputs,
                plan.kernel[place],
                plan.strides[place],
                plan.dilation[place],
                plan.padding,
                plan.transposed,
            )
        )
    return windows_fan_out(windows, node.units_in(index), each, node.options.padding)


def _conv_counts(node: Node, each: int, *, transposed: bool = False) -> Counts:
    rank = len(node.inputs[0]) - 2
    plan = ConvolutionPlan.from_config(node.config, each, rank, transposed=transposed)
    neurons, spiking = activation_units(node, math.prod(node.units_out()))
    return Counts((Term(convolution(node, plan)),), neurons, spiking)


@rule("Conv1D", "Conv2D", "Conv3D", linear=True)
def conv(node: Node) -> Counts:
    """Count a connection from every window element to the filters of its group."""
    config = node.config
    return _conv_counts(node, int(config["filters"]) // int(config.get("groups") or 1))


@rule("DepthwiseConv1D", "DepthwiseConv2D", linear=True)
def depthwise(node: Node) -> Counts:
    """Count a connection from every window element to the filters of its channel."""
    return _conv_counts(node, int(node.config["depth_multiplier"]))


@rule("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose", linear=True)
def conv_transpose(node: Node) -> Counts:
    """Count the outputs that every input element writes, except those cut off at the border."""
    return _conv_counts(node, int(node.config["filters"]), transposed=True)


@rule("SeparableConv1D", "SeparableConv2D", linear=True)
def separable(node: Node) -> Counts:
    """Count the depthwise stage, and the pointwise stage on the signal between them."""
    config = node.config
    multiplier, filters = int(config["depth_multiplier"]), int(config["filters"])
    rank = len(node.inputs[0]) - 2
    plan = ConvolutionPlan.from_config(config, multiplier, rank)
    channel = 0 if plan.channels_first else -1
    outputs = node.units_out()
    channels = node.units_in()[channel] * multiplier
    if plan.channels_first and not node.timed_outputs[0]:
        between = (channels, *outputs[1:])
    else:
        between = (*outputs[:-1], channels)
    pointwise = Term(FanOut.uniform(between, filters), source=None)
    neurons, spiking = activation_units(node, math.prod(outputs))
    return Counts((Term(convolution(node, plan)), pointwise), neurons, spiking)


@rule("STFTSpectrogram", "MelSpectrogram")
def spectrogram(node: Node) -> Counts:
    """Count the matrix products that define it, and one magnitude per output.

    Frames are multiplied by cosines and sines, as Keras does with a convolution; a mel spectrogram
    multiplies the magnitudes by one more matrix. An FFT needs fewer operations.
    """
    config, outputs = node.config, node.units_out()
    mel = "num_mel_bins" in config
    fft = int(config.get("fft_length") or config["frame_length"])
    length = int(config.get("sequence_length" if mel else "frame_length") or fft)
    frames = math.prod(outputs) // int(config["num_mel_bins"] if mel else fft // 2 + 1)
    bins = fft // 2 + 1
    terms = [Term(FanOut.spread(node.units_in(), frames * bins * length * 2))]
    if mel:
        projected = FanOut.uniform((frames, bins), int(config["num_mel_bins"]))
        terms.append(Term(projected, source=None))
    return Counts(tuple(terms), frames * bins, spiking=False)
