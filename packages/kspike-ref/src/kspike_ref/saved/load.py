"""Loading of model files as graphs with weights, optionally with another time step."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from kspike_ref.layers.temporal_cells import read_dt
from kspike_ref.running.graph import Graph
from kspike_ref.saved.build import build
from kspike_ref.saved.config import parse
from kspike_ref.saved.files import opened_model

_NEURONS = ("kspike_tf>SpikingActivation", "kspike_tf>SpikingActivationCell")


def load_graph(
    path: Path, dt: float | None = None, rate_scale: float | None = None
) -> tuple[Graph, Counter[str]]:
    """Read a model file and build its graph.

    Parameters
    ----------
    path : Path
        As in `kspike_ref.load_model`.
    dt : float, optional
        Time step in seconds that replaces the saved one.
    rate_scale : float, optional
        Factor for firing rates.

    Returns
    -------
    graph : Graph
        The graph, ready to run.
    timed : collections.Counter
        The number of layers and cells with a time step, ``"dt"``, and of ``"neurons"`` among them,
        if ``dt`` or ``rate_scale`` is passed.
    """
    with opened_model(path) as archive:
        asked = dt is not None or rate_scale is not None
        timed = _override(archive.config, dt, rate_scale or 1.0) if asked else Counter()
        return build(parse(archive.config, archive.by_name), archive.weights), timed


def _override(config: Any, dt: float | None, rate_scale: float) -> Counter[str]:
    """Change the time steps in a model's configuration; return how many there are.

    Layers on one time axis share its step: a filter that kept another ``dt`` than the neurons
    before it would decay too fast or too slowly. Keras' own layers have no option of this name.

    A neuron integrates rate times dt and puts out 1/dt. With a longer step only in neurons, they
    fire more often, and their spikes are smaller by the same factor.
    """
    found: Counter[str] = Counter()
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            own = value.get("config")
            if "class_name" in value and isinstance(own, dict) and "dt" in own:
                is_neuron = value.get("registered_name") in _NEURONS
                step = read_dt(own["dt"]) if dt is None else dt
                own["dt"] = step * rate_scale if is_neuron else step
                found.update(dt=1, neurons=is_neuron)
            waiting += value.values()
    return found
