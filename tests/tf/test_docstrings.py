"""Tests that the examples in docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

import kspike_tf

MODULES = [each.name for each in pkgutil.walk_packages(kspike_tf.__path__, "kspike_tf.")]


@pytest.mark.parametrize("name", ["kspike_tf", *MODULES])
def test_examples_of_docstrings(name):
    module = importlib.import_module(name)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    failed, _ = doctest.testmod(module, optionflags=flags)
    assert failed == 0
