"""The table of known layers, and how a serialised one is made."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from kspike_ref import dtypes
from kspike_ref.layers.base import Layer, UnsupportedUseError, policy_name
from kspike_ref.layers.keys import unknown_keys
from kspike_ref.saved.archive import ArchiveError
from kspike_ref.saved.limits import budget
from kspike_ref.saved.shared import AmbiguousError

LayerType = TypeVar("LayerType", bound="type[Layer]")

Registered = TypeVar("Registered", bound="type[Layer] | Callable[..., Any]")

_registry: dict[str, type[Layer]] = {}
_own_layers: dict[str, type[Layer]] = {}  # of users, by the name in a file
_own_functions: dict[str, Callable[..., Any]] = {}


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


def register_layer(name: str) -> Callable[[Registered], Registered]:
    """Make a layer or function of your own known to `load_model`.

    What is registered comes before what kspike_ref has: also before its own layers.

    Parameters
    ----------
    name : str
        What the model's file calls it:

        - ``"package>Class"``: a class of your own, as
          ``keras.saving.register_keras_serializable(package)`` names it,
        - ``"HashedCrossing"``: a class of Keras, which kspike_ref lacks or which you replace,
        - ``"twice"``: a ``Lambda`` layer by its ``name``, as its code is never run,
        - ``"package>function"`` or ``"function"``: an activation function.

    Returns
    -------
    callable
        A decorator for a subclass of `Layer`, or for a function: that of a ``Lambda`` takes the
        arrays that the layer is called with, and what the layer has for ``arguments``; that of an
        activation takes one array and returns another of the same shape.

    Raises
    ------
    TypeError
        If ``name`` is not a string, or neither a `Layer` nor a function is registered.

    Notes
    -----
    A layer with layers inside, whose weights Keras saves in groups within the layer's own, returns
    them from `Layer.parts`: the group's path, the layer, and its input shapes.
    ``examples/custom_neuron_reference.py`` does so for a neuron, and counts its energy.

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
    >>> @kspike_ref.register_layer("twice")
    ... def twice(x):
    ...     return 2 * x
    """
    if not isinstance(name, str) or not name:
        raise TypeError(f"name must be a string such as 'package>Class'. Received: name={name!r}")

    def enter(item: Registered) -> Registered:
        if isinstance(item, type) and issubclass(item, Layer):
            _own_layers[name] = item
        elif callable(item) and not isinstance(item, type):
            _own_functions[name] = item
        else:
            raise TypeError(
                f"a subclass of kspike_ref.Layer must be registered, or a function. "
                f"Received: {item!r}"
            )
        return item

    return enter


def own_function(name: str) -> Callable[..., Any] | None:
    """Return the function that was registered under a name."""
    return _own_functions.get(name)


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
        Without weights. Where Keras saved one object at several places, all are the same layer.

    Raises
    ------
    UnsupportedUseError
        If nobody registered it.
    ArchiveError
        If the configuration does not make sense.
    """
    if not isinstance(config, Mapping) or not isinstance(config.get("config"), Mapping):
        raise ArchiveError(f"a layer must be a serialised object. Received: {config!r:.80}")
    shared = budget().layers_made
    try:
        layer: Layer | None = shared.find(config)
    except AmbiguousError as error:
        raise UnsupportedUseError(f"{name or config['config'].get('name')}: {error}") from None
    if layer is not None:
        layer.is_shared = True
        return layer
    layer = _made(config, name)
    shared.add(config, layer)
    return layer


def _made(config: Any, name: str | None) -> Layer:
    """Make a layer that was not made before; see `create`."""
    own = config["config"]
    name = str(own.get("name", "?")) if name is None else name
    key = key_of(config)
    cls = _own_layers.get(key.removeprefix("custom:")) or _registry.get(key)
    if key == "Lambda":
        cls = _own_layers.get(str(own.get("name"))) or cls
    if cls is None:
        raise UnsupportedUseError(f"{name}: {reason(key, config)}")
    unknown = unknown_keys(key, own) if cls is _registry.get(key) else []
    if unknown:
        options = ", ".join(f"{option}={own[option]!r:.40}" for option in unknown)
        raise UnsupportedUseError(f"{name}: {key} with options that are not known here: {options}")
    try:
        with budget().layer():
            layer = cls.variant(own)(name, str(config["class_name"]), own)
    except UnsupportedUseError as error:
        text = str(error)
        raise UnsupportedUseError(text if name in text else f"{name}: {text}") from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
        if isinstance(error, ArchiveError):
            raise
        detail = f"{type(error).__name__}: {error}"
        raise ArchiveError(f"layer {name!r} has a configuration without sense: {detail}") from error
    layer.key = key
    if key.startswith("ops:"):
        layer.casts = ""
    elif cls is _registry.get(key):
        check_policy(layer, own)
    return layer


def is_integral(policy: str) -> bool:
    """Return whether a dtype policy is of integers or bools."""
    return policy in dtypes.NAMES and policy not in dtypes.FLOATS


# Layers with integers by default, and the one that says what type an input has.
_ANY_POLICY = (
    "InputLayer", "CategoryEncoding", "Discretization", "Hashing", "IntegerLookup", "StringLookup",
    "TextVectorization",
)  # fmt: skip


def check_policy(layer: Layer, config: Mapping[str, Any]) -> None:
    """Refuse a dtype policy of integers or bools where a layer computes with real numbers.

    Keras casts weights, and floats that come in, to that type.

    Parameters
    ----------
    layer : Layer
        The layer. One that only moves numbers is left to refuse floats when it runs.
    config : dict
        Its configuration.

    Raises
    ------
    UnsupportedUseError
        If it computes.
    """
    policy = policy_name(config.get("dtype"))
    if not is_integral(policy) or layer.key in _ANY_POLICY:
        return
    has_weights = type(layer).weight_shapes is not Layer.weight_shapes
    if has_weights or "i" in layer.casts:
        raise UnsupportedUseError(f"{layer.name}: {layer.key} with dtype={policy!r}")
    layer.truncates = True


def reason(key: str, config: Mapping[str, Any]) -> str:
    """Return why a layer of an unknown kind cannot be had, and what to do."""
    kind = key.split(":", 1)[-1]
    if key == "Lambda":
        return (
            "Lambda is Python code, which is never run from a file; register a function for it "
            f"with kspike_ref.register_layer({str(config['config'].get('name'))!r})"
        )
    if key.startswith("ops:"):
        return (
            f"the operation {kind} (module {config.get('module')}) is not supported; build the "
            "model with other operations, or put it into a layer of your own"
        )
    if key.startswith("custom:"):
        return (
            f"{kind} (module {config.get('module')}) is a class of your own, whose code the file "
            f"does not hold; register one with kspike_ref.register_layer({kind!r})"
        )
    return (
        f"{kind} (module {config.get('module')}) is not supported; register a class for it with "
        f"kspike_ref.register_layer({kind!r})"
    )


# Classes that Keras exports under other names than their own, after which it names weights.
_OTHER_NAMES = {"GroupQueryAttention": "GroupedQueryAttention"}


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
    name = re.sub(r"\W+", "", _OTHER_NAMES.get(class_name, class_name))
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    name = re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
    used[name] = used.get(name, -1) + 1
    return f"{name}_{used[name]}" if used[name] else name
