"""Copies of layers and operations, with the same weights and other options."""

from __future__ import annotations

import contextlib
import inspect
from typing import Any

import keras
import numpy as np

_LOOKUPS = (keras.layers.IntegerLookup, keras.layers.StringLookup)


def copy_layer(layer: Any, **changes: Any) -> Any:
    """Return a copy of a layer, with the same weights and other options.

    Parameters
    ----------
    layer : keras.layers.Layer
        A built layer.
    **changes
        Options of its configuration that differ. ``use_bias=True`` adds a bias of zeros;
        ``activation`` leaves out the weights of the layer that was its activation.
    """
    copy = unbuilt_copy(layer, **changes)
    if layer.get_build_config():
        copy.build_from_config(layer.get_build_config())
    copy.set_weights(_weights(layer, copy, changes))
    _copy_adapted(layer, copy, (keras.layers.Normalization, *_LOOKUPS))
    copy.trainable = layer.trainable
    return copy


def unbuilt_copy(layer: Any, **changes: Any) -> Any:
    """Return a copy of a layer without its weights.

    Functions of a layer's own options are passed on as they are: as text, as in a file, a lambda
    would lose its global variables, and others could not be found unless they are registered.

    Raises
    ------
    Exception
        If Keras cannot make a layer from the configuration of this one: the first error of several
        attempts, often a TypeError, a ValueError or a NotImplementedError.
    """
    if _is_made_as_lambda(layer):
        return _copy_lambda(layer, changes)
    plain = {**layer.get_config(), **changes}
    shared = {**plain, **{k: v for k, v in _functions(layer).items() if k not in changes}}
    own = _own_objects(layer)
    errors = []
    # Layers whose `from_config` reads a function from its text take only the plain configuration.
    for config in (shared, plain):
        for scope in ({}, own) if own else ({},):  # Keras' scopes replace one another
            try:
                return _from_config(type(layer), config, scope)
            except Exception as error:  # from a layer's own code, so of any kind
                errors.append(error)
    raise errors[0]


def _from_config(cls: Any, config: dict[str, Any], own: dict[str, Any]) -> Any:
    is_checked = "safe_mode" in inspect.signature(cls.from_config).parameters
    options = {"safe_mode": False} if is_checked else {}  # its functions have run
    with keras.saving.custom_object_scope(own) if own else contextlib.nullcontext():
        return cls.from_config(dict(config), **options)


def model_with_new_weights(model: keras.Model) -> keras.Model:
    """Return a copy of a model with initial weights, and with what was learned from data alone."""
    return keras.models.clone_model(model, clone_function=_new_layer, recursive=True)


def _new_layer(layer: Any) -> Any:
    if not isinstance(layer, keras.layers.Layer):
        return copy_operation(layer, layer.name)
    if isinstance(layer, keras.layers.Normalization):
        return copy_layer(layer)
    new = unbuilt_copy(layer)
    _copy_adapted(layer, new, _LOOKUPS)
    return new


def copy_operation(operation: Any, name: str) -> Any:
    """Return a copy of an operation that has another name; itself if Keras cannot copy it."""
    try:
        copy = type(operation).from_config(operation.get_config())
    except (TypeError, ValueError, NotImplementedError):  # it calls a function, as ops.map does
        return operation
    copy.name = name
    return copy


def _is_made_as_lambda(layer: Any) -> bool:
    """Return whether the arguments of a layer's class are those of its configuration."""
    kind = keras.layers.Lambda
    return isinstance(layer, kind) and _function_of(type(layer)) is _function_of(kind)


def _function_of(cls: Any) -> Any:
    return getattr(cls.from_config, "__func__", None)


def _copy_lambda(layer: Any, changes: dict[str, Any]) -> Any:
    # Keras 3.8 to 3.15 keep the shape in `_output_shape`; without it, Keras finds the shape.
    options = {
        "function": layer.function,
        "output_shape": getattr(layer, "_output_shape", None),
        "mask": layer.mask,
        "arguments": dict(layer.arguments),
        "name": layer.name,
        "dtype": layer.dtype_policy,
    }
    if type(layer) is not keras.layers.Lambda:  # which may have other options
        config = layer.get_config()
        options = {**config, **{name: options[name] for name in options if name in config}}
    return type(layer)(**{**options, **changes})


def _functions(layer: Any) -> dict[str, Any]:
    """Return those options of a layer that are functions of its own."""
    found = {}
    for name in inspect.signature(type(layer).__init__).parameters:
        value = getattr(layer, name, None)
        is_plain = callable(value) and not inspect.ismethod(value) and not isinstance(value, type)
        if is_plain and not hasattr(value, "get_config"):
            found[name] = value
    return found


def _own_objects(layer: Any) -> dict[str, Any]:
    """Return functions and classes outside Keras that a layer and the layers in it use, by name."""
    found = {}
    for part in _parts(layer):
        values = [type(part), *_functions(part).values()]
        found.update({each.__name__: each for each in values if _is_own(each)})
    return found


def _is_own(each: Any) -> bool:
    module = str(getattr(each, "__module__", None) or "")  # None for some that C code defines
    return hasattr(each, "__name__") and not module.startswith("keras.")


def _weights(layer: Any, copy: Any, changes: dict[str, Any]) -> list[np.ndarray]:
    fused = getattr(layer, "activation", None) if "activation" in changes else None
    parts = fused.weights if isinstance(fused, keras.layers.Layer) else []
    left_out = {id(each) for each in parts}
    kept = [each for each in layer.weights if id(each) not in left_out]
    weights = [keras.ops.convert_to_numpy(each) for each in kept]
    if changes.get("use_bias") and not layer.use_bias:
        weights.append(np.zeros(copy.bias.shape, copy.bias.dtype))
    return weights


def _parts(layer: Any) -> list[Any]:
    """Return a layer and the layers in it."""
    # Keras has no public way. `_flatten_layers` is in 3.8 to 3.15; test_conversion*.py covers it.
    return list(layer._flatten_layers())


def _copy_adapted(layer: Any, copy: Any, kinds: tuple[type, ...]) -> None:
    """Copy what layers learned from data and keep neither in weights nor in their options."""
    olds, news = (
        [part for part in _parts(each) if isinstance(part, kinds)] for each in (layer, copy)
    )
    if len(olds) != len(news):
        if not any(_has_learned(each) for each in olds):
            return
        raise ValueError(
            f"layer {layer.name!r} has {len(olds)} layers that are adapted to data, and its copy "
            f"{len(news)}: make them in its constructor, not in `build`"
        )
    for old, new in zip(olds, news, strict=True):
        if isinstance(new, keras.layers.Normalization):  # computes its factors from its weights
            new.finalize_state()
        else:
            _copy_vocabulary(old, new)


def _has_learned(layer: Any) -> bool:
    options = layer.get_config()
    is_given = options.get("vocabulary") is not None  # it is in the options
    return isinstance(layer, keras.layers.Normalization) or (
        not is_given and bool(options["vocabulary_size"])
    )


def _copy_vocabulary(layer: Any, copy: Any) -> None:
    if not _has_learned(layer):
        return
    words = layer.get_vocabulary()
    if layer.output_mode == "tf_idf":
        weights = keras.ops.convert_to_numpy(layer.idf_weights)[: len(words)]  # without padding
        copy.set_vocabulary(words, idf_weights=weights)
    else:
        copy.set_vocabulary(words)
