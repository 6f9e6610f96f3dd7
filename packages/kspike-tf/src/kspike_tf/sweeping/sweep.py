"""The function `sweep`, which measures a spiking model at many operating points."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras

from kspike_energy.checks import told_options
from kspike_tf.conversion.convert import Conversion
from kspike_tf.sweeping.activity import usable_workers
from kspike_tf.sweeping.arguments import check_count, checked_grid
from kspike_tf.sweeping.journal import Journal
from kspike_tf.sweeping.result import Point, Sweep
from kspike_tf.sweeping.study import Study
from kspike_tf.types import Arrays, SpikingModel


@told_options
def sweep(
    model: SpikingModel | Conversion | Callable[..., SpikingModel],
    x: Arrays,
    y: Arrays,
    *,
    timesteps: int | Sequence[int],
    dt: float | Sequence[float] | None = None,
    scale: float | Sequence[float] = 1.0,
    devices: str | Sequence[str] = ("loihi", "spinnaker2", "cpu", "gpu"),
    metric: str | Callable[[Any, Any], float] = "accuracy",
    input_coding: str = "events",
    progress: bool = False,
    workers: int | None = None,
    resume: str | os.PathLike[str] | None = None,
) -> Sweep:
    """Measure accuracy, spikes, energy and latency of a spiking model at many operating points.

    Every combination of time step, scale and number of steps is a point. Only the longest
    presentation runs: its first steps give the results for all shorter ones.

    Parameters
    ----------
    model : keras.Model, Conversion, kspike_ref.Model or callable
        A spiking model whose inputs have a time axis. It is not changed. To vary ``dt`` and
        ``scale`` with kspike_ref, which is faster, pass a function that loads the model:
        ``functools.partial(kspike_ref.load_model, "spiking.keras")``.
    x : structure of (batch, ...) array
        Inputs. Without a time axis, they are shown at every step; with one, their first steps are
        shown.
    y : (batch, ...) array
        Targets for the metric: for accuracy, classes as integers or one-hot.
    timesteps : int or sequence of int
        Numbers of time steps.
    dt : float or sequence of float, optional
        Lengths of a time step in seconds; the model's own by default.
    scale : float or sequence of float, optional
        Factors of firing rates. Spikes shrink by the same factor, so that the model computes the
        same function with more or fewer spikes.
    devices : str or sequence of str, optional
        Devices whose energy to estimate, from ``kspike_tf.ModelEnergy.devices``. A device that
        does not spike runs the ordinary network once, whatever the number of steps.
    metric : {"accuracy"} or callable, optional
        ``metric(y, outputs)`` returns a number; higher is better. Accuracy compares the highest
        output, at the last step if the model returns sequences.
    input_coding : {"events", "rate", "dense"}, optional
        How a spiking device receives the model's own input, as in `kspike_tf.ModelEnergy`.
    progress : bool, optional
        Whether to show a progress bar.
    workers : int, optional
        Number of batches to run at once, each of which may need 768 MiB; by default one per core,
        but no more than fit into half of the memory. Results do not depend on it.
    resume : path_like, optional
        A JSON Lines file, to which finished points are written, and from which they are read if
        model, data and options are the same.

    Returns
    -------
    Sweep
        The points.

    Warns
    -----
    UserWarning
        If the model has neurons other than `SpikingActivation`, whose spikes are not counted.

    Raises
    ------
    TypeError
        If the model is of another kind, or has several outputs and the metric is accuracy.
    ValueError
        If an argument is out of range, data do not match the model, a device is unknown, or ``dt``
        or ``scale`` is passed for a loaded kspike_ref model.

    Notes
    -----
    Neurons without a seed get one while they run. Layers that mix time steps, such as
    `Bidirectional`, and all layers after them run again for every number of steps. Energy is
    estimated as in `kspike_tf.ModelEnergy`; signals after the end of the time axis have the rate of
    the spikes that they are read out of.

    Examples
    --------
    >>> import keras, kspike_tf, numpy as np
    >>> spiking = kspike_tf.SpikingActivation("relu", seed=0, name="hidden")
    >>> last = kspike_tf.Lowpass(0.01, return_sequences=False)
    >>> model = keras.Sequential([keras.Input((None, 3)), spiking, last])
    >>> x = 100 * np.eye(3, dtype="float32")
    >>> points = sweep(model, x, [0, 1, 2], timesteps=[1, 50], devices=["loihi"])
    >>> [(p.timesteps, p.spikes) for p in points]
    [(1, 0.0), (50, 5.0)]
    """
    grid = checked_grid(timesteps, dt, scale, devices)
    if workers is not None:
        check_count("workers", workers)
    model = model.model if isinstance(model, Conversion) else model
    study = Study(model, x, y, grid, metric, input_coding)
    journal = None if resume is None else Journal(resume, study.identity())
    bar = keras.utils.Progbar(study.examples * len(grid.models)) if progress else None
    points: list[Point] = []
    with ThreadPoolExecutor(workers or usable_workers()) as pool:
        for step, factor in grid.models:
            done = journal.find(step, factor, grid.timesteps) if journal else {}
            left = [steps for steps in grid.timesteps if steps not in done]
            if left:
                made = study.points(step, factor, left, pool, bar)
                if journal:
                    journal.add(step, factor, made)
                done |= made
            elif bar is not None:
                bar.add(study.examples)
            points += [done[steps] for steps in grid.timesteps]
    return Sweep(tuple(points), study.metric.name, grid.devices)
