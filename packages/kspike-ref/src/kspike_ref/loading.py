"""`load_model`, which builds a model from a saved file."""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path

from kspike_ref import layers as layers  # registers the layers
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

    Nothing in the file is executed: a model consists of layers that kspike_ref knows, or that you
    registered with `register_layer`.

    Parameters
    ----------
    path : path_like
        A ``.keras`` file of Keras 3 or 2, such a file unpacked, or a whole-model ``.h5`` file.
    max_bytes, max_operations : float, optional
        Limits for every run, as estimated by `Model.cost`; a run that exceeds one is refused.
    dt : float, optional
        Time step in seconds that replaces the saved one in all neurons and filters; time constants
        stay. ``kspike_tf.config.set_dt`` does the same in Keras.
    rate_scale : float, optional
        Factor for firing rates. Spikes shrink by the same factor, so the model computes the same.

    Returns
    -------
    Model
        Ready to run.

    Raises
    ------
    FileNotFoundError
        If ``path`` does not exist.
    ArchiveError
        If the file is damaged, hostile, or not in a form that Keras writes.
    UnsupportedLayerError
        If layers or their options are not supported; the error lists all of them.
    ValueError
        If a limit or ``dt`` is not positive, or ``rate_scale`` is not positive and finite; if no
        layer has a time step for ``dt``, or no layer has neurons for ``rate_scale``.

    Notes
    -----
    Model files are treated as untrusted. The limits are 32 MiB, 140 levels and 1,000,000 lists,
    objects and values of JSON; 10,000 files, in an archive that is not zip64; weights that expand
    to 64 MiB or 100 times their compressed size; 10,000 layers, 10,000 layer applications, 40
    levels of nested layers; 2³¹ elements in one example of an output; 32 MiB of vocabularies in
    separate files, and 1,000,000 words in all; and 256 MiB of arrays whose size is only in the
    configuration. Each byte of a weight file is read once. The same limits apply to folders.
    """
    check_limit("max_bytes", max_bytes)
    check_limit("max_operations", max_operations)
    check_limit("rate_scale", rate_scale)
    if rate_scale is not None and not math.isfinite(rate_scale):
        raise ValueError(f"rate_scale must be finite. Received: rate_scale={rate_scale!r}")
    dt = None if dt is None else time_step(dt)
    place = Path(path)  # raises TypeError if it is not a path
    with one_load():
        try:
            graph, timed = load_graph(place, dt, rate_scale)
            model = Model(graph, max_bytes, max_operations)
        except (ArchiveError, UnsupportedLayerError, FileNotFoundError):
            raise
        except Exception as error:
            # Any error in a layer is reported as a fault of the configuration. If a user's own
            # layer has a bug, the traceback shows that error first, as the cause.
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
