"""Adapters for frameworks, imported when a model of the framework appears."""

from kspike_energy.adapters.base import Adapter
from kspike_energy.adapters.find import find_adapter, register_adapter

__all__ = ["Adapter", "find_adapter", "register_adapter"]
