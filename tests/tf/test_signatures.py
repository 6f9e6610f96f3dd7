"""Tests that every constructor option has a name, a default and a type that tools can read."""

import inspect
import typing

import keras
import numpy as np
import pytest

import kspike_tf

OF_KERAS = {"name": None, "dtype": None, "trainable": True}
SEQUENCE = {
    "return_sequences": True,
    "return_state": False,
    "stateful": False,
    "unroll": False,
    "time_major": False,
    "activity_regularizer": None,
    **OF_KERAS,
    "input_shape": None,
}
SPIKING = {"dt": None, "seed": None, "spiking_aware_training": True}
FILTER = {
    "dt": None,
    "apply_during_training": True,
    "level_initializer": "zeros",
    "initial_level_constraint": None,
    "tau_constraint": None,
}
NOTHING = inspect.Parameter.empty
SIGNATURES = {
    "SpikingActivation": {"activation": NOTHING, **SPIKING, **SEQUENCE},
    "Lowpass": {"tau_initializer": NOTHING, **FILTER, **SEQUENCE},
    "Alpha": {"tau_initializer": NOTHING, **FILTER, **SEQUENCE},
    "SpikingActivationCell": {"size": NOTHING, "activation": NOTHING, **SPIKING, **OF_KERAS},
    "LowpassCell": {"size": NOTHING, "tau_initializer": NOTHING, **FILTER, **OF_KERAS},
    "AlphaCell": {"size": NOTHING, "tau_initializer": NOTHING, **FILTER, **OF_KERAS},
}


@pytest.mark.parametrize(("name", "expected"), SIGNATURES.items())
def test_every_option_is_spelt_out(name, expected):
    cls = getattr(kspike_tf, name)
    parameters = inspect.signature(cls).parameters
    assert {each.name: each.default for each in parameters.values()} == expected
    assert list(parameters) == list(expected)
    assert not any(each.kind == each.VAR_KEYWORD for each in parameters.values())
    # Editors and type checkers read the constructor itself.
    assert list(inspect.signature(cls.__init__).parameters) == ["self", *expected]
    types = typing.get_type_hints(cls.__init__)
    assert set(types) == {*expected, "return"}
    booleans = [key for key, default in expected.items() if isinstance(default, bool)]
    assert {types[key] for key in booleans} == {bool}
    options = {key.strip() for key in cls.__doc__.split("\n") if key.startswith("    ")}
    assert all(any(line.startswith(f"{key} : ") for line in options) for key in expected)


@pytest.mark.parametrize(
    ("make", "name", "hint"),
    [
        (lambda **k: kspike_tf.Lowpass(0.1, **k), "retrun_sequences", "return_sequences"),
        (lambda **k: kspike_tf.SpikingActivation("relu", **k), "spiking_aware", "spiking_aware_t"),
        (lambda **k: kspike_tf.AlphaCell(3, 0.1, **k), "trainabel", "trainable"),
        (lambda **k: kspike_tf.layers.KerasSpikingLayer(**k), "time_mayor", "time_major"),
        (lambda **k: kspike_tf.layers.KerasSpikingCell(3, **k), "state_sizes", "state_size"),
    ],
)
def test_misspelt_options_get_a_suggestion(make, name, hint):
    with pytest.raises(TypeError, match=rf"no option {name}. Did you mean {hint}.*{name}=1$"):
        make(**{name: 1})


def test_a_subclass_passes_options_on_and_gets_suggestions():
    class Own(kspike_tf.Lowpass):
        def __init__(self, taus, **kwargs):
            super().__init__(taus, **kwargs)

    assert Own(0.1, return_state=True).return_state
    with pytest.raises(TypeError, match=r"Own has no option tauss. Did you mean taus"):
        Own(0.1, tauss=1)


def test_options_of_keras_layers():
    layer = kspike_tf.Lowpass(
        0.1, name="low", dtype="mixed_float16", trainable=False, activity_regularizer="l2"
    )
    assert (layer.name, layer.dtype_policy.name, layer.trainable) == ("low", "mixed_float16", False)
    y = layer(np.ones((2, 3, 4), np.float32))
    assert y.dtype == "float16"
    assert len(layer.losses) == 1
    assert layer.trainable_weights == []
    with pytest.warns(UserWarning, match="Do not pass an `input_shape`"):
        model = keras.Sequential([kspike_tf.SpikingActivation("relu", input_shape=(None, 4))])
    assert model.output_shape == (None, None, 4)
