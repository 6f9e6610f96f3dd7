"""Callbacks for models with spiking layers."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kspike_energy.checks import told_options
from kspike_tf.rates import rate_report
from kspike_tf.types import Arrays

__all__ = ["DtScheduler", "RateLogger"]


class DtScheduler(keras.callbacks.Callback):
    """Changes the ``dt`` of layers during training.

    The callback sets the variable before every minibatch, as a function of the number of
    minibatches since the beginning of ``fit``. The count continues over epochs, and every call of
    ``fit`` starts at 0. With ``steps_per_execution``, all minibatches of an execution use the value
    of the first one.

    Parameters
    ----------
    dt : tf.Variable or keras.Variable
        Variable that the layers use as their ``dt``.
    scheduler : keras.optimizers.schedules.LearningRateSchedule or callable
        Function from the number of the minibatch to the length of a time step, in seconds; for
        example, a learning rate schedule from Keras.
    verbose : bool, optional
        Whether to print ``dt`` at the beginning of an epoch.

    Raises
    ------
    TypeError
        If ``dt`` is not a variable, or ``scheduler`` is not callable.

    Notes
    -----
    The last value remains after training, so ``predict`` uses it. To continue a schedule in another
    ``fit``, shift it: ``lambda step: schedule(step + steps_before)``.

    A model that was loaded, copied or pickled has a number in place of the variable. The callback
    warns if no layer of the model has its variable; `kspike_tf.config.set_dt` attaches it.

    Examples
    --------
    >>> import keras, numpy as np, tensorflow as tf, kspike_tf
    >>> dt = tf.Variable(1.0)
    >>> model = keras.Sequential([kspike_tf.SpikingActivation("relu", dt=dt)])
    >>> model.compile(loss="mse", optimizer="sgd")
    >>> scheduler = DtScheduler(dt, lambda step: 0.5 ** (step + 1))
    >>> _ = model.fit(
    ...     np.ones((4, 2, 3)),
    ...     np.ones((4, 2, 3)),
    ...     batch_size=2,
    ...     verbose=0,
    ...     callbacks=[scheduler],
    ... )
    >>> float(dt)
    0.25
    """

    @told_options
    def __init__(
        self,
        dt: tf.Variable | keras.Variable,
        scheduler: Callable[[int], Any],
        verbose: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(dt, (tf.Variable, keras.Variable)):
            raise TypeError(f"dt must be a tf.Variable or a keras.Variable. Received: dt={dt!r}")
        if not callable(scheduler):
            raise TypeError(
                f"scheduler must be a schedule or a function. Received: scheduler={scheduler!r}"
            )
        self.dt = dt
        self.scheduler = scheduler
        self.verbose = verbose
        self._before = 0  # minibatches of earlier epochs
        self._last: tuple[int, int] | None = None  # minibatches of the last execution: first, end
        self._iterations = 0  # of the optimizer, before this epoch

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start counting; warn if no layer of the model has the variable."""
        self._before, self._last = 0, None
        if not _has(self.model, self.dt):
            warnings.warn(
                "no layer of the model has the variable of DtScheduler as its dt, so the schedule "
                "has no effect. A model that was loaded, copied or pickled holds a number instead: "
                "attach the variable with kspike_tf.config.set_dt(model, dt)",
                stacklevel=2,
            )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Continue counting from the previous epoch."""
        self._before += self._trained()
        self._last, self._iterations = None, self._minibatches_of_optimizer()
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Set ``dt`` for the next minibatch.

        Parameters
        ----------
        batch : int
            Number of the minibatch in its epoch.
        logs : dict, optional
            Unused.

        Raises
        ------
        ValueError
            If the scheduler does not return one positive and finite number.
        """
        step = self._before + batch
        value = np.asarray(keras.ops.convert_to_numpy(self.scheduler(step)))
        if value.size != 1 or value.dtype.kind not in "fiu":
            raise ValueError(
                f"scheduler must return one number. Received: {value!r} for step {step}"
            )
        dt = float(value.reshape(()))
        if not (dt > 0 and math.isfinite(dt)):
            raise ValueError(
                "scheduler must return a positive and finite dt. "
                f"Received: dt={dt!r} for step {step}"
            )
        self.dt.assign(dt)
        if self.verbose and batch == 0:
            sys.stdout.write(f"\nEpoch {self._epoch + 1}: DtScheduler sets dt to {dt:.6g}.\n")
        self._first = batch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Store the minibatches of an execution, as far as Keras reports them."""
        # `batch` is the last one, or in Keras 3.8 the first one.
        self._last = self._first, self._first + getattr(self.model, "steps_per_execution", 1)

    def _trained(self) -> int:
        """Return the number of minibatches of this epoch.

        Keras counts the last execution of an epoch as a full one. The optimizer has the true count,
        unless it skipped steps with gradients that are not finite.
        """
        if self._last is None:
            return 0
        first, end = self._last
        counted = self._minibatches_of_optimizer() - self._iterations
        if first < counted <= end:
            return counted
        steps = self.params.get("steps") if self.params else None
        return min(end, steps) if steps and steps > first else end

    def _minibatches_of_optimizer(self) -> int:
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is None:
            return 0
        # With mixed_float16, the wrapped optimizer counts.
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        batches_per_step = optimizer.gradient_accumulation_steps or 1
        return int(keras.ops.convert_to_numpy(optimizer.iterations)) * batches_per_step


class RateLogger(keras.callbacks.Callback):
    """Shows the mean firing rate of every spiking layer at the end of each epoch of `fit`.

    The rates are added to the logs as ``"<layer> Hz"``, so they appear in the progress bar and in
    the history that ``fit`` returns.

    Parameters
    ----------
    x : structure of (batch, time, ...) array
        Inputs on which to measure the rates: a few hundred examples are enough.
    timesteps : int, optional
        Number of steps to show inputs that have no time axis.

    Examples
    --------
    >>> import keras, kspike_tf, numpy as np
    >>> x = np.full((4, 50, 3), 20.0)
    >>> spiking = kspike_tf.SpikingActivation("relu", seed=0, name="hidden")
    >>> model = keras.Sequential([keras.Input((None, 3)), spiking])
    >>> model.compile("sgd", "mse")
    >>> logger = kspike_tf.callbacks.RateLogger(x)
    >>> history = model.fit(x, x, verbose=0, callbacks=[logger])
    >>> history.history["hidden Hz"]
    [20.0]
    """

    @told_options
    def __init__(self, x: Arrays, timesteps: int | None = None) -> None:
        super().__init__()
        self.x = x
        self.timesteps = timesteps

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure the rates and add them to the logs."""
        report = rate_report(self.model, self.x, self.timesteps)
        if logs is not None:
            logs.update({f"{layer.name} Hz": round(layer.mean_rate, 2) for layer in report.layers})


def _has(model: Any, variable: Any) -> bool:
    """Return whether a layer of the model, or a cell, has the variable as an attribute."""
    return any(
        value is variable or getattr(value, "variable", None) is variable
        for layer in model._flatten_layers()
        for value in list(vars(layer).values())
    )
