"""Lookup of a model's adapter, without importing a framework."""

import os
from pkgutil import resolve_name

from kspike_energy.adapters.base import Adapter

__all__ = ["find_adapter", "register_adapter"]

# Adapters, or where they are, by model class or its dotted name: names need no import.
_ADAPTERS: dict[type | str, type[Adapter] | str] = {
    "keras.src.models.model.Model": "kspike_energy.adapters.keras:KerasAdapter",
    "kspike_ref.model.Model": "kspike_energy.adapters.ref:RefAdapter",
}


def register_adapter(model_type: type | str, adapter: type[Adapter]) -> None:
    """Register an adapter, so that `ModelEnergy` reads the models of another framework.

    Parameters
    ----------
    model_type : type or str
        Class of the models, or its dotted name (such as ``"myframework.core.Model"``), which
        needs no import of the framework. The adapter reads subclasses too.
    adapter : type
        Subclass of `Adapter`. Every model gets its own instance.

    Raises
    ------
    TypeError
        If either has another type.

    Examples
    --------
    >>> class Net: ...
    >>> class NetAdapter(Adapter):
    ...     def applications(self, model, shapes=None):
    ...         return []
    ...
    ...     def run(self, model, batch):
    ...         return iter(())
    >>> register_adapter(Net, NetAdapter)
    """
    if not isinstance(model_type, (type, str)):
        raise TypeError(f"model_type must be a class or its dotted name. Received: {model_type!r}")
    if not (isinstance(adapter, type) and issubclass(adapter, Adapter)):
        raise TypeError(f"adapter must be a subclass of Adapter. Received: {adapter!r}")
    _ADAPTERS[model_type] = adapter


def find_adapter(model: object) -> Adapter:
    """Return an adapter for a model.

    Raises
    ------
    TypeError
        If no adapter reads it.
    """
    if isinstance(model, (str, os.PathLike)):
        path = os.fspath(model)
        raise TypeError(
            f"model must be a loaded model, not the name of a file. Received: {path!r}. Load it "
            f"with kspike_ref.load_model({path!r}), which needs no TensorFlow, or "
            f"keras.models.load_model({path!r})"
        )
    for cls in type(model).__mro__:
        for key in (cls, f"{cls.__module__}.{cls.__qualname__}"):
            if key in _ADAPTERS:
                found = _ADAPTERS[key]
                adapter: Adapter = (resolve_name(found) if isinstance(found, str) else found)()
                return adapter
    raise TypeError(
        "model must be a Keras model, a kspike_ref.Model, a kspike_energy.Network, or of a class "
        f"registered with register_adapter. Received: {type(model).__module__}."
        f"{type(model).__qualname__}"
    )
