"""The digits network, normalised and converted by SNN Toolbox, and run on its own simulator.

Runs in an environment with SNN Toolbox and TensorFlow 2.10: WORKER NETWORK.npz STEPS ...
"""

import configparser
import contextlib
import json
import os
import pathlib
import sys
import tempfile

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
from snntoolbox.bin.utils import run_pipeline, update_setup

SETTINGS = {"99.9th percentile": "99.9", "99.5th percentile": "99.5"}
layers = tf.keras.layers


def network(data):
    """Return the network with Keras 3's weights."""
    model = tf.keras.Sequential(
        [
            layers.Conv2D(16, 3, padding="same", use_bias=False, input_shape=(8, 8, 1)),
            layers.BatchNormalization(),
            layers.Activation("relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same"),
            layers.BatchNormalization(),
            layers.Activation("relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    weights = iter([data[key] for key in sorted(data) if key.startswith("weight_")])
    for layer in model.layers:
        layer.set_weights([next(weights) for _ in layer.get_weights()])
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    return model


def run(folder, percentile, steps, count):
    """Return the accuracy and the spikes per image for a number of steps."""
    config = configparser.ConfigParser()
    config["paths"] = {
        "path_wd": str(folder), "dataset_path": str(folder), "filename_ann": "network",
        "runlabel": f"{percentile}-{steps}",
    }  # fmt: skip
    config["tools"] = {"evaluate_ann": "False"}
    config["normalization"] = {"percentile": percentile}
    config["simulation"] = {
        "duration": str(steps), "num_to_test": str(count), "batch_size": str(count // 9),
        "keras_backend": "tensorflow",
    }  # fmt: skip
    config["output"] = {"log_vars": "{'spiketrains_n_b_l_t'}", "verbose": "0"}
    path = folder / "config.ini"
    with path.open("w") as file:
        config.write(file)
    settings = update_setup(str(path))
    (correct,) = run_pipeline(settings)
    written = pathlib.Path(settings["paths"]["log_dir_of_current_run"])
    return float(np.ravel(correct)[0]), spikes_in(written)


def spikes_in(folder):
    """Return the mean number of spikes of an image, from the files that the simulator wrote."""
    counts = []
    for path in sorted((folder / "log_vars").glob("*.npz")):
        trains = np.load(path, allow_pickle=True)["spiketrains_n_b_l_t"]
        # Without pooling and the output, which do not spike in the other converters.
        hidden = [train for train, name in trains[:-1] if "Pooling" not in str(name)]
        counts.append(sum(np.count_nonzero(train) / len(train) for train in hidden))
    return float(np.mean(counts))


def main():
    """Write the results as a line of JSON."""
    data = dict(np.load(sys.argv[1]))
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(sys.stderr):
        folder = pathlib.Path(name)
        network(data).save(folder / "network.h5")
        np.savez(folder / "x_norm.npz", data["calibration"])
        np.savez(folder / "x_test.npz", data["images"])
        np.savez(folder / "y_test.npz", np.eye(10, dtype="float32")[data["labels"]])
        found = {
            setting: [
                (int(steps), *run(folder, percentile, int(steps), len(data["images"])))
                for steps in sys.argv[2:]
            ]
            for setting, percentile in SETTINGS.items()
        }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
