"""Writers of `.keras` files, with h5py but without Keras, so that any part can be wrong."""

from __future__ import annotations

import io
import json
import zipfile

import h5py
import numpy as np

# Processor seconds within which a hostile file must be refused. On an idle machine all take less
# than one, nearly all milliseconds; the rest is for busy or slower machines.
SECONDS = 5


def layer(class_name, name, package=None, **config):
    """Return a serialised layer."""
    return {
        "module": package or "keras.layers",
        "class_name": class_name,
        "config": {"name": name, **config},
        "registered_name": f"{package}>{class_name}" if package else None,
    }


def input_layer(*shape, name="input"):
    return layer("InputLayer", name, batch_shape=[None, *shape])


def dense(name, units, activation="linear"):
    return layer("Dense", name, units=units, activation=activation, use_bias=True)


def tensor(name, node=0, output=0):
    return {"class_name": "__keras_tensor__", "config": {"keras_history": [name, node, output]}}


def applied(item, *inputs, **kwargs):
    """Return a layer of a Functional model, applied once to each argument list."""
    nodes = [{"args": list(args), "kwargs": kwargs} for args in inputs]
    return {**item, "name": item["config"]["name"], "inbound_nodes": nodes}


def sequential(*layers, name="model"):
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": name, "layers": list(layers)},
    }


def functional(layers, inputs, outputs, name="model"):
    config = {"name": name, "layers": layers, "input_layers": inputs, "output_layers": outputs}
    return {
        "module": "keras",
        "class_name": "Functional",
        "config": config,
        "registered_name": "Functional",
    }


def hdf5(weights, write=None):
    """Return the contents of ``model.weights.h5``; ``write`` may add what Keras does not write."""
    file = io.BytesIO()
    with h5py.File(file, "w") as h5:
        for path, arrays in weights.items():
            group = h5.create_group(f"{path}/vars")
            for i, values in enumerate(arrays):
                group[str(i)] = values
        if write is not None:
            write(h5)
    return file.getvalue()


def archive(path, config, weights, write=None, **members):
    """Write a file; ``members`` replace or add parts, by their name with ``_`` for ``.``."""
    parts = {
        "metadata.json": b'{"keras_version": "3.15.1"}',
        "config.json": json.dumps(config).encode(),
        "model.weights.h5": weights if isinstance(weights, bytes) else hdf5(weights, write),
    }
    parts |= {name.replace("_", "."): data for name, data in members.items()}
    with zipfile.ZipFile(path, "w") as file:
        for name, data in parts.items():
            if data is not None:
                file.writestr(name, data)
    return path


SPIKING = {"activation": "relu", "dt": 0.01, "seed": 3}


def digits(units=6, outputs=3, steps=None, inputs=4):
    """Return configuration and weights of Dense → SpikingActivation → Lowpass → Dense."""
    rng = np.random.default_rng(0)
    config = sequential(
        input_layer(steps, inputs),
        dense("first", units),
        layer("SpikingActivation", "spikes", "kspike_tf", **SPIKING),
        layer("Lowpass", "filter", "kspike_tf", dt=0.01),
        dense("last", outputs),
    )
    weights = {
        "layers/dense": [
            rng.normal(0, 30, (inputs, units)).astype("f4"),
            rng.normal(0, 9, units).astype("f4"),
        ],
        "layers/spiking_activation": [],
        "layers/lowpass/layer/cell": [np.zeros((1, units), "f4"), np.full((1, units), 0.05, "f4")],
        "layers/dense_1": [
            rng.normal(0, 1, (units, outputs)).astype("f4"),
            np.zeros(outputs, "f4"),
        ],
    }
    return config, weights
