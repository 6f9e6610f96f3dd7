"""Numbers that a layer keeps in memory, and how it goes through them."""

from dataclasses import dataclass

__all__ = ["Storage"]


@dataclass(frozen=True)
class Storage:
    """Numbers that a layer keeps in memory, at one time step.

    Parameters
    ----------
    inputs, outputs : int
        Elements of its inputs and outputs.
    parameters : int
        Weights and biases.
    biased : bool, optional
        Whether it adds a bias to every output.
    windows : bool, optional
        Whether it reads an input again for every connection, as a convolution does; a dense layer
        reads each once.
    kernel : int, optional
        Filters of one input channel times positions of a window: the weights of the channel.
    leaky : bool, optional
        Whether a unit update multiplies its state, as a lowpass filter does.
    uses : int, optional
        Number of its applications.
    """

    inputs: int
    outputs: int
    parameters: int
    biased: bool = False
    windows: bool = False
    kernel: int = 0
    leaky: bool = False
    uses: int = 1
