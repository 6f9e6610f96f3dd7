# ruff: noqa: D102 (methods of subclasses are documented in Layer)
"""The base class of layers that carry a state from one time step to the next."""

from __future__ import annotations

from typing import Any

from kspike_ref.layers.base import Layer
from kspike_ref.layers.errors import Array, State
from kspike_ref.running.binder import Binder


class StatefulLayer(Layer):
    """A layer that carries a state from one time step to the next.

    Attributes
    ----------
    reduces : bool
        Whether the output has no time axis: it is the value over all steps so far.
    """

    uses_mask = True
    reduces: bool = False

    def pointwise(self, *shapes: Any) -> bool:
        """Return False: steps depend on each other, also inside a wrapper layer."""
        return False

    def streams(self, *shapes: Any) -> bool:
        return len(shapes) == 1

    def timed(self) -> tuple[list[int], list[int]]:
        return [0], [] if self.reduces else [0]

    def initial_state(self, batch: int, *shapes: Any) -> State:
        """Return the state before the first step.

        Parameters
        ----------
        batch : int
            The number of examples.
        *shapes : tuple
            The shapes of the inputs.

        Returns
        -------
        tuple of ndarray
            Arrays whose first axis is the batch.
        """
        raise NotImplementedError

    @property
    def draws_states(self) -> bool:
        """Whether `initial_state` returns different numbers at every call."""
        return False

    @property
    def binds(self) -> bool:
        """Whether `bind_scan` may record calls."""
        return type(self).bind_scan is not StatefulLayer.bind_scan

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = vars(cls)
        if ("call" in own or "scan" in own) and "bind_scan" not in own:
            cls.bind_scan = StatefulLayer.bind_scan  # type: ignore[method-assign]

    def bind_scan(self, binder: Binder, x: Array, state: State) -> Array | None:
        """Record the calls that replace ``scan``, as in `Layer.bind`.

        Parameters
        ----------
        binder : Binder
            Takes the calls and lends memory; an input of one step stands for its ``steps`` steps.
        x : ndarray
            ``(batch, time, …)``, like all later inputs.
        state : tuple of ndarray
            Float64, C-contiguous: the state before the steps, which the calls replace by the state
            after them.

        Returns
        -------
        ndarray or None
            The output, or None if nothing was recorded and ``scan`` must be used.
        """
        return None

    def scan(self, state: State, *inputs: Any, mask: Any = None) -> tuple[Any, State]:
        """Run over the steps of the inputs, and return the output and the state after them.

        Parameters
        ----------
        state : tuple of ndarray
            The state before the steps; not changed.
        *inputs : ndarray
            ``(batch, time, …)``. A time axis of stride 0 repeats one input at every step.
        mask : ndarray, optional
            Bools, ``(batch, time)``: at steps that are False, the state is kept.

        Returns
        -------
        tuple
            The output and the new state.
        """
        raise NotImplementedError
