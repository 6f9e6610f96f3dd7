"""Outputs of a kspike_ref model for several numbers of time steps, from one run of the longest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras

from kspike_energy.adapters.ref import RefAdapter

Signals = Iterable[list[Any]]  # the outputs of every application
Runner = Callable[[Any, Sequence[int]], tuple[dict[int, Any], Signals]]


def reference_runner(model: Any, adapter: RefAdapter) -> Runner:
    """Return a function from a batch and numbers of steps to outputs and signals."""
    names = [node.name for node in model.nodes]
    if any(node.layer.makes_mask for node in model.nodes) or any(
        names.count(name) > 1 for name in model.outputs
    ):
        return lambda x, timesteps: (
            {steps: model.predict(_cut(x, steps)) for steps in timesteps},
            (outputs for _, outputs in adapter.signals(model, x)),
        )
    return _Replayed(model, adapter)


class _Replayed:
    """A model in which only the layers after the last causal ones run again."""

    def __init__(self, model: Any, adapter: RefAdapter) -> None:
        self.model, self.adapter = model, adapter
        self.kinds: list[str] = []
        for node in model.nodes:
            self.kinds.append(_kind(node, [self.kinds[ref.node] for ref in node.inputs]))
        places = {node.name: i for i, node in enumerate(model.nodes)}
        self.outputs = [places[name] for name in model.outputs]

    def __call__(self, x: Any, timesteps: Sequence[int]) -> tuple[dict[int, Any], Signals]:
        """Return the model's outputs by number of steps, and the signals of the whole run."""
        made = list(self.model.activity(x).values())
        structure = self.model.predict(_cut(x, 1, examples=0))
        found = {}
        for steps in timesteps:
            values = self._values(made, steps)
            found[steps] = _filled(structure, iter([values[i] for i in self.outputs]))
        return found, (outputs for _, outputs in self.adapter.signals_of(self.model, made))

    def _values(self, made: Sequence[Any], steps: int) -> list[Any]:
        """Return the output of every node for a number of steps."""
        values: list[Any] = []
        for node, kind, whole in zip(self.model.nodes, self.kinds, made, strict=True):
            if kind == "ended":
                arguments, keywords = (
                    _with(given, lambda ref: _part(values[ref.node], ref.output))
                    for given in (node.arguments, node.keywords)
                )
                values.append(node.layer(*arguments, **keywords))
            else:  # only causal layers read time folded into the batch
                values.append(whole[:, :steps] if kind == "timed" else whole)
        return values


def _kind(node: Any, given: Sequence[str]) -> str:
    """Return the kind of a node's output: every step, steps as examples, or to be run again."""
    verb, shape = getattr(node.layer, "verb", ""), node.output_shapes[0]
    is_timed = len(node.output_shapes) == 1 and len(shape) > 1 and shape[1] is None
    if "ended" in given:
        return "ended"
    if verb == "fold" or (given and set(given) == {"folded"}):
        return "folded"
    if verb == "unfold":
        return "timed"
    shapes = iter(node.input_shapes)
    is_causal = not given or node.layer.streams(*_with(node.arguments, lambda _: next(shapes)))
    return "timed" if is_timed and is_causal and "folded" not in given else "ended"


def _with(value: Any, tensor: Callable[[Any], Any]) -> Any:
    """Return nested arguments with each reference to a tensor replaced."""
    if hasattr(value, "node"):
        return tensor(value)
    if isinstance(value, Mapping):
        return {key: _with(one, tensor) for key, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_with(one, tensor) for one in value)
    return value


def _part(value: Any, output: int) -> Any:
    return value[output] if isinstance(value, (list, tuple)) else value


def _filled(structure: Any, values: Iterator[Any]) -> Any:
    """Return a structure of outputs with values in order."""
    if isinstance(structure, dict):
        return {key: _filled(one, values) for key, one in structure.items()}
    if isinstance(structure, (list, tuple)):
        return type(structure)(_filled(one, values) for one in structure)
    return next(values)


def _cut(x: Any, steps: int, examples: int | None = None) -> Any:
    return keras.tree.map_structure(lambda array: array[:examples, :steps], x)
