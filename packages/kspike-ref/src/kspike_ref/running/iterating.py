"""Runs over the batches of iterators and datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

_FORMS = "(x,), (x, y) or (x, y, sample_weight)"


def batches_of(x: Any) -> Iterator[Any] | None:
    """Return an iterator over the batches of inputs, or None if the inputs are one batch.

    Parameters
    ----------
    x : object
        An iterator, or a dataset with ``as_numpy_iterator``, as in ``tf.data``. Anything else is
        one batch.
    """
    if isinstance(x, np.ndarray | list | tuple | dict):
        return None
    if isinstance(x, Iterator):
        return x
    as_iterator = getattr(x, "as_numpy_iterator", None)
    return None if as_iterator is None else iter(as_iterator())


def refuse_out(out: Any) -> None:
    """Raise ValueError if arrays are passed for outputs that come batch by batch."""
    if out is not None:
        raise ValueError("out must be None for an iterator: its outputs come batch by batch")


def outputs_of(run: Callable[[Any], Any], batches: Iterator[Any], bar: Any) -> Iterator[Any]:
    """Run a model on one batch after another and yield its outputs.

    Parameters
    ----------
    run : callable
        Takes the inputs of a batch and returns the outputs.
    batches : iterator
        Inputs. As in Keras, a tuple holds inputs and targets; the targets are ignored.
    bar : tqdm or None
        A progress bar over batches; it is closed at the end.

    Raises
    ------
    TypeError, ValueError
        The errors of ``run``, with the number of the batch.
    """
    i = 0
    try:
        for batch in batches:  # `enumerate` would keep the previous batch alive
            try:
                outputs = run(_inputs(batch))
            except (TypeError, ValueError) as error:
                error.add_note(f"Raised by batch {i} of the iterator, counted from 0.")
                raise
            if bar is not None:
                bar.update(1)
            yield outputs
            del batch, outputs  # frees their memory for the next ones
            i += 1
    finally:
        if bar is not None:
            bar.close()


def _inputs(batch: Any) -> Any:
    if not isinstance(batch, tuple):
        return batch
    if not 1 <= len(batch) <= 3:
        raise ValueError(
            f"a batch that is a tuple must be {_FORMS}; several inputs go in a list or a dict. "
            f"Received: a tuple of {len(batch)}"
        )
    return batch[0]
