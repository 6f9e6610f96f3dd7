"""The second half of digits.py: run the saved model in a process that cannot import TensorFlow.

Usage: python digits_reference.py MODEL.keras INPUTS.npz RESULTS.npz
"""

import importlib.abc
import json
import sys


class NoFrameworks(importlib.abc.MetaPathFinder):
    """An import hook that blocks TensorFlow and Keras, also for indirect imports."""

    def find_spec(self, fullname, path=None, target=None):
        """Raise for the blocked packages; leave all others to the next finder."""
        if fullname.partition(".")[0] in ("tensorflow", "keras", "kspike_tf"):
            raise ModuleNotFoundError(f"{fullname} is blocked in this process", name=fullname)


sys.meta_path.insert(0, NoFrameworks())

import numpy as np  # noqa: E402
from digits_timing import timed  # noqa: E402

import kspike_ref  # noqa: E402
from kspike_energy import ModelEnergy  # noqa: E402


def main(model_path: str, inputs_path: str, results_path: str) -> None:
    """Classify the held-out digits, repeat the spikes from Keras' rates, estimate the energy."""
    inputs = np.load(inputs_path)
    timesteps, dt, seed = int(inputs["timesteps"]), float(inputs["dt"]), int(inputs["seed"])
    images = inputs["images"]
    model = kspike_ref.load_model(model_path)

    scores, seconds = timed(lambda: model.predict(images))
    repeated, _ = kspike_ref.spiking_activation(inputs["rates"], dt=dt, seed=seed)
    energy = ModelEnergy(model, example_data=images)
    joules = {
        str(device): energy.total_energy(str(device), timesteps_per_inference=timesteps, dt=dt)
        for device in inputs["devices"]
    }
    np.savez(
        results_path,
        scores=scores,
        spikes=model.activity(images)["spikes"],
        repeated=repeated,
        seconds_per_image=seconds / len(images),
        joules=json.dumps(joules),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
