"""The neuron of `custom_neuron`, run by kspike_ref without TensorFlow, and its energy.

A custom layer is Python code, which a model file does not hold, so kspike_ref needs a version of it
in NumPy. Run as ``python examples/custom_neuron_reference.py model.keras``, with a file that
``make_model().save("model.keras")`` of `custom_neuron` wrote.
"""

import sys

import numpy as np

import kspike_ref
from kspike_energy import ModelEnergy

NAME = "custom_neuron>LIF"  # package>Class, as the file says


class LIFCell(kspike_ref.Layer):
    """The saved cell of the layer: logarithms of time constants, one per neuron."""

    def weight_shapes(self, shape):
        """Return the shape of each weight, in the order in which `build` made them."""
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
        """Return where the weights of the layers within are: the Keras layer holds an RNN."""
        return [("layer/cell", self.cell, ((shape[0], *shape[2:]),))]

    def output_shape(self, shape):
        """Return the shape of the outputs: one step's only where no sequence is returned."""
        return (shape[0], *shape[2:]) if self.reduces else shape

    def prepare(self):
        """Compute the decay, which depends on the weights alone."""
        self.decay = np.exp(-self.dt / np.exp(self.weights["layer/cell/log_tau"]))

    def initial_state(self, batch, shape):
        """Return voltages of 0, and outputs of 0 for a run of no steps."""
        zeros = np.zeros((batch, *shape[2:]), self.dtype)
        return zeros, zeros

    def scan(self, state, x, mask=None):
        """Return the outputs of all steps and the state after them; masked steps hold both."""
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
    """Count an update a neuron and time step; the connections into it are the Dense layer's."""
    return {"connections": 0, "neurons": node.output_shapes[-1], "spiking": True}


def main():
    """Run a saved model, and print its output and its energy."""
    model = kspike_ref.load_model(sys.argv[1])
    images = np.random.default_rng(0).random((100, 12, 64), np.float32)
    rates = model.activity(images)["lif"]
    print(f"mean rate of the hidden neurons: {rates.mean():.1f} Hz")
    energy = ModelEnergy(model, example_data=images)
    energy.summary()


if __name__ == "__main__":
    main()
