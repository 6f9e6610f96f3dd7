"""The table of digits.py, with a check of every claim."""

import dataclasses
import io

import numpy as np
from rich.console import Console
from rich.table import Table


@dataclasses.dataclass(frozen=True)
class Point:
    """Accuracy on held-out digits shown for a number of steps, and joules per inference."""

    steps: int
    accuracy: float
    joules: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Results:
    """Results of both runs of the held-out digits: in Keras, and without TensorFlow."""

    labels: np.ndarray
    keras: dict
    reference: dict
    keras_joules: dict[str, float]
    reference_joules: dict[str, float]
    dt: float
    ordinary_accuracy: float
    by_steps: list[Point]

    def accuracy(self, run: dict) -> float:
        """Return the fraction of held-out digits that a run classified correctly."""
        return float(np.mean(run["scores"].argmax(-1) == self.labels))

    def agreement(self) -> float:
        """Return the fraction of held-out digits on whose class both runs agree."""
        return float(
            np.mean(self.keras["scores"].argmax(-1) == self.reference["scores"].argmax(-1))
        )

    def spikes_given_rates(self) -> int:
        """Count the neuron steps whose spikes differ when the reference gets Keras' rates."""
        return int(np.sum(self.reference["repeated"] != self.keras["spikes"]))

    def spikes_end_to_end(self) -> float:
        """Return the fraction of neuron steps that differ when each run computes its own rates."""
        return float(np.mean(self.reference["spikes"] != self.keras["spikes"]))

    def spike_shift(self) -> int:
        """Return the largest difference between running spike counts; 1 is a shift by one step."""
        height = 1 / self.dt
        counts = np.cumsum((self.reference["spikes"] - self.keras["spikes"]) / height, axis=1)
        return int(np.abs(np.rint(counts)).max())

    def firing_rate(self) -> float:
        """Return the mean firing rate of the spiking layer, in Hz."""
        return float(self.reference["spikes"].mean())


def claims(results: Results) -> list[tuple[str, str, bool]]:
    """Return the claims: text, measured value, and whether it holds."""
    in_keras, in_reference = (results.accuracy(run) for run in (results.keras, results.reference))
    agreement, flipped = results.agreement(), results.spikes_end_to_end()
    neuron_steps = results.keras["spikes"].size
    given_rates, shift = results.spikes_given_rates(), results.spike_shift()
    joules = [
        abs(results.reference_joules[device] / value - 1)
        for device, value in results.keras_joules.items()
    ]
    return [
        ("test accuracy in Keras ≥ 0.93", f"{in_keras:.4f}", in_keras >= 0.93),
        ("test accuracy in kspike_ref ≥ 0.93", f"{in_reference:.4f}", in_reference >= 0.93),
        ("predictions that agree ≥ 99.5 %", f"{agreement:.2%}", agreement >= 0.995),
        (
            "same spikes, given the same rates",
            f"{given_rates} of {neuron_steps:,} differ",
            given_rates == 0,
        ),
        (
            "spikes that differ end to end ≤ 1e-5",
            f"{flipped:.1e} of {neuron_steps:,}",
            flipped <= 1e-5,
        ),
        ("… and by one step at most", f"{shift}", shift <= 1),
        # Both adapters count alike; the rates differ by the spikes that float32 products flip.
        ("energy through both adapters ≤ 1e-5 apart", f"{max(joules):.1e}", max(joules) <= 1e-5),
    ]


def print_report(results: Results) -> tuple[bool, str]:
    """Print the table; return whether every claim in it holds, and the table as text."""
    table = Table(title="Handwritten digits, held out", title_justify="left")
    table.add_column("what")
    table.add_column("found", justify="right")
    table.add_column("holds", justify="center")
    checked = claims(results)
    for claim, found, holds in checked:
        table.add_row(claim, found, "yes" if holds else "[bold red]NO")
    table.add_section()
    for name, run in (("Keras", results.keras), ("kspike_ref", results.reference)):
        microseconds = 1e6 * float(run["seconds_per_image"])
        table.add_row(f"time per image in {name}", f"{microseconds:.1f} µs", "")
    table.add_row("mean firing rate", f"{results.firing_rate():.1f} Hz", "")
    table.add_section()
    for device in ("cpu", "loihi", "spinnaker2"):
        microjoules = 1e6 * results.reference_joules[device]
        table.add_row(f"estimated energy per inference on {device}", f"{microjoules:.3g} µJ", "")
    Console().print(table)
    text = io.StringIO()
    Console(file=text, width=100).print(table)
    return all(holds for _, _, holds in checked), text.getvalue()
