"""The initial states of streaming, and checks of the caller's states."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from kspike_ref.layers.errors import check_rows, wrong_batch
from kspike_ref.layers.stateful import StatefulLayer
from kspike_ref.running.graph import Node

_ANYTHING_ELSE = "state must come from initial_state or step of this model. Received: {}"


class Streamed:
    """The states that `Model.step` takes, by node.

    Parameters
    ----------
    nodes : sequence of Node
        The model's nodes.
    carried : collection of int
        The nodes that carry a state from step to step.
    """

    def __init__(self, nodes: Sequence[Node], carried: Collection[int]) -> None:
        self._nodes = {i: nodes[i] for i in sorted(carried)}
        self._known: dict[int, list[tuple[int, ...]]] = {}

    def initial(self, batch: int) -> dict[int, Any]:
        """Return the states before the first step, for a number of examples."""
        return {
            i: node.layer.initial_state(batch, *node.input_shapes)
            for i, node in self._nodes.items()
            if isinstance(node.layer, StatefulLayer)
        }

    def check(self, state: Any, batch: int) -> None:
        """Refuse a state of another model, or for another number of examples.

        Parameters
        ----------
        state : object
            The argument of `Model.step`.
        batch : int
            The number of examples of this step.

        Raises
        ------
        TypeError
            If ``state`` is not a state.
        ValueError
            If it is for another model or number of examples, or its arrays have other shapes.
        """
        if not isinstance(state, Mapping):
            raise TypeError(_ANYTHING_ELSE.format(type(state).__name__))
        if state.keys() != self._nodes.keys():
            raise ValueError(_ANYTHING_ELSE.format("the state of another model"))
        for i, node in self._nodes.items():
            kept = state[i]
            arrays = isinstance(kept, tuple) and all(isinstance(a, np.ndarray) for a in kept)
            if not arrays or any(a.dtype.kind not in "fiub" for a in kept):
                raise TypeError(_ANYTHING_ELSE.format(f"{kept!r:.80} for {node.name!r}"))
            shapes = self._shapes()[i]
            # The state of a layer with a mask has one more array: its last output.
            if not 0 <= len(kept) - len(shapes) <= 1:
                raise ValueError(_ANYTHING_ELSE.format(f"{len(kept)} arrays for {node.name!r}"))
            check_rows(node.name, kept, shapes, batch)
            if len(kept) > len(shapes) and len(kept[-1]) != batch:
                raise wrong_batch(node.name, len(kept[-1]), batch)

    def _shapes(self) -> dict[int, list[tuple[int, ...]]]:
        """Return the shapes of the states of one example."""
        if not self._known:
            one = self.initial(1)
            self._known = {i: [array.shape[1:] for array in kept] for i, kept in one.items()}
        return self._known
