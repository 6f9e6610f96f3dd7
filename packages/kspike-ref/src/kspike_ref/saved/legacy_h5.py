"""Reader for whole-model ``.h5`` files, which Keras 2 wrote and Keras 3 can still write.

The configuration is the attribute ``model_config`` of the file. The weights of every layer of the
outermost model are in ``model_weights/<name>``, in the order of its attribute ``weight_names``: one
list for the layer and all layers inside it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from kspike_ref.layers.registry import is_known
from kspike_ref.saved import hdf5
from kspike_ref.saved.archive import Archive, Weights
from kspike_ref.saved.config import ALIAS, SLASH
from kspike_ref.saved.container import read_json
from kspike_ref.saved.errors import ArchiveError

_MAX_PARTS = 8  # parts of a layer name with slashes


class _Unread:
    """The weights of one layer of the outermost model that have not been read yet.

    Parameters
    ----------
    names : list of str
        Their names, in the order in which Keras saved them.
    """

    def __init__(self, names: list[str]) -> None:
        self._order = {name: i for i, name in enumerate(dict.fromkeys(names))}
        self._left = dict(self._order)
        # By the number of parts in a name: part of a path → the weights below it, last one first.
        self._below: dict[int, dict[str, list[str]]] = {}

    def left(self) -> list[str]:
        """Return the names of all unread weights."""
        return list(self._left)

    def first(self, count: int, layers: list[str]) -> list[str]:
        """Return the first unread weights of a layer.

        Parameters
        ----------
        count : int
            The largest number of weights to return.
        layers : list of str
            The names that the layer may have; empty for all weights.
        """
        if not layers:
            return list(itertools.islice(self._left, count))
        found = {name for layer in layers for name in self._of(layer, count)}
        return sorted(found, key=self._order.__getitem__)[:count]

    def take(self, name: str) -> None:
        """Remove a weight that was read."""
        del self._left[name]

    def _of(self, layer: str, count: int) -> list[str]:
        parts = layer.count("/") + 1
        if parts > _MAX_PARTS:
            raise ArchiveError(f"a layer name with {parts} parts: {layer!r:.80}")
        if parts not in self._below:
            self._below[parts] = self._index(parts)
        below = self._below[parts].get(layer, [])
        while below and below[-1] not in self._left:
            below.pop()
        return list(itertools.islice((n for n in reversed(below) if n in self._left), count))

    def _index(self, parts: int) -> dict[str, list[str]]:
        index: dict[str, list[str]] = {}
        for name in reversed(self._left):
            path = name.split("/")
            places = {"/".join(path[i : i + parts]) for i in range(len(path) - parts)}
            for place in places:
                index.setdefault(place, []).append(name)
        return index


class LegacyWeights(Weights):
    """The variables of a whole-model file, found by layer name and by order.

    Parameters
    ----------
    file : File
        The file.
    """

    repeats_shared = True

    def __init__(self, file: hdf5.File) -> None:
        super().__init__(file)
        self._unread: dict[str, _Unread] = {}

    def holds(self, path: str) -> bool:
        """Return whether there are unread weights at ``path``."""
        _, inner, unread = self._place(path)
        return bool(unread.first(1, inner))

    has_variables = holds

    def read(
        self, path: str, name: str, shape: tuple[int, ...], layer: str
    ) -> np.ndarray[Any, Any]:
        """Return the next variable at ``path``, whatever its number; see `Weights.read`."""
        return next(iter(self.of_layer(path, {name: shape}, layer).values()))

    def of_layer(
        self, path: str, wanted: dict[str, tuple[int, ...]], layer: str
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Return the next variables at ``path``; see `Weights.of_layer`."""
        if not wanted:
            return {}
        outer, inner, unread = self._place(path)
        names = unread.first(len(wanted), inner)
        if len(names) != len(wanted):
            raise ArchiveError(
                f"layer {layer!r} must have {len(wanted)} weights ({', '.join(wanted)}). "
                f"Received: {len(names)} at model_weights/{outer}"
            )
        values = {}
        for name, key in zip(names, wanted, strict=True):
            place = f"model_weights/{outer}/{name}"
            address = self._file.address(place)
            if address is None:
                raise ArchiveError(f"layer {layer!r}: the weight {place} is missing")
            values[key] = self._values(address, wanted[key], f"layer {layer!r}: {place}")
        for name in names:  # only if all fit: a layer may ask again for other shapes
            unread.take(name)
        return values

    def check_all_read(self) -> None:
        """Refuse weights that no layer read: they belong to another kind of model."""
        for layer, unread in self._unread.items():
            names = unread.left()
            if names:
                weights = "weight" if len(names) == 1 else "weights"
                raise ArchiveError(
                    f"layer {layer!r} has {len(names)} more {weights} than its configuration "
                    f"needs: {', '.join(names)}"[:400]
                )

    def _place(self, path: str) -> tuple[str, list[str], _Unread]:
        """Return the outermost layer, the names of the innermost one, and the unread weights."""
        parts = path.split("/")
        named = [
            after.replace(SLASH, "/").split(ALIAS)
            for before, after in itertools.pairwise(parts)
            if before == "layers"
        ]
        outer = named[0][0]
        if outer not in self._unread:
            address = self._file.address(f"model_weights/{outer}")
            found = [] if address is None else self._listed(address, "weight_names")
            self._unread[outer] = _Unread(found)
        return outer, named[-1] if len(named) > 1 else [], self._unread[outer]

    def _listed(self, address: int, name: str) -> list[str]:
        """Return a list of names from one attribute, or from several if the list is long."""
        attributes = self._file.attributes(address)
        if name in attributes:
            return attributes[name] or []
        names: list[str] = []
        for i in range(len(attributes)):
            names += attributes.get(f"{name}{i}") or []
        return names


def _with_modules(item: Any) -> Any:
    """Return a serialised object of Keras 3 with its modules, which this format omits.

    A layer has ``trainable`` in its configuration; an operation of ``keras.ops`` does not.
    """
    if not isinstance(item, Mapping) or not isinstance(item.get("config"), Mapping):
        return item
    result, config = dict(item), dict(item["config"])
    kind = str(item.get("class_name"))
    if isinstance(config.get("layers"), list):
        config["layers"] = [_with_modules(layer) for layer in config["layers"]]
    for key in ("layer", "backward_layer"):
        config |= {key: _with_modules(config[key])} if key in config else {}
    result["config"] = config
    if "module" not in item:
        is_operation = is_known(f"ops:{kind}") and not (is_known(kind) and "trainable" in config)
        result["module"] = "keras.ops" if is_operation else "keras.layers"
        if ">" in kind:  # the user's own
            package, _, result["class_name"] = kind.partition(">")
            result |= {"module": package, "registered_name": kind}
    return result


def read_legacy(data: bytes) -> Archive:
    """Read a whole-model ``.h5`` file.

    Parameters
    ----------
    data : bytes
        The file.

    Returns
    -------
    Archive
        Its configuration and weights.

    Raises
    ------
    ArchiveError
        If the file is damaged, or holds weights without a model.
    """
    file = hdf5.File(data)
    attributes = file.attributes(file.root)
    config = attributes.get("model_config")
    if not config:
        raise ArchiveError(
            "the HDF5 file holds weights without a model: load the weights into the model in "
            "Keras, then save it whole with model.save('model.keras')"
        )
    version = (attributes.get("keras_version") or ["?"])[0]
    model = read_json(config[0].encode(), "model_config")
    if version.startswith("3"):
        model = _with_modules(model)
    return Archive(model, LegacyWeights(file), version, by_name=True)
