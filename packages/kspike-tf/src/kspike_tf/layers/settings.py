"""Settings of layers and cells: checks, and rules for later changes."""

from __future__ import annotations

import gc
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import tensorflow as tf

from kspike_tf import onnx_operations
from kspike_tf.config import with_unset_dt
from kspike_tf.describing import as_html, dynamics
from kspike_tf.tracing import exporter, is_of_keras


def _unchanged(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Setting:
    """A setting of a layer or cell.

    Parameters
    ----------
    check : callable
        Converts an assigned value to the form that is stored, or raises.
    is_read_at_calls : bool, optional
        Whether the setting may change after building, because every call reads it.
    save : callable or None, optional
        Converts the stored value to that in the configuration; None leaves the setting out.
    """

    check: Callable[[Any], Any]
    is_read_at_calls: bool = False
    save: Callable[[Any], Any] | None = _unchanged


class HasSettings(keras.layers.Layer):
    """A layer or cell whose settings take effect on assignment; otherwise the assignment raises.

    Before a layer is built, every setting may change. Afterwards, only settings that every call
    reads may change. Keras' functions for fit, evaluate and predict are then traced again. A
    ``tf.function`` of the user may keep the old value; a warning says so.
    """

    name: str
    #: The settings that a class adds to those of its bases.
    _settings: ClassVar[dict[str, Setting]] = {}
    #: The settings of a class and of its bases.
    _all_settings: ClassVar[dict[str, Setting]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Collect the settings of a new subclass."""
        super().__init_subclass__(**kwargs)
        cls._all_settings = {
            name: setting
            for each in reversed(cls.__mro__)
            for name, setting in vars(each).get("_settings", {}).items()
        }

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a setting is checked first."""
        setting = self._all_settings.get(name)
        if setting is not None:
            value = setting.check(value)
            if vars(self).get("built") and not _same(getattr(self, name), value):
                self._allow(name, value, setting.is_read_at_calls)
        self._put(name, value)

    @property
    def settings(self) -> tuple[str, ...]:
        """Names of the settings. All may be assigned before building, some also afterwards."""
        return tuple(self._all_settings)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Make a layer or cell from the result of `get_config`."""
        return super().from_config(with_unset_dt(config))

    def get_config(self) -> dict[str, Any]:
        """Return the configuration from which `from_config` rebuilds the layer."""
        settings = self._all_settings.items()
        saved = {name: self._saved(name, each.save) for name, each in settings if each.save}
        return {**super().get_config(), **saved}

    def _saved(self, name: str, save: Callable[[Any], Any]) -> Any:
        value = getattr(self, name)
        try:
            # Keras saves a lambda with a warning, and then refuses to load it.
            if getattr(value, "__name__", None) != "<lambda>":
                return save(value)
        except TypeError:  # partial functions, objects without get_config
            pass
        raise ValueError(
            f"{name} cannot be serialized: pass a name, a named function, or an object that has "
            f"get_config(). Received: {value!r} in {type(self).__name__} {self.name!r}"
        )

    def __repr__(self) -> str:
        shown = {"name": self.name, **dynamics(self), "built": self.built}
        return f"<{type(self).__name__} {', '.join(f'{k}={v}' for k, v in shown.items())}>"

    def _repr_html_(self) -> str:
        """Return a table of the settings, for notebooks."""
        rows = [("setting", "value"), *dynamics(self).items()]
        rows += [(f"weights {each.name}", str(tuple(each.shape))) for each in self.weights]
        return as_html(rows, f"{type(self).__name__} {self.name!r}")

    def _put(self, name: str, value: Any) -> None:
        """Set an attribute without a check."""
        super().__setattr__(name, value)

    def _allow(self, name: str, value: Any, is_read_at_calls: bool) -> None:
        """Raise if a setting can no longer change; otherwise have functions traced again."""
        holds_weights = any(
            isinstance(each, keras.layers.Layer) for each in (value, getattr(self, name))
        )
        if not is_read_at_calls or holds_weights or vars(self).get("_is_fixed"):
            raise AttributeError(
                f"{name} can no longer change, because layer {self.name!r} is built. Set it "
                "before the first call, or make a new layer from {**layer.get_config(), "
                f"{name!r}: ...}} and copy the weights of this one. "
                f"Received: {name}={value!r}"
            )
        if vars(self).get("_is_traced"):
            _drop_functions(self)
        traces = vars(self).get("_traces", ())
        if traces:
            gc.collect()  # graphs contain reference cycles
        if others := sorted({str(each.name) for each in traces}):
            warnings.warn(
                f"{name} of layer {self.name!r} has changed, but functions that were already "
                f"traced keep the old value: create your tf.function again ({', '.join(others)}). "
                "Those of fit, evaluate and predict are traced again. A dt that is a tf.Variable "
                "may change without tracing",
                stacklevel=3,
            )

    def _note_trace(self) -> None:
        """Remember the graph, if any, that is being traced with the current settings.

        For an export to ONNX, register conversions of the operations that the graph may contain.
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
    """Make all models that contain a layer trace their functions again, as ``compile`` does."""
    for model in gc.get_objects():
        if not issubclass(type(model), keras.Model):
            continue
        if any(each is layer for each in model._flatten_layers()):
            for name in ("train", "test", "predict"):
                # Not set to None: a callback may be running within `fit`, which calls it next.
                if getattr(model, f"{name}_function", None) is not None:
                    getattr(model, f"make_{name}_function")(force=True)


def another_name(name: str) -> Any:
    """Return a property that is another name of an attribute."""
    return property(
        lambda owner: getattr(owner, name),
        lambda owner, value: setattr(owner, name, value),
        doc=f"Another name for ``{name}``.",
    )


def handed_to_cell(name: str) -> Any:
    """Return a property for a layer's setting, which its cell holds once there is one."""

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
    """Mark a ``build_cell`` whose cell has the settings of the layer, under the same names."""
    build_cell.hands_settings_on = True
    return build_cell
