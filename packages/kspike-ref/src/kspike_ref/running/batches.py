"""Blocks of a batch that fit the cache, and their execution on several cores."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from threading import Lock
from typing import Any

import numpy as np

from kspike_ref.arguments import check_count
from kspike_ref.kernels.memory import frozen
from kspike_ref.layers.errors import Array, Shape
from kspike_ref.running import interrupt
from kspike_ref.running import threads as _threads
from kspike_ref.running.counts import Counts
from kspike_ref.running.graph import Node
from kspike_ref.running.out import check_fit

Compute = Callable[[list[Array], int, int], Counts]

# Bytes of the input and output of a block's widest layer. They exceed an L2 cache of 512 KiB, but
# with half of it, models took up to 1.15 times as long: a layer's weights are read once per block.
_CACHE = 2 << 20
_LARGEST = 1024  # examples in a block; larger blocks gain nothing
# Bytes of activations below which threads cost more than they save: the threshold of loops over
# time, in float32 numbers.
_WORTH_THREADS = 4 * _threads.WORTH_THREADS


def check_batch_size(batch_size: Any) -> int | None:
    """Return a batch size as an int, or None; refuse other values."""
    return None if batch_size is None else check_count("batch_size", batch_size, 1)


def block_size(nodes: Sequence[Node], inputs: Sequence[tuple[int, ...]], threads: int) -> int:
    """Return the number of examples in a block.

    Parameters
    ----------
    nodes : sequence of Node
        The model's nodes.
    inputs : sequence of tuple of int
        The shapes of the inputs, with all examples.
    threads : int
        The number of threads that share the work.

    Returns
    -------
    int
        At least 1.
    """
    count = inputs[0][0]
    steps = max((shape[1] for shape in inputs if len(shape) > 2), default=1)
    widest = max((_bytes(node, steps, inputs) for node in nodes), default=1)
    size = fitting(widest)
    if count * widest > _WORTH_THREADS:
        size = min(size, -(-count // threads))
    return max(1, min(size, count))


def fitting(nbytes: int) -> int:
    """Return the number of examples that fit the cache, at ``nbytes`` each: at least 1."""
    return max(1, min(_LARGEST, _CACHE // max(1, nbytes)))


def _bytes(node: Node, steps: int, inputs: Sequence[tuple[int, ...]]) -> int:
    """Return the approximate bytes that a node reads and writes for one example."""
    longest = max((n for shape in inputs for n in shape[2:]), default=1)

    def size(shape: Shape) -> int:
        lengths = [(steps if i == 1 else longest) if n is None else n for i, n in enumerate(shape)]
        return math.prod(lengths[1:])

    shapes = [*node.input_shapes, *node.output_shapes]
    return int(node.layer.dtype.itemsize) * sum(size(shape) for shape in shapes)


class Outputs:
    """Arrays for the outputs of all blocks, allocated when the first block is done.

    Parameters
    ----------
    count : int
        The number of examples.
    out : sequence of ndarray, optional
        The caller's arrays for the outputs.
    """

    def __init__(self, count: int, out: Sequence[Array] = ()) -> None:
        self.count = count
        self.arrays: list[Array] = list(out)
        self._is_ready = False
        self._lock = Lock()

    def put(self, first: int, last: int, outputs: Sequence[Array]) -> None:
        """Store a block's outputs for the examples ``first`` to ``last``.

        An output may have several rows per example, such as with time folded into the batch.

        Raises
        ------
        ValueError, TypeError
            If the caller's arrays do not fit.
        """
        is_whole = (first, last) == (0, self.count)
        if is_whole and not self.arrays:
            self.arrays = [y.copy() for y in outputs]
            return
        rows = [1 if is_whole else len(y) // (last - first) for y in outputs]
        with self._lock:
            if not self._is_ready:
                self._prepare(outputs, rows, is_whole)
                self._is_ready = True
        interrupt.check(interrupt.current())  # after an interrupt, the arrays are the caller's
        for array, n, y in zip(self.arrays, rows, outputs, strict=True):
            low, high = (0, len(y)) if is_whole else (first * n, last * n)
            array[low:high] = y
            forget(array, low, high)

    def _prepare(self, outputs: Sequence[Array], rows: Sequence[int], is_whole: bool) -> None:
        """Make arrays for the outputs of all blocks, or check the caller's arrays."""
        shapes = [
            y.shape if is_whole else (self.count * n, *y.shape[1:])
            for n, y in zip(rows, outputs, strict=True)
        ]
        if self.arrays:
            check_fit(self.arrays, shapes, outputs)
        else:
            pairs = zip(shapes, outputs, strict=True)
            self.arrays = [np.empty(shape, y.dtype) for shape, y in pairs]


