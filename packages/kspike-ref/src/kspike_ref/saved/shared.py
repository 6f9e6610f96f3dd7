"""Objects that a model file holds in several places, such as shared layers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_IDENTITY = re.compile(r'(?:, )?"shared_object_id": -?\d+')


class AmbiguousError(ValueError):
    """Two objects have the same configuration, and one of them is shared."""


@dataclass
class _Made:
    """An object without an identity, and its configuration as text, made on demand."""

    config: Any
    item: Any
    text: str | None = None


class SharedObjects:
    """The objects that a load has made, by the identities that Keras wrote into the file.

    Keras (3.0 to 3.15) leaves the identity out at the first place where a wrapper, a recurrent
    layer or the like holds the object, and cannot load such a model itself. The object is found
    there by its configuration, which includes its name.
    """

    def __init__(self) -> None:
        self._by_identity: dict[int, Any] = {}
        self._others: dict[tuple[str, str], list[_Made]] = {}

    def find(self, config: Mapping[str, Any]) -> Any:
        """Return the object that was made for another place, or None if this is the first.

        Raises
        ------
        AmbiguousError
            If two objects without an identity have the same name and configuration.
        """
        identity = config.get("shared_object_id")
        if type(identity) is not int:
            return None
        if identity not in self._by_identity:
            wanted = _text(config)
            found = [made for made in self._others.get(_key(config), []) if _is(made, wanted)]
            if len(found) > 1:
                raise AmbiguousError(
                    f"several layers named {_key(config)[1]!r} have the same configuration, "
                    "and one of them is used at another place: give them different names, and save "
                    "the model again"
                )
            if not found:
                return None
            self._by_identity[identity] = found[0].item
        return self._by_identity[identity]

    def add(self, config: Mapping[str, Any], item: Any) -> None:
        """Add a newly made object."""
        identity = config.get("shared_object_id")
        if type(identity) is int:
            self._by_identity[identity] = item
        else:
            self._others.setdefault(_key(config), []).append(_Made(config, item))


def _key(config: Mapping[str, Any]) -> tuple[str, str]:
    own = config.get("config")
    name = own.get("name") if isinstance(own, Mapping) else None
    return str(config.get("class_name")), str(name)


def _text(config: Mapping[str, Any]) -> str:
    """Return a configuration without the identities in it."""
    text = json.dumps(config.get("config"), sort_keys=True, default=repr)
    return _IDENTITY.sub("", text)


def _is(made: _Made, wanted: str) -> bool:
    if made.text is None:
        made.text = _text(made.config)
    return made.text == wanted
