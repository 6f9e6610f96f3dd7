"""Worker of kspike_tf."""

from __future__ import annotations

import kspike_tf
from benchmarks.peers import _keras
from benchmarks.worker import serve

LAYERS = _keras.Layers(
    spiking=lambda dt, units: kspike_tf.SpikingActivation("relu", dt=dt, seed=0),
    lowpass=lambda tau, dt, sequences, units: kspike_tf.Lowpass(
        tau, dt=dt, return_sequences=sequences
    ),
    alpha=lambda tau, dt, sequences, units: kspike_tf.Alpha(tau, dt=dt, return_sequences=sequences),
)
OFFERS = {
    **_keras.offers(LAYERS),
    "energy": {"": _keras.energy(LAYERS, lambda *a, **k: kspike_tf.ModelEnergy(*a, **k))},
}

if __name__ == "__main__":
    serve(OFFERS, ["kspike-tf", "tensorflow", "keras", "numpy"])
