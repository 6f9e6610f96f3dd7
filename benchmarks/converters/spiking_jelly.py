"""The digits network, converted by SpikingJelly.

Runs in an environment with PyTorch and SpikingJelly: WORKER NETWORK.npz STEPS ...
"""

import json
import sys

import numpy as np
import torch
from spikingjelly.activation_based import functional, neuron
from spikingjelly.activation_based.ann2snn import Converter
from spikingjelly.activation_based.ann2snn.recipes import RateCodingRecipe

SETTINGS = {
    "maximum of activations": {"mode": "Max"},
    "99.9th percentile": {"mode": "99.9%"},
    "99.9th percentile, by channel": {"mode": "99.9%", "channel_wise": True},
}


def network(data):
    """Return the network with Keras' weights, channels first."""
    w = [torch.from_numpy(data[key]) for key in sorted(data) if key.startswith("weight_")]
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, padding=1, bias=False),
        torch.nn.BatchNorm2d(16, eps=1e-3),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(16, 32, 3, padding=1),
        torch.nn.BatchNorm2d(32, eps=1e-3),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(128, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 10),
    )
    flat = w[11].reshape(2, 2, 32, 64).permute(2, 0, 1, 3).reshape(128, 64)  # Keras: channels last
    values = [
        w[0].permute(3, 2, 0, 1), w[1], w[2], w[3], w[4], torch.tensor(0),
        w[5].permute(3, 2, 0, 1), w[6], w[7], w[8], w[9], w[10], torch.tensor(0),
        flat.T, w[12], w[13].T, w[14],
    ]  # fmt: skip
    model.load_state_dict(dict(zip(model.state_dict(), values, strict=True)))
    return model.eval()


def points(model, data, timesteps, options):
    """Return number of steps, accuracy and spikes per image."""
    calibration = torch.from_numpy(data["calibration"]).permute(0, 3, 1, 2)
    recipe = RateCodingRecipe(dataloader=[(calibration, None)], **options)
    spiking = Converter(recipe).convert(model).eval()
    spikes = 0.0

    def count(module, inputs, output):
        nonlocal spikes
        spikes += float((output != 0).sum())

    for module in spiking.modules():
        if isinstance(module, neuron.BaseNode):
            module.register_forward_hook(count)
    images = torch.from_numpy(data["images"]).permute(0, 3, 1, 2)
    total, found = 0, []
    functional.reset_net(spiking)
    with torch.no_grad():
        for step in range(1, max(timesteps) + 1):
            total = total + spiking(images)
            if step in timesteps:
                correct = np.mean(total.argmax(1).numpy() == data["labels"])
                found.append((step, float(correct), spikes / len(images)))
    return found


def main():
    """Write the results as a line of JSON."""
    data = dict(np.load(sys.argv[1]))
    model, timesteps = network(data), [int(steps) for steps in sys.argv[2:]]
    with torch.no_grad():
        scores = model(torch.from_numpy(data["images"]).permute(0, 3, 1, 2))
    correct = np.mean(scores.argmax(1).numpy() == data["labels"])
    sys.stderr.write(f"without spikes: {correct:.4f}\n")
    found = {}
    for name, options in SETTINGS.items():
        try:
            found[name] = points(model, data, timesteps, options)
        except Exception as error:
            sys.stderr.write(f"{name}: {type(error).__name__}: {error}\n")
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
