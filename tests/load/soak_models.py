"""Models for `soak`, with every layer that keeps a state from step to step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from archives import applied, dense, functional, input_layer, layer, sequential, tensor
from unsaved import unsaved


@dataclass(frozen=True)
class Entry:
    """Model to stream through.

    Attributes
    ----------
    config : dict
        Configuration of the model.
    units : tuple of int
        Shape of one step of its input.
    reduces : bool
        Whether a run returns only its last output.
    """

    config: dict[str, Any]
    units: tuple[int, ...]
    reduces: bool = False


def model_of(entry):
    """Return a model with random weights, the same ones each time."""
    return unsaved(entry.config)


def chain(*items, units=(16,), reduces=False):
    return Entry(sequential(input_layer(None, *units), *items), units, reduces)


def own(kind, name="a", **options):
    return layer(kind, name, "kspike_tf", **options)


SPIKES = {"activation": "relu", "seed": 1}
GATED = {
    "SimpleRNN": {"units": 16},
    "LSTM": {"units": 16},
    "GRU": {"units": 16, "reset_after": True},
}
CONVOLUTIONS = {1: (8, 2), 2: (3, 3, 2), 3: (2, 2, 2, 2)}


def convolution(rank, **options):
    return layer(
        f"ConvLSTM{rank}D",
        "a",
        filters=2,
        kernel_size=[2] * rank,
        padding="same",
        data_format="channels_last",
        **options,
    )


def recurrent(cell, **options):
    return layer("RNN", "a", cell=cell, return_sequences=True, **options)


def gated_cells():
    """Return a cell of every Keras kind, for a stack."""
    return [layer(f"{kind}Cell", kind.lower(), **options) for kind, options in GATED.items()]


def branches():
    """Return a model in which two filters read spikes and are added: several stateful layers."""
    return functional(
        [
            applied(input_layer(None, 16, name="x")),
            applied(own("SpikingActivation", "spikes", **SPIKES), [tensor("x")]),
            applied(own("Lowpass", "slow"), [tensor("spikes")]),
            applied(own("Alpha", "fast"), [tensor("spikes")]),
            applied(layer("Add", "sum"), [[tensor("slow"), tensor("fast")]]),
            applied(layer("GRU", "out", **GATED["GRU"], return_sequences=True), [tensor("sum")]),
        ],
        [["x", 0, 0]],
        ["out", 0, 0],
    )


def nested():
    """Return a model with a stateful model inside it, between dense layers."""
    inner = sequential(
        input_layer(None, 8), own("SpikingActivation", **SPIKES), own("Lowpass", "b"), name="inner"
    )
    return sequential(input_layer(None, 16), dense("in", 8), inner, dense("out", 4))


def masked(kind):
    """Return a layer that keeps its state where all units are 0."""
    item = layer(kind, "a", **GATED[kind], return_sequences=True)
    return chain(layer("Masking", "mask", mask_value=0.0), item)


MODELS = {
    "SpikingActivation": chain(own("SpikingActivation", **SPIKES)),
    "SpikingActivation, last": chain(own("SpikingActivation", **SPIKES, return_sequences=False),
                                     reduces=True),
    "Lowpass": chain(own("Lowpass")),
    "Lowpass, last": chain(own("Lowpass", return_sequences=False), reduces=True),
    "Alpha": chain(own("Alpha")),
    "Alpha, last": chain(own("Alpha", return_sequences=False), reduces=True),
    **{kind: chain(layer(kind, "a", **options, return_sequences=True))
       for kind, options in GATED.items()},
    **{f"{kind}, last": chain(layer(kind, "a", **options), reduces=True)
       for kind, options in GATED.items()},
    **{f"{kind}, masks": masked(kind) for kind in GATED},
    **{f"ConvLSTM{rank}D": chain(convolution(rank, return_sequences=True), units=units)
       for rank, units in CONVOLUTIONS.items()},
    "ConvLSTM2D, last": chain(convolution(2), units=CONVOLUTIONS[2], reduces=True),
    "StackedRNNCells": chain(recurrent(layer("StackedRNNCells", "s", cells=gated_cells()))),
    "RNN of SpikingActivationCell": chain(recurrent(own("SpikingActivationCell", "c", size=[16],
                                                        **SPIKES))),
    "RNN of LowpassCell": chain(recurrent(own("LowpassCell", "c", size=[16]))),
    "RNN of AlphaCell": chain(recurrent(own("AlphaCell", "c", size=[16]))),
    "GlobalAveragePooling1D": chain(layer("GlobalAveragePooling1D", "a"), reduces=True),
    "GlobalMaxPooling1D": chain(layer("GlobalMaxPooling1D", "a"), reduces=True),
    "a model in a model": Entry(nested(), (16,)),
    "branches": Entry(branches(), (16,)),
}  # fmt: skip
