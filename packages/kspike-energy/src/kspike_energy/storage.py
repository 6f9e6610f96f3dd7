"""Sizes of a layer's data in memory, and how the layer accesses it."""

from dataclasses import dataclass

__all__ = ["Storage"]


@dataclass(frozen=True)
class Storage:
    """Sizes of a layer's data in memory, at one time step.

    Parameters
    ----------
    inputs, outputs : int
        Number of elements of its inputs and outputs.
    parameters : int
        Number of weights and biases.
    biased : bool, optional
        Whether it adds a bias to every output.
    windows : bool, optional
        Whether it reads an input element once per connection, as a convolution does. A dense layer
        reads every input element once.
    kernel : int, optional
        Weights per input channel: its filters times the positions of a window.
    leaky : bool, optional
        Whether a unit update multiplies the state, as in a lowpass filter.
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
