"""The neuron of `custom_neuron`, run by kspike_ref without TensorFlow, and its energy.

A model file does not contain the Python code of a custom layer, so kspike_ref needs a version of it
in NumPy. Run as ``python examples/custom_neuron_reference.py model.keras``, with a file written by
``make_model().save("model.keras")`` of `custom_neuron`.
"""

import sys

import numpy as np

import kspike_ref
from kspike_energy import ModelEnergy

NAME = "custom_neuron>LIF"  # package>Class, as in the file


class LIFCell(kspike_ref.Layer):
    """The saved cell of the layer: logarithms of time constants, one per neuron."""

    def weight_shapes(self, shape):
        """Return the shapes of the weights, in the order in which `build` created them."""
        return {"log_tau": shape[1:]}


@kspike_ref.register_layer(NAME)
class LIF(kspike_ref.StatefulLayer):
    """Leaky integrate-and-fire neurons over time, as `custom_neuron.LIF` computes them."""

    def setup(self):
        """Read the configuration from `get_config`."""
        self.reduces = not self.config["return_sequences"]
        self.cell = LIFCell(f"{self.name}/cell", "LIFCell", {"dtype": self.config["dtype"]})
        self.dt = self.dtype.type(self.config["dt"])

    def parts(self, shape):
        """Return the inner layer and where its weights are: the Keras layer wraps an RNN."""
        return [("layer/cell", self.cell, ((shape[0], *shape[2:]),))]

    def output_shape(self, shape):
        """Return the shape of the outputs: that of one step if no sequence is returned."""
        return (shape[0], *shape[2:]) if self.reduces else shape

    def prepare(self):
        """Compute the decay, which depends only on the weights."""
        self.decay = np.exp(-self.dt / np.exp(self.weights["layer/cell/log_tau"]))

    def initial_state(self, batch, shape):
        """Return zero voltages, and zero outputs for a run without steps."""
        zeros = np.zeros((batch, *shape[2:]), self.dtype)
        return zeros, zeros

    def scan(self, state, x, mask=None):
        """Return the outputs of all steps and the final state; masked steps keep both unchanged."""
        voltage, last = state
        outputs = np.empty(x.shape, self.dtype)
        for t in range(x.shape[1]):
            charged = x[:, t] + self.decay * (voltage - x[:, t])
            spikes = (charged >= 1).astype(self.dtype)
            counts = True if mask is None else mask[:, t, None]
            voltage = np.where(counts, charged - spikes, voltage)
            last = np.where(counts, spikes / self.dt, last)
            outputs[:, t] = last
        return last if self.reduces else outputs, (voltage, last)

    def call(self, x, mask=None):
        """Return the outputs of a run from the initial state."""
        return self.scan(self.initial_state(len(x), x.shape), x, mask)[0]


@ModelEnergy.register_layer(NAME)
def count(node):
    """Count one update per neuron and time step; the connections belong to the Dense layer."""
    return {"connections": 0, "neurons": node.output_shapes[-1], "spiking": True}


def main():
    """Run a saved model, and print its mean rate and its energy."""
    model = kspike_ref.load_model(sys.argv[1])
    images = np.random.default_rng(0).random((100, 12, 64), np.float32)
    rates = model.activity(images)["lif"]
    print(f"mean rate of the hidden neurons: {rates.mean():.1f} Hz")
    energy = ModelEnergy(model, example_data=images)
    energy.summary()


if __name__ == "__main__":
    main()
