"""Tests of half-precision policies: kspike_ref computes in float32 with the saved weights."""

from __future__ import annotations

import keras
import layerwise
import numpy as np
import pytest

import kspike_ref
import kspike_tf
from kspike_ref.running.counts import Tally
from kspike_ref.running.graph import substitute

L = keras.layers

# A unit in the last place of the largest output. Keras rounds a layer's inputs, weights and output
# to half precision: the error was at most two units, or four for recurrent layers, which round
# their state at each of nine steps.
UNIT = {"float16": 2.0**-10, "bfloat16": 2.0**-7}


def _model(policy):
    keras.config.set_dtype_policy(policy)
    try:
        options = {"return_sequences": True, "recurrent_initializer": "glorot_uniform"}
        x = inputs = L.Input((9, 6))
        x = L.Dense(16, "relu")(x)
        x = L.LayerNormalization()(x)
        x = L.Conv1D(8, 3, padding="same")(x)
        x = L.BatchNormalization()(x)
        x = L.GRU(6, **options)(x)
        x = L.LSTM(6, **options)(x)
        x = kspike_tf.SpikingActivation("relu", dt=0.5, seed=1)(x * 16.0)
        x = kspike_tf.Lowpass(2.0, dt=0.5)(x)
        x = kspike_tf.Alpha(2.0, dt=0.5)(x)
        return keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling1D()(x)))
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16"])
def test_every_layer_agrees_within_the_rounding_of_half_precision(policy, tmp_path):
    model = _model(policy)
    x = np.random.default_rng(0).normal(size=(4, 9, 6)).astype(np.float32)
    model.save(tmp_path / "m.keras")
    loaded = kspike_ref.load_model(tmp_path / "m.keras")
    values = layerwise.in_keras(model, x)
    unit = UNIT[policy.removeprefix("mixed_")]
    for node in loaded.nodes[1:]:

        def given(ref):
            return values[loaded.nodes[ref.node].name, 0, ref.output].astype(np.float32)

        options = {"tally": Tally()} if node.layer.takes_tally else {}
        ours = node.layer.call(*substitute(node.arguments, given), **options)
        theirs = values[node.name, 0, 0]
        assert ours.dtype == np.float32
        assert theirs.dtype.itemsize == 2
        error = layerwise.error(ours, theirs.astype(np.float32))
        if node.layer.class_name == "SpikingActivation":
            assert np.count_nonzero(ours) > 20
            assert error == 0  # the same rates give the same spikes, whose height is exact here
        else:
            recurrent = node.layer.class_name in ("GRU", "LSTM")
            assert error <= (4 if recurrent else 2) * unit, (node.name, error / unit)
    assert loaded.predict(x).dtype == np.float32
    assert f"saved for {policy}; computed in float32" in str(loaded)


def test_single_precision_says_nothing(tmp_path):
    keras.Sequential([L.Input((3,)), L.Dense(2)]).save(tmp_path / "m.keras")
    assert "computed in" not in str(kspike_ref.load_model(tmp_path / "m.keras"))
