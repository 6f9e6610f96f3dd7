"""Former generator of alpha.*, when alpha filters had weights ``(prod(size),)``.

Newer versions save ``(1, *size)``: this script no longer makes the same files.
"""

from pathlib import Path

import keras
import numpy as np

import kspike_tf

FOLDER = Path(__file__).parent


def make_model():
    """Return alpha filters of one and several unit axes, as layers and cell; trained with Adam."""
    uniform = keras.initializers.RandomUniform
    return keras.Sequential(
        [
            keras.Input((None, 2, 3)),
            kspike_tf.Alpha(
                uniform(0.01, 0.1, seed=1), dt=0.01, tau_constraint=kspike_tf.constraints.Mean()
            ),
            kspike_tf.Lowpass(0.05, dt=0.01),
            kspike_tf.Alpha(uniform(0.01, 0.1, seed=2), dt=0.01),
            keras.layers.Reshape((-1, 6)),
            keras.layers.RNN(kspike_tf.AlphaCell(6, 0.03, dt=0.01), return_sequences=True),
        ]
    )


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    model = make_model()
    model.compile("adam", keras.losses.MeanSquaredError())
    x, y = (rng.normal(0, 200, shape).astype(np.float32) for shape in ((4, 10, 2, 3), (4, 10, 6)))
    model.fit(x, y, verbose=0, epochs=3)
    model.save(FOLDER / "alpha.keras")
    model.save(FOLDER / "alpha.h5")
    x = rng.normal(0, 200, (2, 9, 2, 3)).astype(np.float32)
    np.savez(FOLDER / "alpha.npz", x=x, y=model.predict(x, verbose=0))
