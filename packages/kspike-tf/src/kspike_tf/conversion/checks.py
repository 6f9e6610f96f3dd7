"""Checks of models and options before a conversion."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras
import numpy as np

from kspike_tf.conversion import activations
from kspike_tf.conversion.copies import unbuilt_copy
from kspike_tf.conversion.graph import Graph, Node
from kspike_tf.conversion.pool import is_max_pooling
from kspike_tf.layers import KerasSpikingCell, KerasSpikingLayer

_CHOICES = {
    "max_pooling": ("keep", "average", "refuse"),
    "other_activations": ("spike", "keep", "refuse"),
    "readout": (None, "last", "mean", "sequence"),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of a conversion that need checks."""

    dt: float
    max_rate: float
    percentile: float
    synapse: float | None
    max_pooling: str
    other_activations: str
    readout: str | None
    timesteps: int | None

    def check(self) -> None:
        """Raise a ValueError or TypeError that names the first invalid option."""
        for name in ("dt", "max_rate", "percentile", "synapse"):
            value = getattr(self, name)
            if value is not None or name != "synapse":
                _check_positive(value, name)
        if self.percentile > 100:
            raise ValueError(f"percentile must be at most 100. Received: {self.percentile!r}")
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {known}. Received: {name}={getattr(self, name)!r}"
                )
        steps = self.timesteps
        if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int)):
            raise TypeError(f"timesteps must be an integer or None. Received: {steps!r}")
        if steps is not None and steps < 1:
            raise ValueError(f"timesteps must be positive. Received: timesteps={steps!r}")
        if self.readout == "last" and self.synapse is None:
            raise ValueError(
                "readout='last' needs a synapse: the last step of unfiltered spikes carries little "
                "information. Use readout='mean'"
            )


def _check_positive(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name} must be a number. Received: {name}={value!r}")
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be positive and finite. Received: {name}={value!r}")


def check_convertible(graph: Graph, options: Options) -> None:
    """Raise a ValueError that names every layer that cannot be converted, with the reason."""
    problems: dict[str, str] = {}
    for node in graph.nodes:
        reason = _problem(node, options) or _problem_of_shape(graph, node)
        if reason:
            problems[node.name] = reason
    if problems:
        lines = "".join(f"\n- {name}: {reason}" for name, reason in problems.items())
        raise ValueError(f"model {graph.name!r} cannot be converted:{lines}")


def _problem(node: Node, options: Options) -> str | None:
    """Return why a layer cannot be converted, or None."""
    layer = node.layer
    parts = layer._flatten_layers() if isinstance(layer, keras.layers.Layer) else []
    if any(_spikes(each) for each in parts):
        return f"{type(layer).__name__} has a time axis already; convert the ordinary model"
    if any(getattr(each, "stateful", False) for each in parts):
        return "it is stateful, and would see time steps as examples"
    if any(not np.all(np.isfinite(weight)) for weight in _numbers(layer)):
        return "its weights are not finite"
    if getattr(layer, "mask_zero", False) or isinstance(layer, keras.layers.Masking):
        return "it makes a mask, and masks cannot be converted"
    if getattr(layer, "quantization_mode", None):
        mode = layer.quantization_mode
        return f"it is quantised ({mode}); convert the model before quantising it"
    if getattr(layer, "lora_enabled", False):
        return "it has LoRA weights; train without, or convert the model before adding them"
    if options.max_pooling == "refuse" and is_max_pooling(layer):
        return "max pooling; pass max_pooling='average' or 'keep'"
    if options.other_activations == "refuse":
        return _problem_of_activation(layer) or _problem_of_copy(layer)
    return _problem_of_copy(layer)


def _problem_of_shape(graph: Graph, node: Node) -> str | None:
    shape = graph.shape(node.outputs[0])
    if None in shape[1:] and activations.is_rectifier(activations.activation_of(node.layer)):
        return (
            f"its neurons need a fixed shape, not {shape}; build the model anew with an Input of "
            "fixed lengths, and pass it the weights"
        )
    return None


def _problem_of_copy(layer: Any) -> str | None:
    """Return why Keras cannot make a copy of a layer, or None."""
    if not isinstance(layer, keras.layers.Layer):
        return None
    try:
        unbuilt_copy(layer)
    except Exception as error:  # from a layer's own code, so of any kind
        return f"Keras cannot copy it: {' '.join(str(error).split())}"
    return None


def _spikes(layer: Any) -> bool:
    """Return whether a layer or cell is one of this package, or derived from one."""
    is_own = isinstance(layer, (KerasSpikingLayer, KerasSpikingCell))
    return is_own or type(layer).__module__.startswith("kspike_tf.")


def _problem_of_activation(layer: Any) -> str | None:
    fused = getattr(layer, "activation", None)
    if isinstance(fused, keras.layers.Layer):
        layer = fused
    elif fused is not None:
        layer = keras.layers.Activation(fused)
    name = activations.function_name(layer)
    if isinstance(layer, keras.layers.Activation) and not name:
        return "its activation is none of Keras' functions"
    fine = name in ("", "linear", "softmax", "log_softmax") or activations.is_rectifier(layer)
    return None if fine else f"its activation {name} is not a rectifier"


def _numbers(layer: Any) -> list[np.ndarray]:
    weights = layer.get_weights() if isinstance(layer, keras.layers.Layer) else []
    return [weight for weight in weights if np.issubdtype(weight.dtype, np.floating)]