def run_all(
    compute: Compute,
    inputs: list[Array],
    maps: Sequence[Any],
    count: int,
    size: int,
    threads: int,
    bar: Any,
) -> Counts:
    """Compute all blocks of a batch and return their total counts.

    Parameters
    ----------
    compute : callable
        Takes the inputs of a block, its first example and the one after its last, and returns the
        counts of its nodes; called from several threads.
    inputs : list of ndarray
        The inputs of all examples.
    maps : sequence
        The caller's inputs; the pages that memory maps among them have read are released.
    count, size, threads : int
        The number of examples, in total and per block, and of blocks to run at the same time. A
        block of all examples gets the whole inputs, whichever of their axes is the batch.
    bar : tqdm or None
        A progress bar; it is closed at the end.
    """
    inputs, starts = [frozen(array) for array in inputs], range(0, count, size) or [0]
    own = 1 if min(threads, len(starts)) > 1 else threads  # threads of a block
    total: Counts = np.zeros((), np.int64)
    lock = Lock()

    def work(first: int) -> None:
        nonlocal total
        last = min(count, first + size)
        # With time first, or states as inputs, the lengths of first axes may differ.
        is_whole = (first, last) == (0, count)
        block = inputs if is_whole else [array[first:last] for array in inputs]
        with _threads.limit_threads(own):
            counts = compute(block, first, last)
        for values in maps:
            forget(values, first, last)
        with lock:
            total = total + counts
            if bar is not None:
                bar.update(last - first)

    try:
        _threads.share(work, starts, threads)
    finally:
        if bar is not None:
            bar.close()
    return total


def forget(x: Any, first: int, last: int) -> None:
    """Release the used pages of a memory map, so that they do not fill the memory.

    Parameters
    ----------
    x : array_like
        Any array; only memory maps of files without private changes are affected.
    first, last : int
        The rows that were read or written.
    """
    if not isinstance(x, np.memmap) or x.mode not in ("r", "r+", "w+") or not x.flags.c_contiguous:
        return
    pages = x._mmap  # type: ignore[attr-defined]
    if pages is None or not hasattr(mmap, "MADV_DONTNEED") or last <= first or x.size == 0:
        return
    start = x.ctypes.data - np.frombuffer(pages, np.uint8).ctypes.data
    row = x.nbytes // len(x)
    low = (start + first * row) // mmap.PAGESIZE * mmap.PAGESIZE
    high = (start + last * row) // mmap.PAGESIZE * mmap.PAGESIZE
    if high > low:
        pages.madvise(mmap.MADV_DONTNEED, low, high - low)


def shows_progress(verbose: Any) -> bool:
    """Return whether Keras' ``verbose`` asks for a progress bar that can be shown."""
    if verbose in (None, 0, "auto"):
        return False
    if verbose not in (1, 2):
        raise ValueError(f"verbose must be 0, 1, 2 or 'auto'. Received: {verbose!r}")
    return find_spec("tqdm") is not None


def progress_bar(count: int | None) -> Any:
    """Return a progress bar over examples, or over batches from an iterator.

    Parameters
    ----------
    count : int or None
        The number of examples; None to count batches.

    Returns
    -------
    tqdm
        With ``update`` and ``close``.

    Raises
    ------
    ImportError
        If tqdm is not installed.
    """
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError(
            "progress=True needs tqdm: install kspike-ref[progress], or leave progress at False"
        ) from error
    return tqdm(total=count, unit="batch" if count is None else "example")
