"""The network that all converters get, and its conversion by kspike_tf.

Runs in the driver's environment.
"""

from __future__ import annotations

import importlib.util
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

import kspike_tf

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "convert_digits.py"
SETTINGS: dict[str, dict[str, Any]] = {
    "at most 500 Hz, filtered, last value": {"max_rate": 500.0},
    "at most 1,000 Hz, filtered, last value": {"max_rate": 1000.0},
    "at most 1,000 Hz, filter of 3 ms, last value": {"max_rate": 1000.0, "synapse": 0.003},
    "at most 1,000 Hz, mean of spikes": {"max_rate": 1000.0, "synapse": None},
}


def _example() -> Any:
    spec = importlib.util.spec_from_file_location("convert_digits", EXAMPLE)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["convert_digits"] = module
    spec.loader.exec_module(module)
    return module


def trained(path: pathlib.Path, epochs: int) -> tuple[keras.Model, float]:
    """Train the network of the example; write weights and data, and return its accuracy.

    Parameters
    ----------
    path : pathlib.Path
        File for weights, in Keras' order, and images.
    epochs : int
        Number of epochs of training.
    """
    example = _example()
    keras.utils.set_random_seed(example.SEED)
    digits, model = example.load(), example.ordinary_model()
    example.train(model, digits, epochs)
    weights = {f"weight_{i:02d}": array for i, array in enumerate(model.get_weights())}
    np.savez(path, calibration=digits.images[:500], **weights, images=digits.held_out,
             labels=digits.held_out_labels)  # fmt: skip
    scores = model.predict(digits.held_out, verbose=0)
    return model, example.accuracy(scores, digits.held_out_labels)


def points(
    model: keras.Model, data: Mapping[str, np.ndarray], timesteps: Sequence[int]
) -> dict[str, list[tuple[int, float, float]]]:
    """Return number of steps, accuracy and spikes per image, by setting."""
    found = {}
    for name, options in SETTINGS.items():
        spiking = kspike_tf.convert(
            model, calibration_data=data["calibration"], timesteps=1, **options
        ).model
        swept = kspike_tf.sweep(
            spiking, data["images"], data["labels"], timesteps=timesteps, devices=()
        )
        found[name] = [(point.timesteps, point.score, point.spikes) for point in swept]
    return found
