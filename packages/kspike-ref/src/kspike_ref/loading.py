"""`load_model`: from a saved file to a model that runs."""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path

from kspike_ref import layers as layers  # enters the layers in the table
from kspike_ref.arguments import time_step, told_options
from kspike_ref.layers.errors import UnsupportedLayerError
from kspike_ref.model import Model
from kspike_ref.running.budget import check_limit
from kspike_ref.saved.archive import ArchiveError
from kspike_ref.saved.limits import one_load
from kspike_ref.saved.load import load_graph

_LONG_STEP = 1.0  # seconds, as in kspike_tf: probably meant as milliseconds


@told_options
def load_model(
    path: str | os.PathLike[str],
    max_bytes: float | None = None,
    max_operations: float | None = None,
    *,
    dt: float | None = None,
    rate_scale: float | None = None,
) -> Model:
    """Load a model that Keras saved, without Keras and without TensorFlow.

    Nothing in the file is executed: a model is made of layers that kspike_ref knows, or that you
    registered with `register_layer`.

    Parameters
    ----------
    path : path_like
        A ``.keras`` file of Keras 3 or 2, a folder of that kind, or a whole-model ``.h5`` file.
    max_bytes, max_operations : float, optional
        The most that a run may take, as `Model.cost` estimates it; a larger one is refused.
    dt : float, optional
        Time step in seconds for all layers that have one, neurons and filters alike, in place of
        the saved one; time constants stay. It is what ``kspike_tf.config.set_dt`` does in Keras.
    rate_scale : float, optional
        Factor for firing rates. Spikes become so much smaller, so that the model stays the same.

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
        If layers or options of layers are not supported; the error lists all of them.
    ValueError
        If a limit is not positive, or ``dt`` is not, or no layer has a time step; if
        ``rate_scale`` is not positive and finite, or no layer has neurons.

    Notes
    -----
    Model files are treated as untrusted. They may hold 32 MiB and 1,000,000 lists, objects and
    values of JSON; 10,000 files, and no zip64 list of them; weights that expand to 64 MiB or 100
    times their compressed size; 10,000 layers, 10,000 applications of layers, 40 levels of layers
    within layers; 2³¹ elements in one example of an output; 32 MiB of vocabularies in files of
    their own, 1,000,000 words in all; and 256 MiB of arrays whose size is only in the
    configuration. Each byte of a weight file is read once. A folder obeys the same limits.
    """
    check_limit("max_bytes", max_bytes)
    check_limit("max_operations", max_operations)
    check_limit("rate_scale", rate_scale)
    if rate_scale is not None and not math.isfinite(rate_scale):
        raise ValueError(f"rate_scale must be finite. Received: rate_scale={rate_scale!r}")
    dt = None if dt is None else time_step(dt)
    place = Path(path)  # a TypeError for what is no path at all
    with one_load():
        try:
            graph, timed = load_graph(place, dt, rate_scale)
            model = Model(graph, max_bytes, max_operations)
        except (ArchiveError, UnsupportedLayerError, FileNotFoundError):
            raise
        except Exception as error:
            # Whatever a configuration makes go wrong in a layer is the configuration's fault; an
            # error in a layer of the user's own is the cause that is shown first.
            detail = f"{type(error).__name__}: {error!s:.200}"
            raise ArchiveError(f"the model in {str(place)!r} cannot be built: {detail}") from error
    if dt and not timed["dt"]:
        raise ValueError(f"dt must be left out: no layer has a time step. Received: dt={dt!r}")
    if rate_scale is not None and not timed["neurons"]:
        raise ValueError(
            "rate_scale must be left out: no layer has neurons of kspike_tf. "
            f"Received: rate_scale={rate_scale!r}"
        )
    if dt is not None and dt >= _LONG_STEP:
        warnings.warn(
            f"dt is in seconds. Received: dt={dt:g}; for {dt:g} ms pass dt={dt / 1000:g}",
            stacklevel=3,
        )
    return model
