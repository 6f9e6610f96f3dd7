"""Worker of kspike_ref."""

from __future__ import annotations

import pathlib

import numpy as np

import kspike_ref
from benchmarks import models, works
from benchmarks.worker import Job, serve


def spiking(work: works.Work, _: pathlib.Path) -> Job:
    """Convert rates to spikes."""
    x = works.rates(work)
    return Job(
        lambda: kspike_ref.spiking_activation(x, dt=works.DT, seed=0)[0],
        lambda y: works.check_forward(work, y),
    )


def lowpass(work: works.Work, _: pathlib.Path) -> Job:
    """Apply a lowpass filter."""
    x = works.rates(work)
    return Job(
        lambda: kspike_ref.lowpass(x, works.TAU, dt=works.DT)[0],
        lambda y: works.check_forward(work, y),
    )


def alpha(work: works.Work, _: pathlib.Path) -> Job:
    """Apply an alpha filter."""
    x = works.rates(work)
    return Job(
        lambda: kspike_ref.alpha(x, works.TAU, dt=works.DT)[0],
        lambda y: works.check_forward(work, y),
    )


def predict_static(work: works.Work, data: pathlib.Path) -> Job:
    """Classify images that are constant over time."""
    images = works.digits(data, work)["images"]
    model = kspike_ref.load_model(data / "digits.keras")
    return Job(
        lambda: model.predict(images, timesteps=work.steps),
        lambda y: works.check_scores(work, data, y),
    )


def predict_varying(work: works.Work, data: pathlib.Path) -> Job:
    """Classify images that change at every step."""
    frames = works.frames(data, work)
    model = kspike_ref.load_model(data / "digits.keras")
    return Job(lambda: model.predict(frames), lambda y: works.check_scores(work, data, y))


def one_image(work: works.Work, data: pathlib.Path) -> Job:
    """Classify one image."""
    image = works.digits(data, work)["images"]
    model = kspike_ref.load_model(data / "digits.keras")
    return Job(
        lambda: model.predict(image, timesteps=work.steps),
        lambda y: works.check_scores(work, data, y),
    )


def stream_step(work: works.Work, data: pathlib.Path) -> Job:
    """Advance the model by one step."""
    image = works.digits(data, work)["images"]
    model = kspike_ref.load_model(data / "digits.keras")
    state = model.initial_state(1)
    return Job(lambda: model.step(image, state)[0])


def convolution(work: works.Work, data: pathlib.Path) -> Job:
    """Run a spiking layer and the 3×3 convolution after it."""
    rates = works.conv_rates(work)
    model = kspike_ref.load_model(data / "conv.keras")
    return Job(
        lambda: model.predict(rates), lambda y: {"mean": float(np.abs(y).mean(dtype=np.float64))}
    )


def beside(work: works.Work, data: pathlib.Path) -> Job:
    """Run a variation of the trained model."""
    images, name = works.beside_images(work)
    model = kspike_ref.load_model(data / f"{name}.keras")
    steps = None if work.kind.startswith("varying") else work.steps
    return Job(
        lambda: model.predict(images, timesteps=steps),
        lambda y: {"mean": float(np.abs(y).mean(dtype=np.float64))},
    )


def energy(work: works.Work, data: pathlib.Path) -> Job:
    """Estimate the energy of the trained model through the adapter for kspike_ref."""
    from kspike_energy import ModelEnergy

    images = works.shown(works.digits(data, work)["images"], work.steps)
    model = kspike_ref.load_model(data / "digits.keras")

    def call() -> dict[str, float]:
        estimate = ModelEnergy(model, example_data=images)
        options = {"timesteps_per_inference": work.steps, "dt": works.MODEL_DT}
        return {d: float(estimate.total_energy(d, **options)) for d in works.DEVICES}

    return Job(call, dict)


OFFERS = {
    "energy": {"": energy},
    "spiking": {"": spiking},
    "lowpass": {"": lowpass},
    "alpha": {"": alpha},
    "predict-static": {"": predict_static},
    "predict-varying": {"": predict_varying},
    "one-image": {"": one_image},
    "stream-step": {"": stream_step},
    **{kind: {"": convolution} for kind in works.CONVOLUTIONS},
    **{f"{how}-{name}": {"": beside} for how in works.BESIDE for name in models.NAMES},
}

if __name__ == "__main__":
    serve(OFFERS, ["kspike-ref", "numba", "numpy"])
