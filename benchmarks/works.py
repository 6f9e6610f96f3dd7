"""The work to compute: its pieces, their inputs, and checks of their answers.

The driver and all workers import this module, so it needs only NumPy and Python 3.10.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from benchmarks import models

DT = 0.001  # seconds per step
TAU = 0.02  # seconds, of both filters
MAX_RATE = 200.0  # Hz; below 1/dt, so that no library has to emit two spikes in a step
DYNAMICS = ("spiking", "lowpass", "alpha")

SHAPES = ((32, 100, 128), (32, 1000, 128), (128, 100, 1024))
QUICK_SHAPES = ((4, 20, 16),)
STATIC_STEPS = 10  # steps for which an image is shown


@dataclasses.dataclass(frozen=True)
class Work:
    """One piece of work, for all contestants that offer it.

    Parameters
    ----------
    group : str
        The section of the report.
    kind : str
        Key of the work in a worker's offers.
    batch, steps, units : int
        The size. Its meaning depends on the kind.
    peers : tuple of str
        Contestants that take part; empty for all that offer the kind.
    once : bool
        Whether it runs in one call and one turn, for the sake of its answer instead of its time.
    """

    group: str
    kind: str
    batch: int
    steps: int
    units: int
    peers: tuple[str, ...] = ()
    once: bool = False

    @property
    def name(self) -> str:
        """Name of the work, and of the file with its results."""
        return f"{self.group}.{self.kind}.{self.batch}x{self.steps}x{self.units}"

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(batch, steps, units)``."""
        return self.batch, self.steps, self.units

    @classmethod
    def read(cls, fields: dict[str, Any]) -> Work:
        """Return the work from fields that went through ``dataclasses.asdict`` and JSON."""
        return cls(**{**fields, "peers": tuple(fields["peers"])})


GROWTH_PEERS = ("kspike_ref", "kspike_tf", "plain_keras", "keras_spiking")
_GROWTH_BASE = {"batch": 10, "steps": 10, "units": 100}


def growth(quick: bool) -> Iterator[Work]:
    """Yield work with steps, batch and units varied alone, from 10⁴ to 10⁸ neuron steps."""
    for axis, base in _GROWTH_BASE.items():
        for exponent in range(2 if quick else 5):
            size = {**_GROWTH_BASE, axis: base * 10**exponent}
            yield Work(f"growth-{axis}", "spiking", **size, peers=GROWTH_PEERS)


BESIDE = ("static", "varying", "one")  # a batch of still images, of moving ones, and one image


