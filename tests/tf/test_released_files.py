"""Tests that files of released versions give the same answers in Keras, also after saving again."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "golden" / "versions"))

import kept

import kspike_tf

# Of the largest output: sums in another order; Keras rounds to bfloat16, kspike_ref does not.
TOLERANCE = {"half": 2e-2, "quantised": 1e-2}


def load(path):
    """Return a model; an older Keras than that of the file may not know all options."""
    if not is_known(path):
        pytest.skip(f"saved by a Keras newer than {keras.version()}")
    assert kspike_tf.__all__  # importing registers the layers
    return keras.models.load_model(path)


def is_known(path):
    return _numbers(kept.made_with(path)["keras"]) <= _numbers(keras.version())


def _numbers(version):
    return [int(part) for part in version.split(".")[:2]]


def listed(outputs):
    return [np.asarray(y) for y in (outputs if isinstance(outputs, list) else [outputs])]


@pytest.mark.parametrize("path", kept.files(), ids=kept.label)
def test_the_answers_of_that_version(path, tmp_path):
    """Where all sums are exact, bits equal kspike_ref's; a model saved again has the same bits."""
    x, wanted = kept.answers(path)
    x = x if len(x) > 1 else x[0]
    model = load(path)
    made = listed(model.predict(x, verbose=0))
    tolerance = TOLERANCE.get(path.stem, 1e-5)
    kept.same(path.stem, made, wanted, exact=path.stem in kept.EXACT, tolerance=tolerance)
    model.save(tmp_path / "again.keras")
    again = keras.models.load_model(tmp_path / "again.keras")
    for one, other in zip(made, listed(again.predict(x, verbose=0)), strict=True):
        assert one.tobytes() == other.tobytes()


def test_every_keras_loads_some_files():
    """Those of every version, as one was saved with the oldest Keras that is supported."""
    versions = {path.parent.name.partition("-keras")[0] for path in kept.files() if is_known(path)}
    assert versions == {name.partition("-keras")[0] for name in kept.VERSIONS}
