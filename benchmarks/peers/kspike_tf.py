"""Worker of kspike_tf."""

from __future__ import annotations

import pathlib

import numpy as np
import tensorflow as tf

import kspike_tf
from benchmarks import models, works
from benchmarks.peers import _keras
from benchmarks.worker import Builder, Job, serve

LAYERS = _keras.Layers(
    spiking=lambda dt, units: kspike_tf.SpikingActivation("relu", dt=dt, seed=0),
    lowpass=lambda tau, dt, sequences, units: kspike_tf.Lowpass(
        tau, dt=dt, return_sequences=sequences
    ),
    alpha=lambda tau, dt, sequences, units: kspike_tf.Alpha(tau, dt=dt, return_sequences=sequences),
)


def beside(batch_size: int) -> Builder:
    """Return a builder of a variation of the trained model, run by Keras."""

    def build(work: works.Work, data: pathlib.Path) -> Job:
        images, name = works.beside_images(work)
        model = tf.keras.models.load_model(data / f"{name}.keras")
        x = images if work.kind.startswith("varying") else works.shown(images, work.steps)
        if work.batch > 1:
            return Job(lambda: model.predict(x, batch_size=batch_size, verbose=0), _mean)
        run = tf.function(lambda x: model(x, training=False))
        return Job(lambda: run(tf.constant(x)).numpy(), _mean)

    return build


def _mean(y: np.ndarray) -> dict[str, float]:
    return {"mean": float(np.abs(y).mean(dtype=np.float64))}


BESIDE = {
    f"{how}-{name}": {f"batches of {size}": beside(size) for size in (256, 1000)}
    if how != "one"
    else {"tf.function": beside(1)}
    for how in works.BESIDE
    for name in models.NAMES
}
OFFERS = {
    **_keras.offers(LAYERS),
    **BESIDE,
    "energy": {"": _keras.energy(LAYERS, lambda *a, **k: kspike_tf.ModelEnergy(*a, **k))},
}

if __name__ == "__main__":
    serve(OFFERS, ["kspike-tf", "tensorflow", "keras", "numpy"])
