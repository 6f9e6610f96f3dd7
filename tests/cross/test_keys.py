"""Tests that every layer's table lists all options that Keras saves."""

from __future__ import annotations

import inspect

import keras
import pytest

import kspike_tf
from kspike_ref.layers.errors import UnsupportedUseError
from kspike_ref.layers.keys import unknown_keys
from kspike_ref.layers.registry import _registry, create

LAYERS = sorted(key for key in _registry if not key.startswith("ops:"))
FACTOR = {"factor": 0.1}
NEEDED = {
    "Activation": {"activation": "relu"},
    "RNN": {"cell": keras.layers.LSTMCell(2)},
    "StackedRNNCells": {"cells": [keras.layers.LSTMCell(2)]},
    "Bidirectional": {"layer": keras.layers.LSTM(2)},
    "TimeDistributed": {"layer": keras.layers.Dense(2)},
    "SpectralNormalization": {"layer": keras.layers.Dense(2)},
    "Pipeline": {"layers": [keras.layers.ReLU()]},
    "EinsumDense": {"equation": "ab,bc->ac", "output_shape": 2},
    "InputLayer": {"shape": (3,)},
    "Lambda": {"function": abs},
    "Dot": {"axes": 1},
    "Permute": {"dims": (1,)},
    "Reshape": {"target_shape": (3,)},
    "Discretization": {"bin_boundaries": [0.0]},
    "IntegerLookup": {"vocabulary": [1, 2]},
    "Hashing": {"num_bins": 3},
    "CategoryEncoding": {"num_tokens": 3},
    "RandomPosterization": {"factor": 4},
    "MultiHeadAttention": {"num_heads": 1, "key_dim": 2},
    "GroupQueryAttention": {"head_dim": 1, "num_query_heads": 2, "num_key_value_heads": 1},
    "SpikingActivation": {"activation": "relu"},
    "SpikingActivationCell": {"size": (2,), "activation": "relu"},
    "LowpassCell": {"size": (2,), "tau_initializer": 0.1},
    "AlphaCell": {"size": (2,), "tau_initializer": 0.1},
    "Lowpass": {"tau_initializer": 0.1},
    "Alpha": {"tau_initializer": 0.1},
    "TimeFolded": {"layer": keras.layers.Flatten()},
}
ANY = {  # values of required arguments
    "units": 2, "filters": 2, "kernel_size": 1, "rate": 0.1, "stddev": 0.1, "factor": 0.1,
    "height": 2, "width": 2, "height_factor": 0.1, "width_factor": 0.1, "max_number": 2, "n": 2,
    "input_dim": 2, "output_dim": 2, "pool_size": 2, "scale": 1.0,
}  # fmt: skip
PRIVATE = {  # classes that Keras does not export
    "GroupedQueryAttention", "LayerScale", "custom:LayerScale",
    *(f"ConvLSTM{n}DCell" for n in "123"),
}  # fmt: skip


def made(key):
    """Return a layer of Keras or kspike_tf, built with as few arguments as possible."""
    name = key.rpartition(">")[2]
    cls = getattr(kspike_tf if key.startswith("custom:") else keras.layers, name)
    needed = NEEDED.get(name)
    if needed is None:
        parameters = inspect.signature(cls.__init__).parameters.values()
        required = [p.name for p in parameters if p.default is p.empty and p.name in ANY]
        needed = {name: ANY[name] for name in required}
    return cls(**needed)


@pytest.mark.parametrize("key", LAYERS)
def test_an_unknown_option_of_any_layer_is_named(key):
    assert unknown_keys(key, {"name": "x", "new_option": 1}) == ["new_option"]


@pytest.mark.parametrize("key", [key for key in LAYERS if key not in PRIVATE])
def test_the_options_that_keras_writes_are_known(key):
    assert unknown_keys(key, made(key).get_config()) == []


@pytest.mark.parametrize("key", ["RandomFlip", "custom:kspike_tf>Lowpass"])
def test_models_with_unknown_options_are_refused(key):
    item = keras.saving.serialize_keras_object(made(key))
    create(item)
    item["config"]["new_option"] = True
    with pytest.raises(UnsupportedUseError, match="new_option=True"):
        create(item)
