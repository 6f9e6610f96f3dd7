"""Context in which layers are traced: by Keras, by XLA, or by an exporter.

A graph that leaves the process must not contain our kernels. It leaves if an exporter traces it,
and then a function of the exporter is on Python's stack. Keras and TensorFlow have no hook for
this. The names of the exporters' packages are those of Keras 3.8 to 3.15, TensorFlow 2.18 to 2.21
and tf2onnx 1.17. If a name changes, an export contains both the kernels and plain operations, as
graphs of users' own functions do: a SavedModel works, ONNX and LiteRT need `plain_operations`.
LiteRT needs operations of its own, because it has no float64.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from tensorflow.python.ops import control_flow_util

from kspike_energy.checks import is_of_user

__all__ = [
    "Line", "exporter", "in_xla", "is_inference_of_keras", "is_of_keras", "is_plain",
    "line_of_inference", "plain_operations",
]  # fmt: skip

EXPORTERS = (
    keras.export.ExportArchive.__module__.rpartition(".")[0],  # all of Keras' formats
    "tensorflow.lite",
    "tf2onnx",
)
TRAINER = keras.Model.fit.__module__
FUNCTIONS = tf.function.__module__
KERAS = (TRAINER, keras.Variable.__mro__[1].__module__)
MODELS = keras.Sequential.__module__.rpartition(".")[0]
TRAINING = {"fit", "train_on_batch", "train_step"}
INFERENCE = {
    "evaluate", "predict", "predict_on_batch", "predict_step", "test_on_batch", "test_step",
}  # fmt: skip
# Packages that call models to look into them.
OWN = ("kspike_energy", *(f"kspike_tf.{each}" for each in ("conversion", "rates", "sweeping")))
LITE_RT = "LiteRT"
# Not None within `plain_operations`: the runtime, or "" for any.
_plain: ContextVar[str | None] = ContextVar("kspike_tf_plain_operations", default=None)


class Line(NamedTuple):
    """A line of code, as `warnings.warn_explicit` takes it; no frame, which would keep arrays."""

    filename: str
    number: int
    module: str
    registry: dict[Any, Any]


@contextmanager
def plain_operations(runtime: str | None = None) -> Iterator[None]:
    """Trace layers without XLA, and with operations that other runtimes support.

    Keras' and TensorFlow's exporters do not need this; a function that is traced first and
    converted afterwards does. Results are the same, except that the initial voltages of a layer
    without a seed come from another generator.

    Parameters
    ----------
    runtime : str, optional
        "LiteRT" for a function that ``tf.lite`` will convert: spikes stay the same, and filters
        compute in float32.

    Raises
    ------
    ValueError
        If there are no operations for that runtime.

    Examples
    --------
    >>> with plain_operations():
    ...     is_plain()
    True
    >>> is_plain()
    False
    """
    if runtime not in (None, LITE_RT):
        raise ValueError(f"runtime must be None or {LITE_RT!r}. Received: runtime={runtime!r}")
    token = _plain.set(runtime or "")
    try:
        yield
    finally:
        _plain.reset(token)


def is_plain() -> bool:
    """Return whether a layer that is traced now must use plain operations.

    True inside `plain_operations`, and in a graph that an exporter traces.
    """
    return _plain.get() is not None or exporter() is not None


def exporter() -> str | None:
    """Return the format that is being exported: "SavedModel", "ONNX", "LiteRT", or None.

    Inside `plain_operations`, the runtime that was passed there.
    """
    if tf.executing_eagerly():
        return None
    runtime = _plain.get()  # AutoGraph converts this too, and has no assignment expressions
    if runtime is not None:
        return runtime or None
    modules = set(_modules_on_stack(EXPORTERS))
    if not modules:
        return None
    if any("lite" in each for each in modules):
        return LITE_RT
    return "ONNX" if any("onnx" in each for each in modules) else "SavedModel"


def is_of_keras() -> bool:
    """Return whether Keras traces the current function: for `fit`, or to infer shapes.

    The call then comes from the module of `keras.Model.fit`, or from that of the backend's
    variables, where Keras calls layers without data.
    """
    return any(_modules_on_stack(KERAS))


def is_inference_of_keras() -> bool:
    """Return whether Keras runs or traces the current function for inference.

    Eagerly, the call comes from `predict` or `evaluate` of a model, but not from the validation in
    `fit`; or from a call of a model that this package has not made. In a graph, Keras traces it for
    `predict`, `evaluate` or validation: Keras keeps that of the validation for `evaluate`. False in
    a ``@tf.function`` inside a model, because TensorFlow saves it as it was traced first.
    """
    stack = _frames(sys._getframe())
    return _is_inference(stack, True) if tf.executing_eagerly() else _is_traced(stack)


def line_of_inference() -> Line | None:
    """Return the user's line that runs inference of Keras; None if the inference is not found.

    TensorFlow may call back in a thread of its own; then `predict` waits in another one, and the
    first such thread counts. The validation of `fit` is no inference.
    """
    frame = sys._getframe(1)
    if _is_inference(_frames(frame), tf.executing_eagerly()):
        return _line_of(frame)
    if any(_module(each) == TRAINER for each in _frames(frame)):
        return None
    return _line_in_other_threads()


def _line_in_other_threads() -> Line | None:
    frame: FrameType | None = None
    try:
        for frame in sys._current_frames().values():
            if _is_inference(_frames(frame), False):
                return _line_of(frame)
        return None
    finally:
        del frame  # may be this call's own, whose cycle would keep the arrays of all callers


def _line_of(innermost: FrameType) -> Line:
    frame = innermost
    while frame.f_back is not None and not is_of_user(frame):
        frame = frame.f_back
    return Line(
        frame.f_code.co_filename,
        frame.f_lineno,
        _module(frame),
        frame.f_globals.setdefault("__warningregistry__", {}),
    )


def _is_inference(stack: Iterable[FrameType], counts_calls: bool) -> bool:
    """Return whether a stack, innermost first, belongs to inference, or to a call of a model."""
    found = False
    for frame in stack:
        module, name = _module(frame), frame.f_code.co_name
        if module == TRAINER and name in INFERENCE:
            if name.startswith("predict"):
                return True  # also within a callback of `fit`
            found = True
        elif (module == TRAINER and name in TRAINING) or (counts_calls and module.startswith(OWN)):
            return False
        elif counts_calls and module.startswith(MODELS):
            found = True
    return found


def _is_traced(stack: Iterable[FrameType]) -> bool:
    """Return whether a stack, innermost first, traces a function that Keras makes for inference."""
    is_of_trainer = False
    for frame in stack:
        module, name = _module(frame), frame.f_code.co_name
        if module == TRAINER:
            is_of_trainer = True
            if name in TRAINING | INFERENCE:
                return name in INFERENCE
        elif module == FUNCTIONS and not is_of_trainer:
            return False
    return False


def _modules_on_stack(names: tuple[str, ...]) -> Iterator[str]:
    modules = map(_module, _frames(sys._getframe()))
    return (each for each in modules if each.startswith(names))


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))


def in_xla() -> bool:
    """Return whether XLA compiles the current function, or one around it."""
    return not tf.executing_eagerly() and control_flow_util.GraphOrParentsInXlaContext(
        tf.compat.v1.get_default_graph()
    )
