"""Comparison of a converted network with the ordinary one, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kspike_tf.conversion.calibrate import outputs_of
from kspike_tf.conversion.replace import SpikingNetwork
from kspike_tf.conversion.report import LayerReport
from kspike_tf.conversion.scale import Site


def repeated(data: Any, timesteps: int) -> Any:
    """Repeat inputs for a number of steps, along a new time axis after the batch axis."""
    return keras.tree.map_structure(
        lambda array: np.repeat(np.asarray(array)[:, None], timesteps, axis=1), data
    )


def compare_layers(
    spiking: SpikingNetwork,
    ordinary: Sequence[np.ndarray],
    sites: Sequence[Site],
    data: Any,
    timesteps: int,
) -> tuple[tuple[LayerReport, ...], list[np.ndarray]]:
    """Compare spikes with activations; return a report per site, and the outputs.

    Parameters
    ----------
    spiking : SpikingNetwork
        The converted model.
    ordinary : sequence of array
        Activations of the sites in the ordinary network, in their own units.
    sites : sequence of Site
        Spiking activations.
    data : structure of array
        Examples, without time.
    timesteps : int
        Number of steps to show them.
    """
    inside = [layer.output for layer in spiking.layers]
    outputs = keras.tree.flatten(spiking.model.output)
    probe = keras.Model(spiking.model.input, [*inside, *outputs])
    found = outputs_of(probe, repeated(data, timesteps))
    reports = tuple(
        _compared(site, spikes, activation)
        for site, spikes, activation in zip(sites, found[: len(sites)], ordinary, strict=True)
    )
    return reports, found[len(sites) :]


def _compared(site: Site, spikes: np.ndarray, activation: np.ndarray) -> LayerReport:
    rates = spikes.mean(axis=1)
    # The second half of the presentation: filters have settled by then.
    found = spikes[:, spikes.shape[1] // 2 :].mean(axis=1) / site.scale
    return LayerReport(
        name=site.node.label,
        scale=site.scale,
        mean_rate=float(np.abs(rates).mean()),
        active_rate=float(np.abs(activation[activation != 0]).mean()) * site.scale,
        correlation=correlation(found, activation),
        error=relative_error(found, activation),
    )


def correlation(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the correlation of two arrays, or NaN if one of them is constant."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.corrcoef(np.ravel(found), np.ravel(expected))[0, 1])


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the root mean square difference, relative to the expected root mean square."""
    size = np.sqrt(np.mean(np.square(expected, dtype=np.float64)))
    return float(np.sqrt(np.mean(np.square(found - expected, dtype=np.float64))) / size)


def agreement(found: np.ndarray, expected: np.ndarray) -> float | None:
    """Return the fraction of examples with the same highest output; None for a single output."""
    if expected.ndim < 2 or expected.shape[-1] < 2:
        return None
    return float(np.mean(found.argmax(-1) == expected.argmax(-1)))
