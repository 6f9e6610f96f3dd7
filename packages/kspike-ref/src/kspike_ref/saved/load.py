"""From a model file to a graph with weights, if asked with another time step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kspike_ref.running.graph import Graph
from kspike_ref.saved.build import build
from kspike_ref.saved.config import parse
from kspike_ref.saved.files import read_model


def load_graph(path: Path, dt: float | None = None) -> tuple[Graph, int]:
    """Read a model file and build its graph.

    Parameters
    ----------
    path : Path
        As in `kspike_ref.load_model`.
    dt : float, optional
        Time step in seconds that replaces the saved one.

    Returns
    -------
    graph : Graph
        Ready to run.
    timed : int
        The number of layers and cells that got ``dt``.
    """
    archive = read_model(path)
    timed = 0 if dt is None else _override_dt(archive.config, dt)
    try:
        return build(parse(archive.config, archive.by_name), archive.weights), timed
    finally:
        if archive.weights.assets is not None:
            archive.weights.assets.close()


def _override_dt(config: Any, dt: float) -> int:
    """Write a time step into every layer and cell that has one.

    Layers on one time axis share its step: a filter that kept another ``dt`` than the neurons
    before it would decay too fast or too slowly. Keras' own layers have no option of this name.

    Parameters
    ----------
    config : nested dict and list
        A model's configuration, which is changed.
    dt : float
        Seconds.

    Returns
    -------
    int
        The number of layers and cells that have a time step.
    """
    found, waiting = 0, [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            own = value.get("config")
            if "class_name" in value and isinstance(own, dict) and "dt" in own:
                own["dt"] = dt
                found += 1
            waiting += value.values()
    return found
