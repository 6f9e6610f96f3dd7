"""Report of a conversion: its steps, and the error of the spiking network."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Sequence
from typing import Any

from kspike_energy.checks import level_of_user
from kspike_energy.presentation.units import plural
from kspike_tf.describing import as_html, seconds
from kspike_tf.few_spikes import FewSpikesWarning


@dataclasses.dataclass(frozen=True)
class LayerReport:
    """Comparison of a spiking layer with the activation that it replaced.

    Attributes
    ----------
    name : str
        Name of the ordinary layer.
    scale : float
        Firing rate in Hz for an activation of 1.
    mean_rate : float
        Mean firing rate in Hz on calibration data, silent neurons included.
    active_rate : float
        Expected firing rate in Hz, averaged over nonzero activations.
    correlation : float
        Correlation of the filtered spikes, as read at the end, with the activations.
    error : float
        Root mean square difference of the two, relative to the root mean square activation.
    """

    name: str
    scale: float
    mean_rate: float
    active_rate: float
    correlation: float
    error: float


@dataclasses.dataclass(frozen=True)
class ConversionReport:
    """Report of a conversion.

    Attributes
    ----------
    layers : tuple of LayerReport
        Spiking layers in order.
    normalisation : dict of str to str
        Outcome for each batch normalisation, by its name.
    max_pooling : dict of str to str
        Outcome for each max pooling.
    kept : tuple of str
        Activations that do not spike, and other layers and operations that are not linear.
    unfiltered : tuple of str
        Without a synapse: layers that are not linear and see single spikes. The mean of their
        outputs does not converge to the ordinary one, however many steps there are.
    timesteps : int
        Number of steps for which calibration examples were shown.
    dt : float
        Length of a step in seconds.
    examples : int
        Number of calibration examples compared.
    output_error : float
        Root mean square difference of the outputs, relative to the root mean square output.
    agreement : float or None
        Fraction of examples with the same highest output; None for outputs of one value.
    pooling_agreement : float or None
        The same without spikes, which is the cost of average pooling in place of max pooling. None
        if no pooling was replaced.
    """

    layers: tuple[LayerReport, ...]
    normalisation: dict[str, str]
    max_pooling: dict[str, str]
    kept: tuple[str, ...]
    unfiltered: tuple[str, ...]
    timesteps: int
    dt: float
    examples: int
    output_error: float
    agreement: float | None
    pooling_agreement: float | None

    def worst_layer(self) -> LayerReport:
        """Return the spiking layer that adds most to the error of the previous one."""
        errors = [0.0, *(layer.error for layer in self.layers)]
        growth = [after - before for before, after in itertools.pairwise(errors)]
        return self.layers[max(range(len(growth)), key=growth.__getitem__)]

    def few_spikes(self, timesteps: int) -> str:
        """Describe the layers with less than one expected spike for each active neuron.

        Parameters
        ----------
        timesteps : int
            Number of steps of a presentation.

        Returns
        -------
        str
            Empty if there are none.
        """
        counts = {each.name: each.active_rate * timesteps * self.dt for each in self.layers}
        few = [f"{name} ({count:.2g})" for name, count in counts.items() if count < 1]
        if not few:
            return ""
        return (
            "layers with less than one expected spike for each active neuron in "
            f"{seconds(timesteps * self.dt)}: {', '.join(few)}. These are too few to carry the "
            "activation. Raise max_rate or show the input longer."
        )

    def to_records(self) -> list[dict[str, Any]]:
        """Return a dictionary for each spiking layer."""
        return [dataclasses.asdict(layer) for layer in self.layers]

    def __str__(self) -> str:
        return "\n".join([*aligned(self._rows()), *self._remarks()])

    def __repr__(self) -> str:
        same = "" if self.agreement is None else f", {_agreeing(self.agreement)}"
        layers = plural(len(self.layers), "spiking layer")
        return (
            f"<ConversionReport of {layers}: after {self.timesteps} steps "
            f"({seconds(self.timesteps * self.dt)}), outputs off by {self.output_error:.1%}{same}>"
        )

    def _repr_html_(self) -> str:
        return as_html(self._rows(), "Conversion", self._remarks())

    def _rows(self) -> list[tuple[str, ...]]:
        cells = [
            (
                layer.name,
                f"{layer.scale:.4g}",
                f"{layer.mean_rate:.1f} Hz",
                f"{layer.correlation:.3f}",
                f"{layer.error:.1%}",
            )
            for layer in self.layers
        ]
        return [("layer", "Hz per unit", "mean rate", "correlation", "error"), *cells]

    def _remarks(self) -> list[str]:
        outcomes = [*self.normalisation.items(), *self.max_pooling.items()]
        lines = [f"{name}: {outcome}" for name, outcome in outcomes]
        lines += [f"{name}: kept, does not spike" for name in self.kept]
        if self.unfiltered:
            lines.append(
                f"without a synapse, single spikes reach {', '.join(self.unfiltered)}: means over "
                "time do not converge there, however many steps there are. Pass synapse=0.01, or "
                "raise max_rate"
            )
        if self.pooling_agreement is not None:
            lines.append(f"average pooling alone: {_agreeing(self.pooling_agreement)}")
        if few := self.few_spikes(self.timesteps):
            lines.append(few)
        same = "" if self.agreement is None else f", {_agreeing(self.agreement)}"
        lines.append(
            f"after {self.timesteps} steps ({self.timesteps * self.dt * 1000:.4g} ms), "
            f"{self.examples} examples: outputs off by {self.output_error:.1%}{same}"
        )
        lines.append(f"the error grows most in {self.worst_layer().name}")
        return lines


class FewSpikesCheck:
    """Warns once if the neurons of a conversion fire too rarely in a presentation.

    Parameters
    ----------
    report : ConversionReport
        Rates on calibration data.
    """

    def __init__(self, report: ConversionReport) -> None:
        self.report, self.has_warned = report, False

    def __call__(self, timesteps: int) -> None:
        """Warn if a layer has less than one expected spike for each active neuron.

        Parameters
        ----------
        timesteps : int
            Number of steps of the presentation.
        """
        if not self.has_warned and (few := self.report.few_spikes(timesteps)):
            self.has_warned = True
            warnings.warn(few, FewSpikesWarning, stacklevel=level_of_user())


def _agreeing(part: float) -> str:
    return f"the highest output is the same for {part:.1%} of the examples"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table: the first column left-aligned, the others right-aligned."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        )
        for row in rows
    ]
