"""The contestants, with their workers and environments."""

from __future__ import annotations

import dataclasses

BEFORE = "4ba9c6f"  # an earlier commit, with which optimisations of kspike are compared


@dataclasses.dataclass(frozen=True)
class Peer:
    """A contestant.

    Parameters
    ----------
    module : str
        Module of its worker, in ``benchmarks.peers``.
    title : str
        Its name in the report.
    environment : str
        Name of the environment in which it runs.
    commit : str
        The commit of kspike that it runs; the working tree, if empty.
    works : tuple of str
        Names of the only work in which it takes part; all that it offers, if empty.
    """

    module: str
    title: str
    environment: str
    commit: str = ""
    works: tuple[str, ...] = ()


# Work that was furthest behind a peer or a limit at BEFORE, measured at both commits in turns.
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
LIMITS = ("limits", "no_spikes")  # these do less work than the contestants compared with them
PEERS |= {
    name + _BEFORE: dataclasses.replace(
        PEERS[name], title=f"{name} at {BEFORE}", commit=BEFORE, works=WORST[name]
    )
    for name in OURS
}

# Contestants that also run in the environment of the tests.
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
    """Return the name of the contestant that is the earlier version of one of ``OURS``."""
    return name + _BEFORE


def takes_part(name: str, work: str, invited: tuple[str, ...]) -> bool:
    """Return whether a contestant does a piece of work.

    Parameters
    ----------
    name : str
        Name of the contestant.
    work : str
        The name of the work.
    invited : tuple of str
        Contestants that are invited; all, if empty.
    """
    only = PEERS[name].works
    return work in only if only else not invited or name in invited
