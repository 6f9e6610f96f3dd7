"""The contents of a model file: the model's configuration and its weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kspike_ref.saved import hdf5
from kspike_ref.saved.assets import Assets
from kspike_ref.saved.errors import ArchiveError

__all__ = ["Archive", "ArchiveError", "Weights"]


class Archive(NamedTuple):
    """The contents of a model file.

    Attributes
    ----------
    config : dict
        The serialised model.
    weights : Weights
        The values of its variables.
    keras_version : str
        The version of Keras that wrote it.
    by_name : bool
        Whether weights are stored under the names of the layers.
    """

    config: dict[str, Any]
    weights: Weights
    keras_version: str
    by_name: bool = False


class Weights:
    """The variables in an archive, found by path.

    Parameters
    ----------
    file : File
        The contents of ``model.weights.h5``.
    assets : Assets, optional
        The files of layers, in formats that have them.
    """

    repeats_shared = False  # whether every holder of a shared layer stores its weights
    is_last_chance = False  # true once all layers were tried: weights still missing are an error

    def __init__(self, file: hdf5.File, assets: Assets | None = None) -> None:
        self._file = file
        self.assets = assets

    def names(self, path: str) -> list[str]:
        """Return the names of the variables at ``path``, in the order Keras numbers them."""
        members = self._file.children(f"{path}/vars") or {}
        return sorted(members, key=lambda name: (len(name), name))

    def holds(self, path: str) -> bool:
        """Return whether there is a group at ``path``."""
        return self._file.children(path) is not None

    def has_variables(self, path: str) -> bool:
        """Return whether there are variables at ``path``."""
        return bool(self.names(path))

    def of_layer(
        self, path: str, wanted: dict[str, tuple[int, ...]], layer: str
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Return all weights of one layer, without those of layers inside it.

        Parameters
        ----------
        path : str
            The layer's group.
        wanted : dict of str to tuple of int
            Names and shapes according to the configuration, in Keras' order.
        layer : str
            The layer's name, for messages.

        Returns
        -------
        dict of str to ndarray
            Their values.

        Raises
        ------
        ArchiveError
            If there are more, fewer or other weights.
        """
        names = self.names(path)
        if len(names) != len(wanted):
            raise ArchiveError(
                f"layer {layer!r} must have {len(wanted)} weights ({', '.join(wanted)}). "
                f"Received: {len(names)} at {path}/vars"
            )
        return {
            name: self.read(path, str(number), shape, layer)
            for number, (name, shape) in enumerate(wanted.items())
        }

    def check_all_read(self) -> None:
        """Refuse weights that no layer read; the layout by number is not checked."""

    def read(
        self, path: str, name: str, shape: tuple[int, ...], layer: str
    ) -> np.ndarray[Any, Any]:
        """Return one variable.

        Parameters
        ----------
        path, name : str
            The group and the variable's name in it.
        shape : tuple of int
            The shape according to the configuration.
        layer : str
            The layer's name, for messages.

        Returns
        -------
        ndarray
            Its values.

        Raises
        ------
        ArchiveError
            If it is missing, has another shape, or holds NaN or infinite values.
        """
        address = (self._file.children(f"{path}/vars") or {}).get(name)
        if address is None:
            raise ArchiveError(f"layer {layer!r}: the weight {path}/vars/{name} is missing")
        return self._values(address, shape, f"layer {layer!r}: {path}/vars/{name}")

    def _values(self, address: int, shape: tuple[int, ...], name: str) -> np.ndarray[Any, Any]:
        """Return the values of the dataset at an address; see `read`. Messages call it ``name``."""
        dataset = self._file.dataset(address)
        if dataset.shape != shape:
            raise ArchiveError(
                f"{name} must have shape {shape}, as the configuration says. "
                f"Received: {dataset.shape}"
            )
        values = self._file.read(dataset)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ArchiveError(f"{name} holds NaN or infinite values")
        return values
