"""Settings of layers and cells: one copy of each, and when they may change."""

from __future__ import annotations

import gc
import warnings
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

import keras
import tensorflow as tf

from kspike_tf import onnx_operations
from kspike_tf.layers.options import check_options
from kspike_tf.tracing import exporter, is_of_keras


class HasSettings(keras.layers.Layer):
    """A layer or cell whose settings take effect when they are assigned, or refuse it.

    Before a layer is built, every setting may change. Afterwards those may that are read at each
    call: Keras' functions for fit, evaluate and predict are traced anew, and there is a warning
    where a ``tf.function`` of the user's may go on with the old value.
    """

    name: str
    #: How the value of each setting is checked; each class adds its own.
    _settings: ClassVar[dict[str, Callable[[Any], Any]]] = {}
    #: Those that are read at each call; each class adds its own.
    _read_at_calls: ClassVar[tuple[str, ...]] = ()
    #: The settings of a class and of its bases, with their checks.
    _checks: ClassVar[dict[str, Callable[[Any], Any]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Collect the settings of a new subclass."""
        super().__init_subclass__(**kwargs)
        cls._checks = {
            name: check
            for each in reversed(cls.__mro__)
            for name, check in vars(each).get("_settings", {}).items()
        }

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make an instance; options of the package's own classes are checked first."""
        if cls.__module__.startswith("kspike_tf."):  # others may take what they like
            check_options(cls, kwargs)
        return super().__new__(cls, *args, **kwargs)

    def __init__(self, **kwargs: Any) -> None:
        check_options(type(self), kwargs)
        super().__init__(**kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a setting is checked first."""
        check = self._checks.get(name)
        if check is not None:
            value = check(value)
            if vars(self).get("built") and not _same(getattr(self, name), value):
                self._allow(name, value)
        self._put(name, value)

    @property
    def settings(self) -> tuple[str, ...]:
        """The names of the settings: of what may be assigned, before building at least."""
        return tuple(self._checks)

    def _put(self, name: str, value: Any) -> None:
        """Set an attribute without a check."""
        super().__setattr__(name, value)

    def _allow(self, name: str, value: Any) -> None:
        """Raise if a setting can no longer change; let Keras trace its functions anew."""
        layers = isinstance(value, keras.layers.Layer), isinstance(getattr(self, name), keras.Layer)
        if not self._may_change(name) or any(layers):
            raise AttributeError(
                f"{name} cannot change any more, because layer {self.name!r} is built. Set it "
                "before the first call, or make a new layer from {**layer.get_config(), "
                f"{name!r}: ...}} and copy the weights of this one. "
                f"Received: {name}={value!r}"
            )
        if vars(self).get("_is_traced"):
            _drop_functions(self)
        traces = vars(self).get("_traces", ())
        if traces:
            gc.collect()  # graphs are circles of references
        if others := sorted({str(each.name) for each in traces}):
            warnings.warn(
                f"{name} of layer {self.name!r} has changed, but functions traced before keep the "
                f"old value: make your tf.function anew ({', '.join(others)}). The functions of "
                "fit, evaluate and predict are traced again. A dt that is a tf.Variable may change "
                "without tracing",
                stacklevel=3,
            )

    def _may_change(self, name: str) -> bool:
        """Return whether a setting is read at each call."""
        if vars(self).get("_is_fixed"):
            return False
        return any(name in vars(each).get("_read_at_calls", ()) for each in type(self).__mro__)

    def _note_trace(self) -> None:
        """Remember which graph has the settings of now, if one is being traced.

        An exporter that traces it for ONNX is told how to convert what may be in it.
        """
        if tf.executing_eagerly():
            return
        if exporter() == "ONNX":
            onnx_operations.register()
        self.__dict__["_is_traced"] = True  # not through Keras, which would track it
        if is_of_keras():
            return  # dropped with the model's functions
        graph = tf.compat.v1.get_default_graph()
        while hasattr(getattr(graph, "outer_graph", None), "outer_graph"):
            graph = graph.outer_graph
        self.__dict__.setdefault("_traces", weakref.WeakSet()).add(graph)


def _same(old: Any, new: Any) -> bool:
    plain = (bool, int, float, str, type(None))
    return old is new or (type(old) is type(new) and type(new) in plain and old == new)


def _drop_functions(layer: keras.layers.Layer) -> None:
    """Let all models that hold a layer trace their functions anew, as ``compile`` does."""
    for model in gc.get_objects():
        if not issubclass(type(model), keras.Model):
            continue
        if any(each is layer for each in model._flatten_layers()):
            for name in ("train", "test", "predict"):
                # Not None, which a callback in the midst of `fit` would call in the next step.
                if getattr(model, f"{name}_function", None) is not None:
                    getattr(model, f"make_{name}_function")(force=True)


def handed_to_cell(name: str) -> Any:
    """Return a property: a setting of a layer that is its cell's as soon as there is one."""

    def get(layer: Any) -> Any:
        cell = layer._cell_with_settings()
        if cell is not None:
            return getattr(cell, name)
        if name not in vars(layer):
            raise AttributeError(f"{name} of layer {layer.name!r} is not set yet")
        return vars(layer)[name]

    def put(layer: Any, value: Any) -> None:
        cell = layer._cell_with_settings()
        if cell is None:
            vars(layer)[name] = value
        else:
            cell._put(name, value)

    return property(get, put)


def hands_settings_on(build_cell: Any) -> Any:
    """Mark a ``build_cell`` that gives the cell the settings of the layer, under their names."""
    build_cell.hands_settings_on = True
    return build_cell
