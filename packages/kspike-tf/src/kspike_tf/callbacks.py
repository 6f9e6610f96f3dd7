"""Callbacks for models with spiking layers."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

__all__ = ["DtScheduler"]


class DtScheduler(keras.callbacks.Callback):
    """Changes the ``dt`` of layers during training.

    The variable is set before each minibatch, from the number of minibatches trained so far.
    The count goes on over epochs, and over several calls of ``fit`` with the same optimizer,
    as that of a learning rate schedule does.

    Parameters
    ----------
    dt : tf.Variable or keras.Variable
        Variable that was given as ``dt`` to the layers.
    scheduler : keras.optimizers.schedules.LearningRateSchedule or callable
        Gives the length of a time step, in seconds, for the number of the training step: any
        of Keras' learning rate schedules, or a function of one integer.
    verbose : bool, optional
        Whether to print each change of ``dt``.

    Raises
    ------
    TypeError
        If ``dt`` is not a variable, or ``scheduler`` cannot be called.

    Notes
    -----
    The value stays after training: ``predict`` uses the last ``dt`` that was set.

    Examples
    --------
    >>> import keras, numpy as np, tensorflow as tf, kspike_tf
    >>> dt = tf.Variable(1.0)
    >>> model = keras.Sequential([kspike_tf.SpikingActivation("relu", dt=dt)])
    >>> model.compile(loss="mse", optimizer="sgd")
    >>> scheduler = DtScheduler(dt, lambda step: 0.5 ** (step + 1))
    >>> _ = model.fit(np.ones((4, 2, 3)), np.ones((4, 2, 3)), batch_size=2, verbose=0,
    ...               callbacks=[scheduler])
    >>> float(dt)
    0.25
    """

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
        self._trained = 0  # minibatches before this epoch
        self._seen = 0  # minibatches up to now

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Take the number of steps trained before from the optimizer."""
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is not None:
            # With mixed_float16, the wrapped optimizer does the counting.
            optimizer = getattr(optimizer, "inner_optimizer", optimizer)
            batches_per_step = optimizer.gradient_accumulation_steps or 1
            iterations = keras.ops.convert_to_numpy(optimizer.iterations)
            self._seen = int(iterations) * batches_per_step

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Go on counting from the last epoch."""
        self._trained = self._seen

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
            If the scheduler returns something other than one positive, finite number.
        """
        step = self._trained + batch
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
        if self.verbose:
            sys.stdout.write(f"\nStep {step}: DtScheduler sets dt to {dt:.6g}.\n")

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Count the minibatches, of which an execution may hold several."""
        self._seen = self._trained + batch + 1
