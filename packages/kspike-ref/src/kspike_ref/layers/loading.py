"""Loading of layers and inner layers from the place where Keras saved them."""

from __future__ import annotations

from typing import Any

from kspike_ref.layers.errors import SavedElsewhereError
from kspike_ref.saved.archive import ArchiveError, Weights


def load_part(layer: Any, store: Weights, path: str, *shapes: Any) -> None:
    """Load a layer of a model or of another layer, unless it is shared and already loaded.

    Keras saves a shared layer only in the first of its places: `SavedElsewhereError` says that
    another layer that holds it must be loaded first.
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
