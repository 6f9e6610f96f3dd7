"""Tests of files whose alpha filter weights are ``(prod(size),)``, not ``(1, *size)``."""

from pathlib import Path

import archives
import numpy as np
import pytest

import kspike_ref

FOLDER = Path(__file__).parents[1] / "golden" / "flat_alpha"
UNITS = (2, 3)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_an_old_file_of_keras_gives_the_same_answers(suffix):
    with np.load(FOLDER / "alpha.npz") as data:
        y = kspike_ref.load_model(FOLDER / f"alpha.{suffix}").predict(data["x"])
        # rounded once from float64: the exponential of another machine may round differently
        np.testing.assert_allclose(y, data["y"], rtol=1e-6, atol=1e-5)


def alpha_archive(path, weights):
    layers = [
        archives.input_layer(None, *UNITS),
        archives.layer("Alpha", "filter", "kspike_tf", dt=0.25),
    ]
    held = {"layers/alpha/layer/cell": weights}
    return archives.archive(path, archives.sequential(*layers), held)


def test_both_shapes_give_the_same_bits(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 9, *UNITS)).astype("f4")
    level, tau = rng.normal(size=(1, *UNITS)).astype("f4"), np.full((1, *UNITS), 0.05, "f4")
    new = kspike_ref.load_model(alpha_archive(tmp_path / "new.keras", [level, tau]))
    old = kspike_ref.load_model(alpha_archive(tmp_path / "old.keras", [level.ravel(), tau.ravel()]))
    y = new.predict(x)
    np.testing.assert_array_equal(y, old.predict(x))
    expected, _ = kspike_ref.alpha(x, tau[0], 0.25, initial_level=level[0])
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("shape", [(3, 2), (5,), (1, 6), (2, 3)])
def test_other_shapes_are_refused(tmp_path, shape):
    path = alpha_archive(tmp_path / "m.keras", [np.zeros(shape, "f4"), np.ones(shape, "f4")])
    with pytest.raises(kspike_ref.ArchiveError, match=r"must have shape \(1, 2, 3\), .*Received"):
        kspike_ref.load_model(path)
