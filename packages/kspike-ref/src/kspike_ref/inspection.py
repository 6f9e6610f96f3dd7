"""What a model shows of itself: a table of its layers, and recordings of what they hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kspike_ref.arguments import told_options
from kspike_ref.running.engine import Engine
from kspike_ref.running.graph import Node
from kspike_ref.running.recording import Recording, record


class Inspectable:
    """Methods of `kspike_ref.Model` that look inside.

    Attributes
    ----------
    name : str
        The model's name.
    nodes : tuple of Node
        The applications of layers, in the order in which they run, the inputs first.
    """

    name: str
    nodes: tuple[Node, ...]
    _engine: Engine

    @told_options
    def record(
        self,
        x: Any,
        layers: Iterable[str] | None = None,
        voltages: bool = True,
        timesteps: int | None = None,
    ) -> Recording:
        """Run the model and record spikes, voltages and filter levels after every step.

        Parameters
        ----------
        x : array_like, or list or dict of array_like
            The inputs, as in `predict`.
        layers : iterable of str, optional
            The names of spiking layers and filters; all of them without.
        voltages : bool
            Whether to record voltages, which take twice the memory of float32 spikes.
        timesteps : int, optional
            As in `predict`.

        Returns
        -------
        Recording
            ``spikes``, ``voltages`` and ``levels``: arrays ``(examples, steps, *units)`` by the
            names of layers, and ``dt``. A layer that is applied several times appears as ``name``,
            ``name:1``, ``name:2`` …

        Raises
        ------
        TypeError, ValueError
            If the inputs do not fit the model, or there is no spiking layer or filter of a name.
        ValueError
            If the model has neither, or does not run step by step, as `initial_state` says.

        Notes
        -----
        All steps are in the arrays also of layers with ``return_sequences=False``. The bits are
        those of `predict`. All examples run at once, so memory grows with their number.
        """
        nodes = dict(zip(activity_names(self.nodes), self.nodes, strict=True))
        return record(self._engine, nodes, x, timesteps, layers, voltages)


def activity_names(nodes: Iterable[Node]) -> list[str]:
    """Return names that tell the applications of a layer apart."""
    return [
        node.name if node.node_index == 0 else f"{node.name}:{node.node_index}" for node in nodes
    ]
