"""Tests of a Keras model's metrics against NeuroBench's, for a PyTorch model of equal weights.

They run in their own environment, with Keras on PyTorch: ``hatch run neurobench:test``.
"""

import os

import pytest

pytest.importorskip("neurobench", reason="needs NeuroBench: hatch run neurobench:test")
os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import torch
from neurobench.metrics.static import ConnectionSparsity, Footprint
from neurobench.metrics.workload import ActivationSparsity, SynapticOperations
from neurobench.models import TorchModel

from kspike_energy import metrics

L = keras.layers


def dense():
    theirs = torch.nn.Sequential(
        torch.nn.Linear(20, 12), torch.nn.ReLU(), torch.nn.Linear(12, 5), torch.nn.Sigmoid()
    )
    ours = keras.Sequential([keras.Input((20,)), L.Dense(12, "relu"), L.Dense(5, "sigmoid")])
    return ours, theirs, (20,)


def convolutional():
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(2, 6, 3, stride=1, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(6, 4, (2, 3), stride=2, groups=2),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(4 * 4 * 3, 3),
    )
    ours = keras.Sequential(
        [
            keras.Input((8, 7, 2)),
            L.Conv2D(6, 3, padding="same", activation="relu"),
            L.Conv2D(4, (2, 3), strides=2, groups=2),
            L.ReLU(),
            L.Permute((3, 1, 2)),  # PyTorch puts channels first
            L.Flatten(),
            L.Dense(3),
        ]
    )
    return ours, theirs, (8, 7, 2)


def along_time():
    theirs = torch.nn.Sequential(torch.nn.Conv1d(3, 5, 3, dilation=2), torch.nn.ReLU())
    ours = keras.Sequential([keras.Input((11, 3)), L.Conv1D(5, 3, dilation_rate=2), L.ReLU()])
    return ours, theirs, (11, 3)


def same_weights(ours, theirs, rng):
    """Give both models the same weights, a third of them zero."""
    mine = [layer for layer in ours.layers if layer.weights]
    other = [layer for layer in theirs if hasattr(layer, "weight")]
    for one, two in zip(mine, other, strict=True):
        kernel = rng.normal(size=one.kernel.shape) * (rng.random(one.kernel.shape) > 1 / 3)
        bias = rng.normal(size=one.bias.shape)
        one.set_weights([kernel, bias])
        with torch.no_grad():
            # (taps, in, out) in Keras is (out, in, taps) in PyTorch.
            moved = np.moveaxis(kernel, (-1, -2), (0, 1))
            two.weight.copy_(torch.tensor(moved))
            two.bias.copy_(torch.tensor(bias))


def of_neurobench(net, x):
    """Return NeuroBench's own numbers for one batch."""
    model = TorchModel(net)
    model.register_hooks()
    operations, activations = SynapticOperations(), ActivationSparsity()
    with torch.no_grad():
        predictions = model(x)
        data = (x, torch.zeros(len(x)))
        found = operations(model, predictions, data)
        found["activation_sparsity"] = activations(model, predictions, data)
    model.cleanup_hooks()
    found["footprint"] = Footprint()(model)
    found["connection_sparsity"] = ConnectionSparsity()(model)
    return found


@pytest.mark.parametrize("binary", [False, True], ids=["values", "spikes"])
@pytest.mark.parametrize("build", [dense, convolutional, along_time])
def test_the_numbers_are_those_of_neurobench(build, binary):
    rng = np.random.default_rng(3)
    ours, theirs, shape = build()
    same_weights(ours, theirs, rng)
    x = rng.normal(size=(9, *shape)) * (rng.random((9, *shape)) < 0.5)
    x = (x != 0).astype("float32") if binary else x.astype("float32")
    wanted = of_neurobench(theirs, torch.tensor(np.moveaxis(x, -1, 1)))
    found = metrics(ours, x)
    assert found.effective_macs == pytest.approx(wanted["Effective_MACs"], rel=1e-12)
    assert found.effective_acs == pytest.approx(wanted["Effective_ACs"], rel=1e-12)
    assert (found.effective_acs > 0) == binary
    assert found.dense == pytest.approx(wanted["Dense"], rel=1e-12)
    assert found.footprint == wanted["footprint"]
    assert round(found.connection_sparsity, 4) == wanted["connection_sparsity"]
    # Both frameworks compute in float32: a value may be zero in one and 1e-9 in the other.
    assert found.activation_sparsity == pytest.approx(wanted["activation_sparsity"], abs=1e-3)
