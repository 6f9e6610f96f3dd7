"""Activity measured on Dask arrays, block by block, in one pass over the data."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kspike_energy.measuring.batches import like, named

__all__ = ["in_blocks", "is_lazy"]

_MOST_AXES = 64  # NumPy's limit


def is_lazy(data: Any) -> bool:
    """Return whether data is a Dask array or contains one."""
    if "dask.array" not in sys.modules:
        return False
    if isinstance(data, Mapping):
        return any(map(_is_dask, data.values()))
    return any(map(_is_dask, data if isinstance(data, list | tuple) else [data]))


def in_blocks(
    measure: Callable[[Any, Any], Any], merge: Callable[[list[Any]], Any], model: Any, data: Any
) -> Any:
    """Measure all blocks along the batch axis, and return the merged measurements.

    Blocks are measured where Dask's scheduler runs them, and merged eight at a time, in order.
    The model is a separate task, so that a cluster sends it to every worker once.

    Parameters
    ----------
    measure : callable
        Measures a model on a block of the data.
    merge : callable
        Merges a list of measurements.
    model : object
        The model.
    data : dask.array.Array, or list or dict of arrays
        At least one of them is a Dask array.
    """
    import dask
    import dask.array as da

    arrays = [array for _, array in named(data)]
    batch = next(one for one in arrays if _is_dask(one)).chunks[0]
    inputs = []
    for given in arrays:
        one = given if _is_dask(given) else da.from_array(np.asarray(given))
        cut: dict[int, Any] = dict.fromkeys(range(1, one.ndim), -1)
        if not np.array_equal(one.chunks[0], batch, equal_nan=True):
            cut[0] = batch
        inputs.append(one.rechunk(cut))
    empty = like(data, [None] * len(arrays))  # the structure alone goes to the workers

    def one_block(model: Any, *blocks: Any) -> Any:
        given = [_block(one) for one in blocks]
        return measure(model, like(empty, given)) if len(given[0]) else None

    along = [
        pair
        for i, one in enumerate(inputs)
        for pair in (one, (0, *(_MOST_AXES * i + axis for axis in range(1, one.ndim))))
    ]
    shared = dask.delayed(model, pure=False)
    options = {"align_arrays": False, "concatenate": False, "meta": np.empty(0, object)}
    measured = da.blockwise(one_block, (0,), shared, None, *along, **options)
    return da.reduction(
        measured,
        chunk=lambda part, axis, keepdims: part,
        combine=lambda parts, axis, keepdims: _merged(parts, merge),
        aggregate=lambda parts, axis, keepdims: _merged(parts, merge),
        concatenate=False,
        split_every=8,
        dtype=object,
        meta=np.empty((), object),
    ).compute()


def _is_dask(x: Any) -> bool:
    return type(x).__module__.startswith("dask.array")


def _block(block: Any) -> Any:
    """Unwrap a block from nested lists, which hold one block along every other axis."""
    while isinstance(block, list):
        (block,) = block
    return block


def _merged(parts: Any, merge: Callable[[list[Any]], Any]) -> Any:
    """Merge the measurements of several blocks; None if all of them are empty."""
    listed = parts if isinstance(parts, list) else [parts]
    kept = [part for part in listed if part is not None]
    return merge(kept) if kept else None