def beside(quick: bool) -> Iterator[Work]:
    """Yield work that runs the models of models.py in three ways."""
    images = {"static": 10_000, "varying": 4_000, "one": 1}
    for name in models.NAMES:
        for how in BESIDE:
            batch = min(images[how], 20) if quick else images[how]
            if name == "convolutions":
                batch = -(-batch // 10)
            kind = f"{how}-{name}"
            yield Work("beside", kind, batch, STATIC_STEPS, 784, peers=("kspike_ref", "kspike_tf"))


def beside_images(work: Work) -> tuple[np.ndarray, str]:
    """Return the images of a model of models.py, ``(batch, …)`` or with steps, and its name."""
    how, _, name = work.kind.partition("-")
    steps = (work.steps,) if how == "varying" else ()
    size = (work.batch, *steps, *models.shape(name))
    return np.random.default_rng(5).random(size, dtype=np.float32), name


def every_work(quick: bool = False) -> list[Work]:
    """Return all work, in the order of the report.

    Parameters
    ----------
    quick : bool
        Whether to use tiny sizes, to see that everything runs.
    """
    shapes = QUICK_SHAPES if quick else SHAPES
    images = 50 if quick else 10_000
    trained = 64 if quick else 3_200
    works = [Work("forward", kind, *shape) for kind in DYNAMICS for shape in shapes]
    works += [Work("gradient", f"{kind}-gradient", *s) for kind in DYNAMICS for s in shapes]
    works += [
        Work("model", "predict-static", images, STATIC_STEPS, 784),
        Work("model", "predict-varying", images, STATIC_STEPS, 784),
        Work("model", "one-image", 1, STATIC_STEPS, 784),
        Work("model", "stream-step", 1, 1, 784),
        Work("model", "fit", trained, STATIC_STEPS, 784),
        *beside(quick),
        Work("convolution", "conv-1%", 8 if quick else 100, 4, 32),
        Work("convolution", "conv-2%", 8 if quick else 100, 4, 32),
        Work("convolution", "conv-20%", 8 if quick else 100, 4, 32),
        Work("energy", "energy", 8 if quick else 450, STATIC_STEPS, 784),
        Work("accuracy", "recipe", 1 if quick else 5, 5 if quick else 20, 64, once=True),
    ]
    return [*works, *growth(quick)]


def chosen(works: Iterable[Work], patterns: Iterable[str]) -> list[Work]:
    """Return the work whose name contains one of the patterns; all work without patterns."""
    patterns = list(patterns)
    return [w for w in works if not patterns or any(pattern in w.name for pattern in patterns)]


@functools.lru_cache(maxsize=1)
def rates(work: Work) -> np.ndarray:
    """Return firing rates in Hz, ``(batch, steps, units)``, float32, the same everywhere.

    All modes of a contestant share one array, because drawing it takes longer than most work.
    """
    generator = np.random.default_rng(work.batch * 7 + work.units)
    return generator.random(work.shape, dtype=np.float32) * np.float32(MAX_RATE)


def reference_filter(x: np.ndarray, kind: str) -> np.ndarray:
    """Filter along axis 1 in float64, step by step, with the recursion of a textbook."""
    s = DT / TAU
    e = np.exp(-s)
    x = x.astype(np.float64)
    y = np.zeros((x.shape[0], x.shape[2]))
    p = np.zeros_like(y)
    out = np.empty(x.shape)
    for t in range(x.shape[1]):
        if kind == "lowpass":
            y = e * y + (1 - e) * x[:, t]
        else:
            y, p = (
                e * (s * p + (1 + s) * y) + (1 - e * (1 + s)) * x[:, t],
                e * ((1 - s) * p - s * y + s * x[:, t]),
            )
        out[:, t] = y
    return out


@functools.lru_cache(maxsize=2)
def filtered(work: Work) -> np.ndarray:
    """Return the reference output of a filter's work."""
    return reference_filter(rates(work), work.kind.removesuffix("-gradient"))


def check_forward(work: Work, answer: np.ndarray, delay: int = 0) -> dict[str, float]:
    """Return how far the output of a layer is from the equations.

    Parameters
    ----------
    work : Work
        The piece of work.
    answer : ndarray
        ``(batch, steps, units)``.
    delay : int
        Number of steps by which a library's definition delays the output of a filter.

    Returns
    -------
    dict
        ``spikes_off``: the largest difference between the number of spikes of a neuron and the
        integral of its rate (below 1 for an exact integrate-and-fire neuron). Or ``error``: the
        largest error of a filter as a fraction of its largest output.
    """
    if work.kind == "spiking":
        expected = rates(work).sum(axis=1, dtype=np.float64) * DT
        counted = np.rint(answer * np.float32(DT)).sum(axis=1, dtype=np.float64)
        return {"spikes_off": float(np.abs(counted - expected).max())}
    answer, expected = answer[:, delay:], filtered(work)[:, : work.steps - delay]
    return {"error": float(np.abs(answer - expected).max() / np.abs(expected).max())}


def check_gradient(work: Work, gradient: np.ndarray) -> dict[str, float]:
    """Return how far d Σ y² / d x of a filter is from the filter run backwards over 2y."""
    if work.kind.startswith("spiking"):
        return {"finite": float(np.isfinite(gradient).all())}
    expected = filtered_back(work)
    return {"error": float(np.abs(gradient - expected).max() / np.abs(expected).max())}


@functools.lru_cache(maxsize=1)
def filtered_back(work: Work) -> np.ndarray:
    """Return d Σ y² / d x: the same filter, run backwards over 2y."""
    kind = work.kind.removesuffix("-gradient")
    return reference_filter(2 * filtered(work)[:, ::-1], kind)[:, ::-1]


def digits(folder: pathlib.Path, work: Work) -> dict[str, np.ndarray]:
    """Return the prepared images and weights (see data.py), cut or repeated to ``work.batch``."""
    with np.load(folder / "digits.npz") as stored:
        found = dict(stored)
    for name in ("images", "labels"):
        found[name] = np.resize(found[name], (work.batch, *found[name].shape[1:]))
    return found


def shown(images: np.ndarray, steps: int) -> np.ndarray:
    """Present every image for a number of steps."""
    return np.repeat(images[:, None], steps, axis=1)


def flickering(images: np.ndarray, steps: int) -> np.ndarray:
    """Present every image with a brightness that changes from step to step."""
    brightness = np.linspace(0.5, 1.5, steps, dtype=np.float32)
    return images[:, None] * brightness[:, None]


@functools.lru_cache(maxsize=1)
def frames(folder: pathlib.Path, work: Work) -> np.ndarray:
    """Return the model's inputs at every step: constant or flickering images."""
    present = flickering if work.kind == "predict-varying" else shown
    return present(digits(folder, work)["images"], work.steps)


def forget() -> None:
    """Drop all inputs and answers that are cached for the next mode."""
    for kept in (rates, filtered, filtered_back, frames):
        kept.cache_clear()


MODEL_DT = 0.005  # seconds per step, in the trained models
RECIPE_EPOCHS = 5
CONVOLUTIONS = {"conv-1%": 0.01, "conv-2%": 0.02, "conv-20%": 0.2}  # kind → activity
CONV_SIDE, CONV_FILTERS = 16, 64  # pixels of an image; output channels of the 3×3 kernels


def conv_rates(work: Work) -> np.ndarray:
    """Return float32 rates that make the wanted fraction of neurons fire in a step."""
    generator = np.random.default_rng(3)
    size = (work.batch, work.steps, CONV_SIDE, CONV_SIDE, work.units)
    mean = CONVOLUTIONS[work.kind] / DT
    return generator.random(size, dtype=np.float32) * np.float32(2 * mean)


def conv_spikes(work: Work) -> np.ndarray:
    """Return random spikes of such rates, ``(batch · steps, side, side, channels)``."""
    generator = np.random.default_rng(4)
    fires = generator.random(conv_rates(work).shape, dtype=np.float32) * np.float32(1 / DT)
    spikes = np.where(fires < conv_rates(work), np.float32(1 / DT), np.float32(0))
    return spikes.reshape(-1, CONV_SIDE, CONV_SIDE, work.units)


def reference_scores(found: dict[str, np.ndarray], frames: np.ndarray) -> np.ndarray:
    """Run the trained model step by step in float64, as a reference."""
    rates_ = np.maximum(frames @ found["hidden_kernel"] + found["hidden_bias"], 0)
    decay = np.exp(-MODEL_DT / TAU)
    voltage = np.repeat(found["voltage"][None], len(frames), axis=0)
    level = np.zeros_like(voltage)
    for t in range(frames.shape[1]):
        voltage = voltage + rates_[:, t] * MODEL_DT
        counts = np.floor(voltage)
        voltage -= counts
        level = decay * level + (1 - decay) * counts / MODEL_DT
    return level @ found["scores_kernel"] + found["scores_bias"]


def check_scores(work: Work, folder: pathlib.Path, scores: np.ndarray) -> dict[str, float]:
    """Return how often the answers are those of the reference, and how often they are right."""
    found = digits(folder, work)
    some = slice(0, min(work.batch, 500))
    present = flickering if work.kind == "predict-varying" else shown
    expected = reference_scores(found, present(found["images"][some], work.steps))
    answers = np.asarray(scores).reshape(work.batch, -1)
    same = answers[some].argmax(axis=-1) == expected.argmax(axis=-1)
    right = answers.argmax(axis=-1) == found["labels"]
    return {"agreement": float(same.mean()), "accuracy": float(right.mean())}


DEVICES = ("cpu", "gpu", "arm", "loihi", "spinnaker", "spinnaker2")
