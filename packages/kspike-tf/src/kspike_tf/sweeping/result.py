"""The result of a sweep: operating points, as records, a table and a figure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kspike_energy.presentation import look
from kspike_energy.presentation.units import plural
from kspike_tf.conversion.report import aligned
from kspike_tf.describing import as_html

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_MARKERS = "osD^vPX"


@dataclasses.dataclass(frozen=True)
class Point:
    """An operating point of a spiking model.

    Attributes
    ----------
    dt : float
        Length of a time step in seconds.
    scale : float
        Factor of firing rates.
    timesteps : int
        Number of steps for which an example is shown.
    score : float
        Value of the metric; higher is better.
    spikes : float
        Mean number of spikes of all neurons for one example.
    rate : float
        Mean firing rate of all neurons in Hz.
    rates : dict of str to float
        Mean firing rate in Hz by spiking layer.
    energy : dict of str to float
        Joules per example by device.
    """

    dt: float
    scale: float
    timesteps: int
    score: float
    spikes: float
    rate: float
    rates: dict[str, float]
    energy: dict[str, float]

    @property
    def latency(self) -> float:
        """Seconds from the beginning of an example to its answer."""
        return self.timesteps * self.dt


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Operating points of a spiking model; prints as a table.

    Attributes
    ----------
    points : tuple of Point
        All points, by time step, scale and number of steps.
    metric : str
        Name of the metric.
    devices : tuple of str
        Names of the devices.
    """

    points: tuple[Point, ...]
    metric: str
    devices: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[Point]:
        return iter(self.points)

    def to_records(self) -> list[dict[str, Any]]:
        """Return a flat dictionary for each point, with units in the names."""
        return [
            {
                "dt_s": p.dt,
                "scale": p.scale,
                "timesteps": p.timesteps,
                "latency_s": p.latency,
                self.metric: p.score,
                "spikes": p.spikes,
                "rate_hz": p.rate,
                **{f"energy_{name}_j": p.energy[name] for name in self.devices},
                **{f"rate_{name}_hz": rate for name, rate in p.rates.items()},
            }
            for p in self.points
        ]

    def to_frame(self) -> pd.DataFrame:
        """Return a ``pandas.DataFrame`` of `to_records`; this needs pandas."""
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("to_frame needs pandas: pip install 'kspike-tf[frames]'") from error
        return pd.DataFrame(self.to_records())

    def pareto(self, device: str | None = None) -> tuple[Point, ...]:
        """Return the points that no other point beats, in ascending order of energy.

        A point is beaten by one that needs no more energy, scores no less, and is better in at
        least one of the two.

        Parameters
        ----------
        device : str, optional
            The device whose energy counts: the first one by default.

        Raises
        ------
        ValueError
            If the sweep has no such device.
        """
        name = self._device(device)
        best, front = -float("inf"), []
        for point in sorted(self.points, key=lambda p: (p.energy[name], -p.score)):
            if point.score > best:
                best = point.score
                front.append(point)
        return tuple(front)

    def plot(self, device: str | None = None, axes: Axes | None = None) -> Axes:
        """Draw the metric against energy, with a line through the Pareto front.

        Parameters
        ----------
        device : str, optional
            The device whose energy counts: the first one by default.
        axes : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes
            The axes; ``axes.figure.savefig(path)`` saves them.
        """
        name = self._device(device)
        if axes is None:
            axes = look.new_axes(3.4, "kspike-tf[plot]")
        kinds = sorted({(p.dt, p.scale) for p in self.points})
        for number, (dt, scale) in enumerate(kinds):
            own = [p for p in self.points if (p.dt, p.scale) == (dt, scale)]
            label = f"dt {dt * 1000:g} ms" + ("" if scale == 1 else f", {scale:g}-fold rates")
            axes.plot(
                [p.energy[name] for p in own], [p.score for p in own],
                _MARKERS[number % len(_MARKERS)], color=look.COLORS[number % len(look.COLORS)],
                label=label,
            )  # fmt: skip
        front = self.pareto(name)
        axes.plot([p.energy[name] for p in front], [p.score for p in front], "-", color=look.GREY,
                  lw=1, zorder=1, label="Pareto front")  # fmt: skip
        for point in front:
            axes.annotate(
                f"{point.timesteps}", (point.energy[name], point.score), (5, -11),
                textcoords="offset points", fontsize=9, color=look.GREY,
            )  # fmt: skip
        axes.set(xscale="log", ylabel=self.metric)
        axes.margins(0.12)  # room for the numbers
        axes.set_xlabel(f"energy per example on {name} (J); numbers: time steps")
        look.write_energies(axes)
        axes.grid(color=look.GRID, linewidth=0.8)
        look.legend_above(axes)
        return axes

    def _device(self, device: str | None) -> str:
        if not self.devices or (device is not None and device not in self.devices):
            raise ValueError(
                f"device must be one of the sweep's: {', '.join(self.devices) or 'none'}. "
                f"Received: device={device!r}"
            )
        return device or self.devices[0]

    def _rows(self) -> list[tuple[str, ...]]:
        head = ("dt", "scale", "steps", "latency", self.metric, "spikes", "rate", *self.devices)
        return [
            head,
            *(
                (
                    f"{p.dt * 1000:g} ms", f"{p.scale:g}", f"{p.timesteps}",
                    f"{p.latency * 1000:g} ms", f"{p.score:.4g}", f"{p.spikes:.0f}",
                    f"{p.rate:.1f} Hz", *(f"{p.energy[name]:.2e} J" for name in self.devices),
                )
                for p in self.points
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return "\n".join(aligned(self._rows()))

    def __repr__(self) -> str:
        points = plural(len(self), "point")
        return f"<Sweep of {points}: {self.metric}, {', '.join(self.devices) or 'none'}>"

    def _repr_html_(self) -> str:
        return as_html(self._rows(), f"{self.metric} at {len(self)} operating points")
