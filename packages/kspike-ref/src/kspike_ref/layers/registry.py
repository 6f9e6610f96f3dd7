"""The registry of layers, and the creation of layers from their configurations."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from kspike_ref import dtypes
from kspike_ref.arguments import told_options
from kspike_ref.layers.base import Layer
from kspike_ref.layers.configured import policy_name
from kspike_ref.layers.errors import UnsupportedUseError
from kspike_ref.layers.keys import set_keys, unknown_keys
from kspike_ref.saved.errors import ArchiveError
from kspike_ref.saved.limits import budget
from kspike_ref.saved.shared import AmbiguousError

LayerType = TypeVar("LayerType", bound="type[Layer]")

Registered = TypeVar("Registered", bound="type[Layer] | Callable[..., Any]")

_registry: dict[str, type[Layer]] = {}
_own_layers: dict[str, type[Layer]] = {}  # of users, by the name in a file
_own_functions: dict[str, Callable[..., Any]] = {}


def known(*names: str, keys: str | None = None) -> Callable[[LayerType], LayerType]:
    """Return a decorator that adds a class to the registry.

    A name is Keras' name of the layer, or ``custom:package>Class`` for a class of another package,
    whose options are ``keys``, separated by spaces. `layers.keys` has those of Keras' layers.
    """

    def enter(cls: LayerType) -> LayerType:
        for name in names:
            _registry[name] = cls
            if keys is not None:
                set_keys(name, keys)
        return cls

    return enter


def is_known(key: str) -> bool:
    """Return whether a layer is in the registry under a key."""
    return key in _registry


@told_options
def register_layer(name: str) -> Callable[[Registered], Registered]:
    """Register a layer or function of your own for `load_model`.

    Registered layers take precedence over those of kspike_ref.

    Parameters
    ----------
    name : str
        The name in the model file:

        - ``"package>Class"``: a class of your own, as
          ``keras.saving.register_keras_serializable(package)`` names it,
        - ``"HashedCrossing"``: a class of Keras that kspike_ref lacks, or that you replace,
        - ``"twice"``: a ``Lambda`` layer by its ``name``, since its code is never run,
        - ``"package>function"`` or ``"function"``: an activation function.

    Returns
    -------
    callable
        A decorator for a subclass of `Layer`, or for a function. A function for a ``Lambda`` takes
        the arrays that the layer is called with, and the layer's ``arguments`` by keyword. An
        activation takes one array and returns another of the same shape.

    Raises
    ------
    TypeError
        If ``name`` is not a string, or the object is neither a `Layer` nor a function.

    Notes
    -----
    Keras saves the weights of layers inside a layer in groups within the layer's own. Return such
    layers from `Layer.parts`, with the path of the group and the input shapes.
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
                f"register_layer takes a subclass of kspike_ref.Layer, or a function. "
                f"Received: {item!r}"
            )
        return item

    return enter


def own_function(name: str) -> Callable[..., Any] | None:
    """Return the function that is registered under a name, or None."""
    return _own_functions.get(name)


def key_of(config: Mapping[str, Any]) -> str:
    """Return the registry's key for the class of a serialised object."""
    module, name = str(config.get("module")), str(config.get("class_name"))
    if module.startswith("keras.src.ops") or module == "keras.ops":
        return f"ops:{name}"
    registered = config.get("registered_name")
    if module == "keras" or module.startswith("keras."):
        return name
    return f"custom:{registered or name}"


