"""`load_model`: from a saved file to a model that runs."""

from __future__ import annotations

import os
from pathlib import Path

from kspike_ref import layers as layers  # enters the layers in the table
from kspike_ref.arguments import told_options
from kspike_ref.layers.errors import UnsupportedLayerError
from kspike_ref.model import Model
from kspike_ref.running.budget import check_limit
from kspike_ref.saved.archive import ArchiveError
from kspike_ref.saved.build import build
from kspike_ref.saved.config import parse
from kspike_ref.saved.files import read_model
from kspike_ref.saved.limits import one_load


@told_options
def load_model(
    path: str | os.PathLike[str],
    max_bytes: float | None = None,
    max_operations: float | None = None,
) -> Model:
    """Load a model that Keras saved, without Keras and without TensorFlow.

    Nothing in the file is executed: a model is made of layers that kspike_ref knows, or that you
    registered with `register_layer`.

    Parameters
    ----------
    path : path_like
        A ``.keras`` file of Keras 3 or 2, a folder with the same contents, or a whole-model
        ``.h5`` file.
    max_bytes, max_operations : float, optional
        The most that a run may take, as `Model.cost` estimates it; a larger one is refused.

    Returns
    -------
    Model
        Ready to run.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    ArchiveError
        If the file is damaged, hostile, or not what Keras writes.
    UnsupportedLayerError
        If the model holds layers or options of layers that are not supported; the error lists all
        of them.
    ValueError
        If a limit is not positive.

    Notes
    -----
    Model files are treated as untrusted. Their size is limited: 32 MiB and 1,000,000 lists, objects
    and values of JSON; 10,000 files in the archive, and no zip64 list of them; weights that expand
    to 64 MiB or 100 times their compressed size; 10,000 layers, 10,000 applications of layers, and
    40 levels of layers within layers; 2³¹ elements in one example of an output; 32 MiB of
    vocabularies in files of their own, and 1,000,000 words in all; and 256 MiB of arrays whose size
    is only in the configuration. Each byte of a weight file is read as a value or a name once. A
    folder obeys the same limits.
    """
    check_limit("max_bytes", max_bytes)
    check_limit("max_operations", max_operations)
    place = Path(path)  # a TypeError for what is no path at all
    with one_load():
        try:
            archive = read_model(place)
            try:
                graph = build(parse(archive.config, archive.by_name), archive.weights)
            finally:
                if archive.weights.assets is not None:
                    archive.weights.assets.close()
            return Model(graph, max_bytes, max_operations)
        except (ArchiveError, UnsupportedLayerError, FileNotFoundError):
            raise
        except Exception as error:
            # Whatever a configuration makes go wrong in a layer is the configuration's fault; an
            # error in a layer of the user's own is the cause that is shown first.
            detail = f"{type(error).__name__}: {error!s:.200}"
            raise ArchiveError(f"the model in {str(place)!r} cannot be built: {detail}") from error
