"""Break-even of a spiking network with a quantised ordinary network of equal information.

A rate code of T steps distinguishes T + 1 values, as ⌈log2(T + 1)⌉ bits do (Yan, Bai, Tang, Wong,
"Reconsidering the energy efficiency of spiking neural networks inference from analytical
perspectives", arXiv 2409.08290, theorem 1). Both networks have the same weights. With s spikes
per input and step, an inference needs per connection:

    quantised, b bits    b · move + read + multiply
    spiking, by events   T · s · (move_event + read + add)
    spiking, by frames   T · (move + read + s · add)

The spiking network uses the cheaper of its two dataflows. It breaks even at the largest s at
which it needs no more than the quantised network.
"""

from dataclasses import dataclass, fields, replace

from kspike_energy.checks import check_count

__all__ = ["SOURCE", "Costs", "QuantisedRival", "quantised_rival"]

SOURCE = "Yan et al., arXiv 2409.08290"

_SPREAD = 0.5  # the paper varies each assumption by half


@dataclass(frozen=True)
class Costs:
    """Energies of the parts of a connection in 22 nm, in joules.

    The paper states the energies of moving data and of additions for its "typical neuromorphic"
    hardware. The energies of reading weights and of multiplications are inferred: with them, the
    formulas above give the paper's own break-even rates and sensitivities within 0.6 %.

    Parameters
    ----------
    move_event : float
        Moving one spike; normalised from Loihi's energy per routed event.
    move : float
        Moving one bit of an activation in a dense dataflow.
    read : float
        Reading one bit of a weight; inferred.
    add : float
        One addition.
    multiply : float
        One multiply-add, weighted by the fraction of nonzero activations; inferred.
    """

    move_event: float = 3.0e-12
    move: float = 0.25e-12
    read: float = 0.0388e-12
    add: float = 0.05448e-12
    multiply: float = 0.0162e-12

    def break_even(self, timesteps: int, weight_bits: int) -> float:
        """Return the spikes per input and step at which both networks need the same energy."""
        read = self.read * weight_bits
        quantised = activation_bits(timesteps) * self.move + read + self.multiply
        by_events = quantised / (timesteps * (self.move_event + read + self.add))
        by_frames = (quantised - timesteps * (self.move + read)) / (timesteps * self.add)
        return max(by_events, by_frames)


_NAMES = {
    "move_event": "moving a spike",
    "move": "moving an activation",
    "read": "reading a weight",
    "add": "an addition",
    "multiply": "a multiply-add",
}


@dataclass(frozen=True)
class QuantisedRival:
    """A quantised ordinary network of equal information, and the break-even with it.

    Parameters
    ----------
    bits : int
        Bits of its activations: ⌈log2(T + 1)⌉ for T steps.
    weight_bits : int
        Weight bits of both networks.
    spikes : float
        Spikes per input and step below which the spiking network needs less.
    sensitivity : tuple of (str, float, float)
        For every assumption, its name, and ``spikes`` if the assumption is 0.5 and 1.5 times as
        large.
    """

    bits: int
    weight_bits: int
    spikes: float
    sensitivity: tuple[tuple[str, float, float], ...]

    @property
    def low(self) -> float:
        """Lowest break-even if one assumption is off by half."""
        return min(min(pair) for _, *pair in self.sensitivity)

    @property
    def high(self) -> float:
        """Highest break-even if one assumption is off by half."""
        return max(max(pair) for _, *pair in self.sensitivity)

    def verdict(self, spikes: float | None) -> str:
        """Return whether spikes per input and step beat it: "yes", "no", "close", or "?"."""
        if spikes is None:
            return "?"
        if self.low <= spikes <= self.high:
            return "close"
        return "yes" if spikes < self.low else "no"


def activation_bits(timesteps: int) -> int:
    """Return the number of bits that carry as much information as a rate code of T steps.

    Examples
    --------
    >>> [activation_bits(steps) for steps in (1, 3, 4, 7, 8)]
    [1, 2, 3, 3, 4]
    """
    return timesteps.bit_length()  # ⌈log2(T + 1)⌉, exact for any T


def quantised_rival(timesteps: int, weight_bits: int) -> QuantisedRival:
    """Return the quantised network that a spiking network of T steps must beat.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a positive whole number.

    Examples
    --------
    >>> rival = quantised_rival(5, weight_bits=4)
    >>> f"{rival.spikes:.1%}, {rival.low:.1%} to {rival.high:.1%}"
    '5.7%, 3.4% to 10.8%'
    """
    check_count("timesteps", timesteps)
    check_count("weight_bits", weight_bits)
    costs = Costs()

    def changed(name: str, factor: float) -> float:
        other = replace(costs, **{name: getattr(costs, name) * factor})
        return other.break_even(timesteps, weight_bits)

    sensitivity = tuple(
        (_NAMES[field.name], changed(field.name, 1 - _SPREAD), changed(field.name, 1 + _SPREAD))
        for field in fields(costs)
    )
    return QuantisedRival(
        activation_bits(timesteps),
        weight_bits,
        costs.break_even(timesteps, weight_bits),
        sensitivity,
    )
