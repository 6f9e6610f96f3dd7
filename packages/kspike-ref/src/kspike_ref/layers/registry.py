"""The table of known layers, and how a serialised one is made."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from kspike_ref._limits import LimitError, budget
from kspike_ref.archive import ArchiveError
from kspike_ref.layers.base import Layer, UnsupportedUseError
from kspike_ref.layers.keys import unknown_keys

LayerType = TypeVar("LayerType", bound="type[Layer]")

_registry: dict[str, type[Layer]] = {}


def known(*names: str) -> Callable[[LayerType], LayerType]:
    """Enter a class in the table under Keras' names."""

    def enter(cls: LayerType) -> LayerType:
        for name in names:
            _registry[name] = cls
        return cls

    return enter


def is_known(key: str) -> bool:
    """Return whether there is a layer under a key."""
    return key in _registry


def register_layer(name: str) -> Callable[[LayerType], LayerType]:
    """Make a layer of your own known to `load_model`.

    Parameters
    ----------
    name : str
        The name under which Keras registered the class, ``"package>Class"``, as
        ``keras.saving.register_keras_serializable(package)`` does.

    Returns
    -------
    callable
        A decorator for a subclass of `Layer`.

    Raises
    ------
    TypeError
        If ``name`` is not a string, or the class is no `Layer`.

    Examples
    --------
    >>> import kspike_ref
    >>> @kspike_ref.register_layer("my_package>Scale")
    ... class Scale(kspike_ref.Layer):
    ...     pointwise_from = 3
    ...
    ...     def weight_shapes(self, shape):
    ...         return {"scale": (shape[-1],)}
    ...
    ...     def call(self, x):
    ...         return x * self.weights["scale"]
    """
    if not isinstance(name, str) or not name:
        raise TypeError(f"name must be a string such as 'package>Class'. Received: name={name!r}")

    def enter(cls: LayerType) -> LayerType:
        if not (isinstance(cls, type) and issubclass(cls, Layer)):
            raise TypeError(f"a subclass of kspike_ref.Layer must be registered. Received: {cls!r}")
        return known(f"custom:{name}")(cls)

    return enter


def key_of(config: Mapping[str, Any]) -> str:
    """Return the name under which the class of a serialised object is in the table."""
    module, name = str(config.get("module")), str(config.get("class_name"))
    if module.startswith("keras.src.ops") or module == "keras.ops":
        return f"ops:{name}"
    registered = config.get("registered_name")
    if module == "keras" or module.startswith("keras."):
        return name
    return f"custom:{registered or name}"


def create(config: Any, name: str | None = None) -> Layer:
    """Make a layer from what Keras serialised.

    Parameters
    ----------
    config : dict
        With ``module``, ``class_name``, ``registered_name`` and ``config``.
    name : str, optional
        The name in the model, if it is not the layer's own.

    Returns
    -------
    Layer
        Without weights.

    Raises
    ------
    UnsupportedUseError
        If nobody registered it.
    ArchiveError
        If the configuration does not make sense.
    """
    if not isinstance(config, Mapping) or not isinstance(config.get("config"), Mapping):
        raise ArchiveError(f"a layer must be a serialised object. Received: {config!r:.80}")
    own = config["config"]
    name = str(own.get("name", "?")) if name is None else name
    key = key_of(config)
    cls = _registry.get(key)
    if cls is None:
        kind = key.split(":", 1)[-1]
        raise UnsupportedUseError(f"{name}: {kind} (module {config.get('module')})")
    unknown = unknown_keys(key, own)
    if unknown:
        options = ", ".join(f"{option}={own[option]!r:.40}" for option in unknown)
        raise UnsupportedUseError(f"{name}: {key} with options that are not known here: {options}")
    try:
        with budget().layer():
            layer = cls(name, str(config["class_name"]), own)
    except LimitError as error:
        raise ArchiveError(str(error)) from None
    except UnsupportedUseError as error:
        text = str(error)
        raise UnsupportedUseError(text if name in text else f"{name}: {text}") from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
        if isinstance(error, ArchiveError):
            raise
        detail = f"{type(error).__name__}: {error}"
        raise ArchiveError(f"layer {name!r} has a configuration without sense: {detail}") from error
    layer.key = key
    return layer


def saved_name(class_name: str, used: dict[str, int]) -> str:
    """Return the name under which Keras saves the next layer of a class in a list.

    Parameters
    ----------
    class_name : str
        The name of its class.
    used : dict
        How often each name was used so far; updated.

    Returns
    -------
    str
        In snake case, with a number from the second on.
    """
    name = re.sub(r"\W+", "", class_name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    name = re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
    used[name] = used.get(name, -1) + 1
    return f"{name}_{used[name]}" if used[name] else name
