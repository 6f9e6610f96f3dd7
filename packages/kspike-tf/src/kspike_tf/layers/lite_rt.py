"""Checks and operations for layers that are exported to LiteRT or ONNX."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import tensorflow as tf

from kspike_tf.tracing import exporter

Tensor = Any

INSTEAD = "or export to ONNX with kspike_tf.export.to_onnx"


def for_each_example(x: Tensor, shape: Any) -> Tensor:
    """Broadcast a state to all examples; as integers for LiteRT, which cannot move float64."""
    if exporter() == "LiteRT" and x.dtype == tf.float64:
        return tf.bitcast(tf.broadcast_to(tf.bitcast(x, tf.int64), shape), tf.float64)
    return tf.broadcast_to(x, shape)


def activation_for_export(activation: Any) -> Any:
    """Return an activation function; for LiteRT, one that LiteRT computes accurately.

    LiteRT's softplus is log(1 + exp(x)), which is infinite from x = 89 on.
    """
    if exporter() == "LiteRT":
        if activation is keras.activations.softplus:
            return _softplus
        if activation is keras.activations.log_sigmoid:
            return lambda x: -_softplus(-x)
    return activation


def _softplus(x: Tensor) -> Tensor:
    return tf.nn.relu(x) + tf.math.log(1 + tf.exp(-tf.abs(x)))


def check_layer(layer: Any, masked: bool) -> None:
    """Raise if a layer is exported to LiteRT, or to ONNX, which cannot run it."""
    target = exporter()
    if target not in ("LiteRT", "ONNX"):
        return
    name = f"layer {layer.name!r}"
    if layer.stateful:
        _refuse(
            f"{target} cannot keep the states of {name} with stateful=True: give it initial_state "
            "and return_state=True, as inputs and outputs of the model"
        )
    if target == "ONNX":
        return
    if layer.layer.cell.sequence_dtype == "float64":
        _refuse(
            f"LiteRT does not support float64: make {name} with dtype='float32', {INSTEAD}. "
            f"Received: dtype={layer.dtype_policy.name!r}"
        )
    if masked and layer.return_state:
        _refuse(
            f"LiteRT cannot return the states of {name} after a mask: make it with "
            f"return_state=False, {INSTEAD}"
        )


def check_cell(cell: Any) -> None:
    """Raise if a cell is exported to LiteRT step by step; its states are float64."""
    if exporter() == "LiteRT":
        layer = type(cell).__name__.removesuffix("Cell")
        _refuse(
            f"LiteRT does not support float64, which cell {cell.name!r} needs: "
            f"use the layer kspike_tf.{layer} in place of keras.layers.RNN, {INSTEAD}"
        )


def _refuse(message: str) -> None:
    # Warn as well: tf.lite catches errors from Keras, and then fails with an error of its own.
    warnings.warn(message, stacklevel=2)
    raise ValueError(message)
