"""Layers with a kernel of weights: dense, einsum, convolutions, embedding.

Biases are not connections: a bias is no synapse, and published multiply-add counts leave it out.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from kspike_energy.counting.fan_out import Factor, FanOut, Number, Windows
from kspike_energy.counting.nodes import Counts, Node, Term, defined
from kspike_energy.counting.rules.table import activation_units, rule

__all__ = ["as_tuple", "convolution", "einsum_fan_out", "einsum_output", "window_geometry"]


def _weighted(node: Node, *terms: Term) -> Counts:
    """Return the counts of a layer with these connections, and with its own activation."""
    return Counts(terms, *activation_units(node, math.prod(node.units_out())))


@rule("Dense", linear=True)
def dense(node: Node) -> Counts:
    """Count a connection from every element of the last axis to every unit."""
    return _weighted(node, Term(FanOut.uniform(node.units_in(), int(node.config["units"]))))


@rule("EinsumDense", linear=True)
def einsum_dense(node: Node) -> Counts:
    """Count a connection from every input element to the outputs that the equation sums it into."""
    equation = node.config["equation"]
    fan_out = einsum_fan_out(equation, node.inputs[0], node.outputs[0], node.units_in())
    return _weighted(node, Term(fan_out))


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
    lengths = dict(zip(_labels(right, len(outputs)), outputs, strict=True))
    known = _labels(left.split(",")[0], len(inputs))
    fresh = [lengths[label] for label in lengths if label not in known]
    problem = f"equation {equation!r} has an output of undefined shape"
    return FanOut.uniform(units, math.prod(defined(fresh, problem)))


def einsum_output(
    equation: str, inputs: Sequence[int | None], outputs: Sequence[int | None]
) -> tuple[int | None, ...]:
    """Return the result's shape, with missing lengths taken from the first operand."""
    left, right = equation.replace(" ", "").split("->")
    known = dict(zip(_labels(left.split(",")[0], len(inputs)), inputs, strict=True))
    return tuple(
        known.get(label) if length is None else length
        for label, length in zip(_labels(right, len(outputs)), outputs, strict=True)
    )


def _labels(term: str, rank: int) -> list[str]:
    """Return one label per axis; the axes of an ellipsis are numbered from its end."""
    before, ellipsis, after = term.partition("...")
    hidden = rank - len(before) - len(after) if ellipsis else 0
    return [*before, *(f"...{hidden - i}" for i in range(hidden)), *after]


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


def window_geometry(config: Mapping[str, Any], rank: int) -> Iterator[tuple[int, ...]]:
    """Yield size, stride and dilation of the windows along every spatial axis."""
    keys = ("kernel_size", "strides", "dilation_rate")
    yield from zip(*(as_tuple(config.get(key, 1), rank) for key in keys), strict=True)


def convolution(
    node: Node, config: Mapping[str, Any], each: Number, *, transposed: bool = False
) -> FanOut:
    """Return the fan-out of a convolution or pooling.

    If it slides along time, the count is that of a step far from both ends of the sequence: a full
    window divided by the stride.

    Parameters
    ----------
    node : Node
        The application of the layer.
    config : mapping
        "kernel_size" and "padding", and optionally "strides", "dilation_rate" and "data_format", as
        a layer's configuration holds them.
    each : int or Fraction
        Connections of one element of one window, such as the filters of a convolution.
    transposed : bool, optional
        Whether an input element writes a window of outputs.
    """
    full_in, full_out = node.inputs[0], node.outputs[0]
    timed, padding = node.timed_inputs[0], config["padding"].lower()
    first = 2 if config.get("data_format") == "channels_first" else 1
    factors: list[Factor] = [1] * len(full_in)
    geometry = window_geometry(config, len(full_in) - 2)
    for axis, (kernel, stride, dilation) in enumerate(geometry, start=first):
        if axis == 1 and timed:
            each = Fraction(each * kernel, 1 if transposed else stride)
            continue
        problem = f"layer {node.spec.name!r} has an input of undefined shape {full_in}"
        inputs, outputs = defined((full_in[axis], full_out[axis]), problem)
        windows = Windows(inputs, outputs, kernel, stride, dilation, padding, transposed)
        counted = node.options.padding == "counted"
        factors[axis] = windows.counted() if counted else windows.fan_out()
    return FanOut(node.units_in(), tuple(factors[2 if timed else 1 :]), each)


def _conv_counts(node: Node, each: int, *, transposed: bool = False) -> Counts:
    return _weighted(node, Term(convolution(node, node.config, each, transposed=transposed)))


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
    config, outputs = node.config, node.units_out()
    multiplier, filters = int(config["depth_multiplier"]), int(config["filters"])
    first = config.get("data_format") == "channels_first"
    channels = node.units_in()[0 if first else -1] * multiplier
    if first and not node.timed_outputs[0]:
        between = (channels, *outputs[1:])
    else:
        between = (*outputs[:-1], channels)
    stage = Term(convolution(node, config, multiplier))
    return _weighted(node, stage, Term(FanOut.uniform(between, filters), source=None))


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
