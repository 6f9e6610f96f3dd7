"""Tests that files of released versions load, and give the same bits as in their version.

On another processor, or with other libraries, filters and functions such as tanh may be rounded
differently in the last bit; models in `kept.EXACT` have the same bits there too.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "golden" / "versions"))

import kept

import kspike_ref

pytestmark = pytest.mark.filterwarnings("ignore::kspike_ref.FewSpikesWarning")

each_file = pytest.mark.parametrize("path", kept.files(), ids=kept.label)


def predict(path):
    x, wanted = kept.answers(path)
    made = kspike_ref.load_model(path).predict(x if len(x) > 1 else x[0])
    return made if isinstance(made, list) else [made], wanted


@each_file
def test_the_bits_of_that_version(path):
    exact = path.stem in kept.EXACT or kept.made_with(path)["machine"] == kept.machine()
    made, wanted = predict(path)
    kept.same(path.stem, made, wanted, exact=exact, tolerance=1e-6)


def test_this_version_has_its_files():
    """`make.py` writes them, with two versions of Keras; docs/development.md says when."""
    own = [name for name in kept.VERSIONS if name.partition("-keras")[0] == kept.VERSION]
    assert len(own) > 1
    for folder in own:
        names = {path.stem for path in kept.files() if path.parent.name == folder}
        assert set(kept.EXACT) < names


@each_file
def test_every_file_has_its_answers(path):
    x, y = kept.answers(path)
    assert x
    assert y
    assert all(one.any() and np.isfinite(one).all() for one in y)


def test_another_bit_is_noticed(tmp_path):
    """Also on another machine, where most files are compared with a tolerance."""
    source = next(path for path in kept.files() if path.stem == "spiking")
    for path in source.parent.iterdir():
        shutil.copy(path, tmp_path)
    made, wanted = predict(tmp_path / "spiking.keras")
    wanted[0][0, 0, 0] = np.nextafter(wanted[0][0, 0, 0], np.inf)
    with pytest.raises(AssertionError):
        kept.same("spiking", made, wanted, exact=True, tolerance=1e-6)
    wanted[0][0, 0, 0] += wanted[0].max()
    with pytest.raises(AssertionError):
        kept.same("spiking", made, wanted, exact=False, tolerance=1e-6)
