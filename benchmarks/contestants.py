"""Who takes part: one worker each, and the environment that it runs in."""

from __future__ import annotations

import dataclasses

BEFORE = "4ba9c6f"  # the commit that kspike is compared with, to see what an optimisation brought


@dataclasses.dataclass(frozen=True)
class Peer:
    """A contestant.

    Parameters
    ----------
    module : str
        The module in ``benchmarks.peers`` that is its worker.
    title : str
        How the report calls it.
    environment : str
        Where it runs.
    commit : str
        The commit of kspike that it runs; what is checked out, if empty.
    works : tuple of str
        The names of the only works it takes part in; everything it offers, if empty.
    """

    module: str
    title: str
    environment: str
    commit: str = ""
    works: tuple[str, ...] = ()


# What was furthest behind a peer or its limit at BEFORE: measured at both commits, in turns.
WORST = {
    "kspike_ref": (
        "forward.lowpass.128x100x1024",
        "forward.alpha.128x100x1024",
        "model.predict-static.10000x10x784",
        "model.predict-varying.10000x10x784",
        "convolution.conv-1%.100x4x32",
        "convolution.conv-2%.100x4x32",
        "convolution.conv-20%.100x4x32",
    ),
    "kspike_tf": (
        "forward.spiking.128x100x1024",
        "forward.lowpass.128x100x1024",
        "forward.alpha.128x100x1024",
        "gradient.lowpass-gradient.128x100x1024",
        "gradient.alpha-gradient.128x100x1024",
    ),
}
_BEFORE = "_before"

PEERS = {
    "kspike_ref": Peer("kspike_ref", "kspike_ref", "kspike-ref"),
    "kspike_tf": Peer("kspike_tf", "kspike_tf", "kspike-tf"),
    "limits": Peer("limits", "machine limit", "kspike-ref"),
    "keras_spiking": Peer("keras_spiking", "KerasSpiking 0.3.0", "keras-spiking"),
    "plain_keras": Peer("plain_keras", "plain Keras 3 cell", "kspike-tf"),
    "no_spikes": Peer("no_spikes", "Keras without spikes (ReLU)", "kspike-tf"),
    "onnx_runtime": Peer("onnx_runtime", "ONNX Runtime", "onnx"),
    "snn_torch": Peer("snn_torch", "snnTorch", "torch"),
    "norse_torch": Peer("norse_torch", "Norse", "torch"),
    "spiking_jelly": Peer("spiking_jelly", "SpikingJelly", "torch"),
    "sinabs_torch": Peer("sinabs_torch", "Sinabs", "torch"),
    "nengo_filters": Peer("nengo_filters", "Nengo", "filters"),
    "scipy_filters": Peer("scipy_filters", "SciPy lfilter", "filters"),
}
OURS = ("kspike_ref", "kspike_tf")
LIMITS = ("limits", "no_spikes")  # less work than what they are compared with
PEERS |= {
    name + _BEFORE: dataclasses.replace(
        PEERS[name], title=f"{name} at {BEFORE}", commit=BEFORE, works=WORST[name]
    )
    for name in OURS
}

# Whoever runs in the environment of the tests, too.
QUICK_PEERS = (
    "kspike_ref",
    "kspike_tf",
    "limits",
    "plain_keras",
    "no_spikes",
    "onnx_runtime",
    "nengo_filters",
    "scipy_filters",
)


def before(name: str) -> str:
    """Return the name under which the earlier version of one of ``OURS`` takes part."""
    return name + _BEFORE


def takes_part(name: str, work: str, invited: tuple[str, ...]) -> bool:
    """Return whether a contestant does a piece of work.

    Parameters
    ----------
    name : str
        Of the contestant.
    work : str
        The name of the work.
    invited : tuple of str
        Who was invited; everybody, if empty.
    """
    only = PEERS[name].works
    return work in only if only else not invited or name in invited
