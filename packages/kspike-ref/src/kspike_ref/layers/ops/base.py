"""The base of all operations of ``keras.ops``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from kspike_ref.layers.base import Layer, UnsupportedUseError, mixing


class Operation(Layer):
    """A function of ``keras.ops``: it gets its inputs in the types that they have.

    Attributes
    ----------
    options : tuple of str
        The arguments it takes beside tensors. A model that sets another one is refused.
    """

    casts = ""
    options: ClassVar[tuple[str, ...]] = ()

    def __init__(self, name: str, class_name: str, config: Mapping[str, Any]) -> None:
        own = {key: value for key, value in config.items() if key not in ("name", "dtype")}
        for key in [*own, *(["dtype"] if config.get("dtype") is not None else [])]:
            if key not in self.options and config[key] is not None:
                raise UnsupportedUseError(
                    f"{name}: keras.ops.{function_name(class_name)} with "
                    f"{key}={config[key]!r:.80}; the argument {key!r} is not supported"
                )
        self.result_type = config.get("dtype")  # of an operation, no policy as that of a layer
        super().__init__(name, class_name, {**own, "name": name})

    def mixes(self, what: str) -> UnsupportedUseError:
        """Return the error that says that examples of a batch would depend on each other."""
        return mixing(f"keras.ops.{function_name(self.class_name)} with {what}")

    def without(self, what: str) -> UnsupportedUseError:
        """Return the error that says which arguments are needed."""
        return UnsupportedUseError(f"keras.ops.{function_name(self.class_name)} needs {what}")


def function_name(class_name: str) -> str:
    """Return the name of the function whose class Keras writes into a file."""
    parts = "".join(f"_{c.lower()}" if c.isupper() else c for c in class_name)
    return parts.lstrip("_")
