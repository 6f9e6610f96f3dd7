"""Loading a layer, or a layer within one, where Keras saved it."""

from __future__ import annotations

from typing import Any

from kspike_ref.layers.errors import SavedElsewhereError
from kspike_ref.saved.archive import ArchiveError, Weights


def load_part(layer: Any, store: Weights, path: str, *shapes: Any) -> None:
    """Load a layer of a model, or a layer within one, unless it was loaded where it is shared.

    Parameters
    ----------
    layer : Layer
        What to load.
    store : Weights
        The archive.
    path : str
        Where Keras saved it, if it met it there first.
    *shapes : tuple
        The shapes of its inputs.

    Raises
    ------
    SavedElsewhereError
        If another layer that holds it must be loaded before.
    """
    if layer.is_shared and layer.is_loaded and store.holds(path) and not store.repeats_shared:
        raise ArchiveError(f"layer {layer.name!r} is shared, and saved twice: also at {path}")
    if layer.is_shared and not store.holds(path):
        if layer.is_loaded:
            layer.check_again(*shapes)
            return
        if not store.is_last_chance:
            raise SavedElsewhereError(path)
    layer.load(store, path, *shapes)
    layer.is_loaded = True
