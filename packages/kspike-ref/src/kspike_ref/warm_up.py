"""Compilation ahead of time: ``python -m kspike_ref.warm_up [model.keras ...]``.

Without models, it compiles all kernels for float32 and float64; with models, only the kernels that
they need. Run it while a container image is built: processes then start warm, also on a read-only
file system and as another user, if root or that user filled the cache.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from kspike_ref.kernels import (
    activations,
    convolve,
    events,
    folders,
    matmul,
    recurrent,
    softmax,
    time,
)
from kspike_ref.kernels.memory import frozen
from kspike_ref.layers.errors import UnsupportedLayerError
from kspike_ref.layers.shape import InputLayer
from kspike_ref.loading import load_model
from kspike_ref.model import Model
from kspike_ref.running.few_spikes import FewSpikesWarning
from kspike_ref.saved.archive import ArchiveError

Call = tuple[Callable[..., Any], dict[str, Any]]

_STEPS = 2  # for time axes of any length
_LENGTH = 32  # for other axes of any length


def small_calls(dtype: Any) -> Iterator[Call]:
    """Yield a call of every compiled loop, on small arrays of the kinds that models use.

    Parameters
    ----------
    dtype : dtype
        Float32 or float64.

    Returns
    -------
    iterator of (callable, dict)
        Functions and their arguments.
    """
    yield from _over_time(dtype)
    yield from _products(dtype)
    yield from _windows(dtype)
    yield from _events(dtype)
    yield from _recurrent(dtype)
    yield activations.erf, {"x": frozen(_ones(5, dtype=dtype)), "out": _ones(5, dtype=dtype)}
    yield softmax.softmax, {
        "x": frozen(_ones(2, 10, dtype=dtype)), "out": _ones(2, 10, dtype=dtype),
    }  # fmt: skip


def _ones(*shape: int, dtype: Any = np.float64) -> Any:
    return np.ones(shape, dtype)


def _over_time(dtype: Any) -> Iterator[Call]:
    x, out = frozen(_ones(2, 3, 5, dtype=dtype)), _ones(2, 3, 5, dtype=dtype)
    region = (0, 2, 0, 5)
    yield time.spike, {
        "x": x, "gain": 2.0**22, "height": 1000.0, "region": region, "voltage": _ones(2, 5),
        "out": out,
    }  # fmt: skip
    yield time.lowpass, {
        "x": x, "decay": _ones(5), "region": region, "level": _ones(2, 5), "out": out,
    }  # fmt: skip
    yield time.mean, {
        "x": x, "steps": 3, "total": _ones(2, 5), "count": _ones(2),
        "out": _ones(2, 5, dtype=dtype),
    }  # fmt: skip
    yield time.alpha, {
        "x": x, "decay": _ones(5), "ramp": _ones(5), "region": region, "state": _ones(2, 2, 5),
        "out": out,
    }  # fmt: skip


def _products(dtype: Any) -> Iterator[Call]:
    packed = frozen(matmul.pack(_ones(7, 3, dtype=dtype)))
    for function in (matmul.multiply, matmul.multiply_events):
        a, out = frozen(_ones(2, 7, dtype=dtype)), _ones(2, 3, dtype=dtype)
        yield function, {"a": a, "packed": packed, "out": out}


def _windows(dtype: Any) -> Iterator[Call]:
    x, geometry = frozen(_ones(2, 1, 4, 5, 4, dtype=dtype)), _geometry()
    packed = frozen(np.stack([matmul.pack(_ones(18, 3, dtype=dtype))] * 2))
    yield convolve.convolve, {
        "x": x, "geometry": geometry, "packed": packed, "groups": 2,
        "out": _ones(2, 20, 6, dtype=dtype),
    }  # fmt: skip
    yield convolve.depthwise, {
        "x": x, "geometry": geometry, "weights": frozen(_ones(9, 4, 2, dtype=dtype)),
        "out": _ones(2, 20, 4, 2, dtype=dtype),
    }  # fmt: skip
    yield convolve.scatter, {
        "columns": _ones(2, 1, 4, 5, 9, 3, dtype=dtype), "geometry": geometry,
        "out": _ones(2, 1, 4, 5, 3, dtype=dtype),
    }  # fmt: skip
    yield convolve.pool, {
        "x": x, "geometry": geometry, "is_maximum": True, "out": _ones(2, 1, 4, 5, 4, dtype=dtype),
    }  # fmt: skip


def _events(dtype: Any) -> Iterator[Call]:
    flat = frozen(_ones(80, dtype=dtype))
    yield events.count, {"x": flat}
    yield events.count_reached, {
        "x": flat, "channels": 4, "depths": np.ones(1, np.intp), "heights": np.ones(4, np.intp),
        "widths": np.ones(5, np.intp),
    }  # fmt: skip
    yield events.convolve_events, {
        "x": frozen(_ones(2, 1, 4, 5, 4, dtype=dtype)), "geometry": _geometry(),
        "packed": frozen(np.tile(matmul.pack(_ones(18, 3, dtype=dtype)), 2)), "groups": 2,
        "examples": (0, 1), "lines": (1, 3), "room": events.Room(20, 2, dtype),
        "out": _ones(2, 20, 6, dtype=dtype),
    }  # fmt: skip


def _recurrent(dtype: Any) -> Iterator[Call]:
    def packed(columns: int) -> Any:
        return frozen(matmul.pack(_ones(5, columns, dtype=dtype)))

    def shared(width: int) -> dict[str, Any]:
        return {
            "projected": frozen(_ones(2, 3, 5 * width, dtype=dtype)),
            "functions": (activations.SIGMOID, activations.TANH), "mask": np.ones((2, 3), bool),
            "span": (0, 3), "h": _ones(2, 5, dtype=dtype), "out": _ones(2, 3, 5, dtype=dtype),
        }  # fmt: skip

    yield recurrent.simple_rnn, {**shared(1), "packed": packed(5)}
    yield recurrent.lstm, {**shared(4), "packed": packed(20), "carry": _ones(2, 5, dtype=dtype)}
    yield recurrent.gru, {
        **shared(3), "packed": packed(15), "bias": frozen(_ones(15, dtype=dtype)),
    }  # fmt: skip
    yield recurrent.gru_reset_before, {
        **shared(3), "gates": packed(10), "candidates": packed(5),
    }  # fmt: skip


def _geometry() -> Any:
    """Return a 3×3 window with padding, over 4×5 positions."""
    return np.array([[1, 3, 3], [1, 1, 1], [1, 1, 1], [0, 1, 1], [1, 4, 5]], np.intp)


def compile_all() -> None:
    """Compile all loops for both types, or load them from the cache."""
    for dtype in (np.float32, np.float64):
        for function, arguments in small_calls(dtype):
            function(**arguments)


def run_model(model: Model) -> None:
    """Run `predict` and, if possible, `step` of a model on zeros or empty strings.

    Parameters
    ----------
    model : Model
        The model. Axes of any length are made short.
    """
    x = example_inputs(model, 1, _STEPS, np.zeros)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewSpikesWarning)  # zeros cause no spikes
        model.predict(x)
    step = one_step(model, x)
    if step is not None:
        step()


def example_inputs(
    model: Model, count: int, timesteps: int, floats: Callable[[tuple[int, ...], Any], Any]
) -> Any:
    """Return inputs that a model takes, to measure or warm up with.

    Parameters
    ----------
    model : Model
        The model.
    count, timesteps : int
        The numbers of examples, and of steps in time axes of any length.
    floats : callable
        Makes an array of a shape and type. Inputs of integers are zeros, those of text empty.
    """
    arrays: list[Any] = []
    for layer in (node.layer for node in model.nodes):
        if not isinstance(layer, InputLayer):
            continue
        shape = tuple(
            {0: count, 1: timesteps}.get(axis, _LENGTH) if length is None else length
            for axis, length in enumerate(layer.shape)
        )
        if layer.input_dtype.kind == "f":
            arrays.append(floats(shape, np.float32))
        else:
            arrays.append(np.full(shape, "" if layer.is_text else 0))
    return arrays[0] if len(arrays) == 1 else arrays


def one_step(model: Model, x: Any) -> Callable[[], Any] | None:
    """Return a call of one time step of inputs, or None if the model does not run step by step."""
    try:
        state = model.initial_state(1)
    except ValueError:  # it has no time axis, or a layer needs all steps
        return None
    first = [array[:, 0] for array in x] if isinstance(x, list) else x[:, 0]
    return lambda: model.step(first, state)


def main(paths: Sequence[str]) -> int:
    """Compile the kernels that some models need, or all kernels; return the exit status."""
    folder = folders.writable_folder()
    if folder is None:
        print(
            "kspike_ref.warm_up: no folder for the cache can be written, or others can write to it",
            file=sys.stderr,
        )
        return 1
    if not paths:
        compile_all()
    for path in paths:
        try:
            run_model(load_model(path))
        except (ArchiveError, UnsupportedLayerError, OSError, ValueError, TypeError) as error:
            print(f"kspike_ref.warm_up: {path}: {error}", file=sys.stderr)
            return 1
    print(f"Compiled kernels are in {folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
