"""Worker of a plain port to Keras 3: RNN cells, line by line, with autodiff.

It also runs TensorFlow's convolution.
"""

from __future__ import annotations

import pathlib

import keras
import tensorflow as tf

from benchmarks import works
from benchmarks.peers import _keras
from benchmarks.peers.plain_cells import PlainAlphaCell, PlainLowpassCell, PlainSpikingCell
from benchmarks.worker import Job, serve

LAYERS = _keras.Layers(
    spiking=lambda dt, units: keras.layers.RNN(PlainSpikingCell(units, dt), return_sequences=True),
    lowpass=lambda tau, dt, sequences, units: keras.layers.RNN(
        PlainLowpassCell(units, tau, dt), return_sequences=sequences
    ),
    alpha=lambda tau, dt, sequences, units: keras.layers.RNN(
        PlainAlphaCell(units, tau, dt), return_sequences=sequences
    ),
)


def convolution(work: works.Work, _: pathlib.Path) -> Job:
    """Run TensorFlow's convolution alone, on spikes prepared beforehand."""
    spikes = tf.constant(works.conv_spikes(work))
    kernel = tf.random.normal((3, 3, work.units, works.CONV_FILTERS))
    run = tf.function(lambda x: tf.nn.conv2d(x, kernel, 1, "VALID"))
    return Job(lambda: run(spikes))


OFFERS = _keras.offers(LAYERS)
OFFERS |= {kind: {"tf.nn.conv2d alone": convolution} for kind in works.CONVOLUTIONS}

if __name__ == "__main__":
    serve(OFFERS, ["keras", "tensorflow", "numpy"])
