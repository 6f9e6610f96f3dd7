"""Metrics of a sweep: accuracy, or the user's own function."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from types import CodeType
from typing import Any

import numpy as np


class Metric:
    """A score of outputs; higher is better.

    Parameters
    ----------
    metric : {"accuracy"} or callable
        As in `sweep`.

    Attributes
    ----------
    name : str
        Its name, for tables.

    Raises
    ------
    ValueError
        If it is neither.
    """

    def __init__(self, metric: str | Callable[[Any, Any], float]) -> None:
        if metric != "accuracy" and not callable(metric):
            raise ValueError(
                "metric must be 'accuracy' or a function of y and the outputs. "
                f"Received: metric={metric!r}"
            )
        self._function = metric if callable(metric) else accuracy
        self.name = getattr(self._function, "__name__", type(self._function).__name__)

    @property
    def identity(self) -> str:
        """Its full name and a hash of its code, which identify points in a file.

        The hash does not cover functions that the metric calls.

        Raises
        ------
        ValueError
            If it is not a module-level function: it may depend on values without a name.
        """
        function, code = self._function, getattr(self._function, "__code__", None)
        module, name = (getattr(function, each, "") for each in ("__module__", "__qualname__"))
        found: Any = sys.modules.get(module)
        for part in name.split("."):
            found = getattr(found, part, None)
        if code is None or found is not function or function.__closure__:
            raise ValueError(
                "with resume=, metric must be a module-level function: define it with def, outside "
                f"of functions and without a decorator. Received: metric={function!r}"
            )
        defaults = [getattr(function, each) for each in ("__defaults__", "__kwdefaults__")]
        text = repr((_instructions(code), defaults))
        return f"{module}.{name} {hashlib.sha256(text.encode()).hexdigest()}"

    def __call__(self, y: Any, outputs: Any) -> float:
        """Return the score."""
        return float(self._function(y, outputs))


def _instructions(code: CodeType) -> tuple[Any, ...]:
    """Return what determines a function's results: its instructions, constants and names."""
    constants = [
        _instructions(each) if isinstance(each, CodeType)
        else sorted(map(repr, each)) if isinstance(each, frozenset)
        else each
        for each in code.co_consts
    ]  # fmt: skip
    return code.co_code, constants, code.co_names, code.co_varnames


def accuracy(y: Any, outputs: Any) -> float:
    """Return the fraction of examples whose highest output is that of their class.

    Parameters
    ----------
    y : (batch,), (batch, 1) or (batch, classes) array
        Classes, as integers or one-hot.
    outputs : (batch, classes) or (batch, time, classes) array
        Scores of the classes; the last step counts.

    Raises
    ------
    TypeError
        If the model has several outputs.
    ValueError
        If the arrays have other shapes.
    """
    if isinstance(outputs, (dict, list, tuple)):
        raise TypeError(
            "metric must be a function for models with several outputs, because accuracy needs "
            f"exactly one. Received: {len(outputs)} outputs"
        )
    scores, labels = np.asarray(outputs), np.asarray(y)
    scores = scores[:, -1] if scores.ndim == 3 else scores
    if labels.ndim == 2 and labels.shape[1] > 1:
        labels = labels.argmax(axis=1)
    if scores.ndim != 2 or scores.shape[1] < 2 or labels.size != len(scores):
        raise ValueError(
            "accuracy needs one class per example, and outputs of shape (batch, classes) or "
            "(batch, time, classes) with at least two classes. "
            f"Received: y of shape {np.shape(y)}, outputs of shape {np.shape(outputs)}"
        )
    return float(np.mean(scores.argmax(axis=1) == labels.reshape(-1)))
