"""Variants of a model for a sweep: other time steps, scaled rates and fixed seeds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from kspike_tf.layers import SpikingActivation, SpikingActivationCell
from kspike_tf.types import ReferenceModel

_FIRST_SEED = 2**32  # of layers without one; far from the small numbers that people choose


def variant(model: Any, dt: float | None, scale: float) -> Any:
    """Return a model with another time step and scaled rates.

    Parameters
    ----------
    model : keras.Model, kspike_ref.Model or callable
        A model, or a function that makes one: it is called with ``dt`` and ``rate_scale``, as in
        ``kspike_ref.load_model``, if they differ from the model's own.
    dt : float or None
        Time step in seconds; None for the model's own.
    scale : float
        Factor for firing rates. Neurons get a time step that is longer by this factor, so that they
        fire more often with smaller spikes; filters do not.

    Raises
    ------
    TypeError
        If the model is of another kind.
    ValueError
        If a loaded kspike_ref model would have to change.
    """
    if isinstance(model, keras.Model):
        return _keras_variant(model, dt, scale)
    if isinstance(model, ReferenceModel):
        if dt is not None or scale != 1:
            raise ValueError(
                "a loaded kspike_ref model cannot change dt or scale: pass "
                "functools.partial(kspike_ref.load_model, path) instead of the loaded model. "
                f"Received: dt={dt!r}, scale={scale!r}"
            )
        return model
    if not callable(model):
        raise TypeError(
            "model must be a Keras model, a Conversion, a kspike_ref model or a function that "
            f"loads one. Received: model={model!r}"
        )
    options = {} if dt is None else {"dt": dt}
    return model(**options) if scale == 1 else model(**options, rate_scale=scale)


def _keras_variant(model: keras.Model, dt: float | None, scale: float) -> keras.Model:
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for number, (old, new) in enumerate(zip(_timed(model), _timed(copy), strict=True)):
        step = float(new.dt) if dt is None else dt  # a variable's current value, not the first
        if isinstance(new, (SpikingActivation, SpikingActivationCell)):
            step *= scale
            if old.seed is None:
                new.seed = _FIRST_SEED + number
        new.dt = step
    return copy


def _timed(model: keras.Model) -> list[Any]:
    """Return the layers and cells of a model that have a time step."""
    return [each for each in model._flatten_layers() if "dt" in getattr(each, "settings", ())]


@contextmanager
def seeded(model: Any) -> Iterator[None]:
    """Seed those neurons of kspike_ref that have no seed, so that all runs give the same spikes."""
    holders = model.layers if isinstance(model, ReferenceModel) else ()
    drawn = [each for each in _inside(holders) if getattr(each, "seed", 0) is None]
    try:
        for number, cell in enumerate(drawn):
            cell.seed = _FIRST_SEED + number
        yield
    finally:
        for cell in drawn:
            cell.seed = None


def _inside(holders: Iterable[Any]) -> Iterator[Any]:
    """Yield the cells of kspike_ref layers, including those in wrappers and stacks."""
    for holder in holders:
        inner = [getattr(holder, name, None) for name in ("cell", "forward", "backward")]
        inner = [each for each in [*inner, *getattr(holder, "cells", ())] if each is not None]
        yield from inner
        yield from _inside(inner)


def fingerprint(model: Any) -> str:
    """Return a hash of a model's layers and weights."""
    digest = hashlib.sha256()
    if isinstance(model, ReferenceModel):
        parts = [
            (node.name, node.layer.key, node.layer.config, node.arguments, node.keywords)
            for node in model.nodes
        ]
        weights: Iterable[Any] = [w for layer in model.layers for w in layer.weights.values()]
    else:
        parts, weights = model.get_config(), model.get_weights()
    digest.update(json.dumps(parts, sort_keys=True, default=_as_text).encode())
    for array in weights:
        update(digest, np.asarray(array))
    return digest.hexdigest()


def _as_text(value: Any) -> str:
    """Return a value that JSON cannot encode as text; for arrays, with all elements."""
    return f"{value.dtype} {value.tolist()}" if isinstance(value, np.ndarray) else str(value)


def update(digest: Any, array: np.ndarray) -> None:
    """Add an array's type, shape and contents to a hash."""
    digest.update(f"{array.dtype} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