def create(config: Any, name: str | None = None) -> Layer:
    """Return the layer of a serialised object, without weights.

    An object that Keras saved in several places gives one layer. ``name`` is the name in the model,
    if it differs from the layer's own.
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
    """Return a new layer; see `create`."""
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
        listed = ", ".join(f"{option}={own[option]!r:.40}" for option in unknown)
        raise UnsupportedUseError(
            f"{name}: {key} has options that kspike_ref does not know: {listed}"
        )
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
        raise ArchiveError(f"layer {name!r} has an invalid configuration: {detail}") from error
    layer.key = key
    if key.startswith("ops:"):
        layer.casts = ""
    elif cls is _registry.get(key):
        check_policy_is_known(name, own.get("dtype"))
        check_policy(layer, own)
    return layer


_POLICIES = (
    "DTypePolicy", "FloatDTypePolicy", "DTypePolicyMap", "QuantizedDTypePolicy",
    "QuantizedFloat8DTypePolicy", "Int4DTypePolicy", "GPTQDTypePolicy", "AWQDTypePolicy",
    "Policy",  # of Keras 2
)  # fmt: skip
_POLICY_NAMES = (*dtypes.NAMES, "mixed_float16", "mixed_bfloat16", "string")
_QUANTIZED = ("int8_from_", "int4_from_", "float8_from_", "int4/", "gptq", "awq")


def check_policy_is_known(name: str, policy: Any) -> None:
    """Refuse a dtype policy that Keras does not have, instead of computing in float32."""
    if isinstance(policy, Mapping):
        kind, inner = policy.get("class_name"), policy.get("config")
        if kind not in _POLICIES:
            raise UnsupportedUseError(f"{name}: a dtype policy of class {kind!r:.80}")
        policy = inner.get("name") if isinstance(inner, Mapping) else None
    if policy is None or policy in _POLICY_NAMES:
        return
    if not (isinstance(policy, str) and policy.startswith(_QUANTIZED)):
        raise UnsupportedUseError(f"{name}: dtype={policy!r:.80} is not a dtype policy of Keras")


def is_integral(policy: str) -> bool:
    """Return whether a dtype policy names integers or bools."""
    return policy in dtypes.NAMES and policy not in dtypes.FLOATS


# Layers that use integers by default, and the layer that states the type of an input.
_ANY_POLICY = (
    "InputLayer", "CategoryEncoding", "Discretization", "Hashing", "IntegerLookup", "StringLookup",
    "TextVectorization",
)  # fmt: skip


def check_policy(layer: Layer, config: Mapping[str, Any]) -> None:
    """Refuse a dtype policy of integers or bools for a layer that computes with real numbers.

    Keras casts weights and floating-point inputs to that type. A layer that only moves numbers
    refuses floats when it runs.
    """
    policy = policy_name(config.get("dtype"))
    if not is_integral(policy) or layer.key in _ANY_POLICY:
        return
    has_weights = type(layer).weight_shapes is not Layer.weight_shapes
    if has_weights or "i" in layer.casts:
        raise UnsupportedUseError(f"{layer.name}: {layer.key} with dtype={policy!r}")
    layer.truncates = True


def reason(key: str, config: Mapping[str, Any]) -> str:
    """Return the reason why a layer is not supported, and the remedy."""
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


# Classes that Keras exports under another name. Weights are saved under the class's own name.
_OTHER_NAMES = {"GroupQueryAttention": "GroupedQueryAttention"}


def saved_name(class_name: str, used: dict[str, int]) -> str:
    """Return the name under which Keras saves the next layer of a class in a list.

    It is in snake case, with a number from the second on. ``used`` holds the last number of each
    name, and is updated.
    """
    name = re.sub(r"\W+", "", _OTHER_NAMES.get(class_name, class_name))
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    name = re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
    used[name] = used.get(name, -1) + 1
    return f"{name}_{used[name]}" if used[name] else name


def saved_parts(
    folder: str, layers: Sequence[Layer], shapes: Sequence[Any]
) -> list[tuple[str, Layer, tuple[Any, ...]]]:
    """Return the `Layer.parts` for a list of layers that Keras saves in a folder."""
    used: dict[str, int] = {}
    return [
        (f"{folder}/{saved_name(layer.class_name, used)}", layer, (shape,))
        for layer, shape in zip(layers, shapes, strict=False)
    ]
