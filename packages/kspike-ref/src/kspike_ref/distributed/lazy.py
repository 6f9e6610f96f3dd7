"""Models on Dask arrays: lazy outputs, in blocks of the batch."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator, Mapping
from operator import getitem
from typing import Any

import numpy as np

from kspike_ref.distributed.seeds import seeded
from kspike_ref.running.threads import limit_threads

_MOST_AXES = 64  # the limit of NumPy arrays


def is_lazy(x: Any) -> bool:
    """Return whether inputs of a model are Dask arrays, or hold some."""
    return "dask.array" in sys.modules and _holds_dask(x)


def check_lazy(out: Any, is_one_block: bool) -> None:
    """Raise ValueError for ``out``, and for models that do not run in blocks."""
    if out is not None:
        raise ValueError("out must be None for a dask.array: store the lazy output instead")
    if is_one_block:
        raise ValueError(
            "x must be in memory for this model, such as x.compute(): a layer takes time as the "
            "first axis or joins examples. Received: a dask.array"
        )


def _holds_dask(x: Any) -> bool:
    if isinstance(x, Mapping):
        x = list(x.values())
    if not isinstance(x, list | tuple):
        return _is_dask(x)
    is_numbers = len(x) > 0 and isinstance(x[0], int | float)  # of a nested list: skip the rest
    return not is_numbers and any(map(_holds_dask, x))


def applied(model: Any, method: str, x: Any, **options: Any) -> Any:
    """Return the lazy outputs of a model for Dask arrays.

    The model is one task of the graph, and the tasks of all blocks depend on it: a cluster sends it
    to every worker once. A block runs on one core, as Dask runs as many blocks as there are cores.

    Parameters
    ----------
    model : Model
        The model. Its layers without a seed get one seed for all blocks.
    method : str
        The method to call for every block, ``predict`` or ``activity``.
    x : dask.array.Array, or list or dict of arrays
        The inputs of all examples, in the model's own structure.
    **options
        Further arguments of the method.

    Returns
    -------
    dask.array.Array, or list or dict of dask.array.Array
        The outputs, in the structure that the method returns.

    Raises
    ------
    TypeError, ValueError
        If the inputs do not fit the model.
    """
    import dask
    import dask.array as da

    inputs = _in_blocks(list(ends(x)))
    structure = _rebuilt(x, iter([None] * len(inputs)))
    one_each = [_one_example(array) for array in inputs]
    example = _run(model, method, structure, options, one_each)
    shared = dask.delayed(seeded(model), pure=False, name=f"kspike-model-{uuid.uuid4()}")
    call = (shared, None, method, None, structure, None, options, None)
    along = [pair for i, array in enumerate(inputs) for pair in (array, _axes(array, i))]
    unknown = {"align_arrays": False, "concatenate": False}
    lists = da.blockwise(_block, (0,), *call, *along, meta=np.empty(0, object), **unknown)
    outputs = []
    for k, y in enumerate(ends(example)):
        new = dict(enumerate(y.shape[1:], 1))
        rows = {0: tuple(n * len(y) for n in inputs[0].chunks[0])}
        made = {"new_axes": new, "adjust_chunks": rows, "meta": y[:0]}
        outputs.append(da.blockwise(getitem, (0, *new), lists, (0,), k, None, **made, **unknown))
    return _rebuilt(example, iter(outputs))


def _axes(array: Any, i: int) -> tuple[Any, ...]:
    """Return numbers for the axes of input ``i``: the batch's is shared, others are unique."""
    return (0, *(_MOST_AXES * i + axis for axis in range(1, array.ndim)))


def from_arrays(x: Any, size: int) -> Any:
    """Return arrays as Dask arrays, in the same structure, in blocks of ``size`` examples."""
    import dask.array as da

    arrays = [np.asarray(array) for array in ends(x)]
    lazy = [da.from_array(one, chunks=(size, *([-1] * (one.ndim - 1)))) for one in arrays]
    return _rebuilt(x, iter(lazy))


def _run(model: Any, method: str, structure: Any, options: Any, arrays: Any) -> Any:
    with limit_threads(1):
        return getattr(model, method)(_rebuilt(structure, iter(arrays)), **options)


def _block(model: Any, method: str, structure: Any, options: Any, *blocks: Any) -> list[Any]:
    """Return the outputs of one block as a flat list."""
    arrays = []
    for block in blocks:
        while isinstance(block, list):  # of the one block along every other axis
            (block,) = block
        arrays.append(block)
    return list(ends(_run(model, method, structure, options, arrays)))


def _is_dask(x: Any) -> bool:
    return type(x).__module__.startswith("dask.array")


def ends(x: Any) -> Iterator[Any]:
    """Yield the arrays in a nested structure."""
    if isinstance(x, list | tuple):
        for one in x:
            yield from ends(one)
    elif isinstance(x, Mapping):
        for one in x.values():
            yield from ends(one)
    else:
        yield x


def _rebuilt(x: Any, arrays: Iterator[Any]) -> Any:
    """Return a nested structure with its arrays replaced."""
    if isinstance(x, list | tuple):
        return [_rebuilt(one, arrays) for one in x]
    if isinstance(x, Mapping):
        return {key: _rebuilt(one, arrays) for key, one in x.items()}
    return next(arrays)


def _in_blocks(arrays: list[Any]) -> list[Any]:
    """Return Dask arrays that are cut only along the batch, all at the same examples."""
    import dask.array as da

    batch = next(array for array in arrays if _is_dask(array)).chunks[0]
    made = []
    for given in arrays:
        array = given if _is_dask(given) else da.from_array(np.asarray(given))
        if any(np.isnan(n) for n in array.shape[1:]):
            raise ValueError(
                "x must have known lengths after the batch: call x.compute_chunk_sizes(). "
                f"Received: x.shape={array.shape}"
            )
        cut: dict[int, Any] = dict.fromkeys(range(1, array.ndim), -1)
        if not np.array_equal(array.chunks[0], batch, equal_nan=True):
            cut[0] = batch
        made.append(array.rechunk(cut))
    return made


def _one_example(array: Any) -> Any:
    """Return an example of zeros or empty strings, to infer the shapes and types of outputs."""
    shape = (1, *array.shape[1:])
    return np.full(shape, "") if array.dtype.kind in "OUST" else np.zeros(shape, array.dtype)
