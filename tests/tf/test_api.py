"""Tests that pin public names and constructor arguments."""

import inspect

import kspike_tf
from kspike_tf import layers

PUBLIC = [
    "Alpha",
    "AlphaCell",
    "Conversion",
    "FewSpikesWarning",
    "Lowpass",
    "LowpassCell",
    "ModelEnergy",
    "RateReport",
    "Recording",
    "SpikingActivation",
    "SpikingActivationCell",
    "Sweep",
    "TimeFolded",
    "callbacks",
    "config",
    "constraints",
    "convert",
    "default",
    "export",
    "layers",
    "metrics",
    "model_energy",
    "rate_report",
    "record",
    "regularizers",
    "sweep",
]

SEQUENCE = {
    "return_sequences": True,
    "return_state": False,
    "stateful": False,
    "unroll": False,
    "time_major": False,
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
    layers.KerasSpikingCell: {
        "size": NOTHING,
        "state_size": None,
        "dt": None,
        "always_use_inference": True,
    },
    layers.KerasSpikingLayer: {"dt": None, **SEQUENCE},
    layers.SpikingActivationCell: {"size": NOTHING, "activation": NOTHING, **SPIKING},
    layers.SpikingActivation: {"activation": NOTHING, **SPIKING, **SEQUENCE},
    layers.LowpassCell: {"size": NOTHING, "tau_initializer": NOTHING, **FILTER},
    layers.AlphaCell: {"size": NOTHING, "tau_initializer": NOTHING, **FILTER},
    layers.Lowpass: {"tau_initializer": NOTHING, **FILTER, **SEQUENCE},
    layers.Alpha: {"tau_initializer": NOTHING, **FILTER, **SEQUENCE},
    layers.TimeFolded: {"layer": NOTHING},
    kspike_tf.constraints.Mean: {"axis": -1},
    kspike_tf.callbacks.DtScheduler: {"dt": NOTHING, "scheduler": NOTHING, "verbose": False},
    kspike_tf.config.DefaultManager: {"dt": 0.001},
    kspike_tf.regularizers.L1L2: {"l1": 0.0, "l2": 0.0, "target": 0},
    kspike_tf.regularizers.L1: {"l1": 0.01, "target": 0},
    kspike_tf.regularizers.L2: {"l2": 0.01, "target": 0},
    kspike_tf.callbacks.RateLogger: {"x": NOTHING, "timesteps": None},
    kspike_tf.regularizers.MeanRates: {
        "target": NOTHING,
        "l1": 0.0,
        "l2": 0.0,
        "over_batch": True,
        "time_axis": 1,
    },
    kspike_tf.regularizers.Percentile: {
        "percentile": 100,
        "axis": 0,
        "target": 0,
        "l1": 0,
        "l2": 0,
    },
}


def test_public_names():
    assert sorted(kspike_tf.__all__) == sorted(PUBLIC)
    assert all(hasattr(kspike_tf, name) for name in PUBLIC)
    assert sorted(layers.__all__) == sorted(
        each.__name__ for each in SIGNATURES if each.__module__.startswith("kspike_tf.layers")
    )


def arguments(cls):
    """Return a class's named arguments and, if it passes ``**kwargs`` on, those of its bases."""
    found = {}
    for base in cls.__mro__:
        if not base.__module__.startswith(("kspike_tf", "kspike_energy")):
            break
        parameters = inspect.signature(base.__init__).parameters.values()
        for each in list(parameters)[1:]:
            if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL):
                found.setdefault(each.name, each.default)
        if not any(each.kind == each.VAR_KEYWORD for each in parameters):
            break
    return found


def test_signatures():
    for cls, expected in SIGNATURES.items():
        found = arguments(cls)
        assert {name: found.get(name, "missing") for name in expected} == expected, cls
        # in this order
        assert [name for name in found if name in expected][: len(expected)] == list(expected), cls


def test_ranged_regularizer_has_the_default_of_the_page():
    target, regularizer = arguments(kspike_tf.regularizers.RangedRegularizer).values()
    assert target == 0
    assert regularizer.get_config() == {"l1": 0.0, "l2": 0.01}
