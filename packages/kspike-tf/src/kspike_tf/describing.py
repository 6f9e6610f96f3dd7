"""Representations of layers, regularizers and reports: settings with units, and HTML tables."""

from __future__ import annotations

import html
import inspect
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kspike_tf.config import VariableDt

Row = Sequence[str]


def as_html(rows: Sequence[Row], caption: str, notes: Sequence[str] = ()) -> str:
    """Return an HTML table whose first row is the header; notes are lines below it."""

    def row(cells: Row, tag: str) -> str:
        return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)

    head, *body = rows
    lines = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in body)
    below = "".join(f"<div>{html.escape(note)}</div>" for note in notes)
    return (
        f"<div><div><b>{html.escape(caption)}</b></div>"
        f"<table><thead><tr>{row(head, 'th')}</tr></thead><tbody>{lines}</tbody></table>"
        f"{below}</div>"
    )


def seconds(value: float) -> str:
    """Return a time with a unit and at most three digits, such as ``"5 ms"``."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if value * factor >= 0.9995:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def dynamics(layer: Any) -> dict[str, str]:
    """Return activation, time constants, time step and seed of a layer or cell, as text."""
    found: dict[str, str] = {}
    activation = getattr(layer, "activation", None)
    if activation is not None:
        found["activation"] = str(getattr(activation, "__name__", type(activation).__name__))
    cell = getattr(getattr(layer, "layer", None), "cell", layer)
    tau = _numbers(getattr(cell, "tau", None))
    if tau is not None and tau.size:
        ends = [seconds(float(each)) for each in (tau.min(), tau.max())]
        found["tau"] = " to ".join(dict.fromkeys(ends))
    dt = getattr(layer, "dt", None)
    value = _numbers(dt.storage if isinstance(dt, VariableDt) else dt)
    if value is not None:
        found["dt"] = seconds(float(value))
    if getattr(layer, "seed", None) is not None:
        found["seed"] = str(layer.seed)
    return found


def _numbers(value: Any) -> np.ndarray | None:
    """Return a number or variable as an array; None where it has no value, as in a graph."""
    if value is None or isinstance(value, int | float):
        return None if value is None else np.asarray(value, np.float64)
    if not tf.executing_eagerly():
        return None
    return np.asarray(keras.ops.convert_to_numpy(value), np.float64)


def arguments(made: Any) -> dict[str, str]:
    """Return an object's ``target``, and its arguments that differ from their defaults, as text.

    Its ``get_config`` returns the arguments, which are also its attributes.
    """
    defaults = inspect.signature(type(made).__init__).parameters
    found = {}
    for name in made.get_config():
        value = getattr(made, name)
        if name in defaults and (name != "target" and value == defaults[name].default):
            continue
        if isinstance(value, keras.regularizers.Regularizer):
            weights = {k: v for k, v in vars(value).items() if k in ("l1", "l2") and float(v)}
            inner = ", ".join(f"{k}={float(v):g}" for k, v in weights.items())
            found[name] = f"{type(value).__name__}({inner})"
        else:
            found[name] = _plain(value)
    return found


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_plain, value))})"
    return f"{value:g}" if isinstance(value, float) else repr(value)
