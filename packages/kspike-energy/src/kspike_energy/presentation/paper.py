"""Tables of estimates for papers: Markdown and LaTeX, with units and notes."""

import math
from collections.abc import Sequence

from kspike_energy.devices import Device
from kspike_energy.estimate import Estimate
from kspike_energy.presentation.summary import notes

__all__ = ["latex_table", "markdown_table", "si"]

_PREFIXES = {0: "", -3: "m", -6: "µ", -9: "n", -12: "p", -15: "f", 3: "k"}


def si(value: float, unit: str = "J", digits: int = 3) -> str:
    """Return a quantity with an SI prefix and three significant digits.

    Examples
    --------
    >>> si(4.8e-5), si(0.0), si(1234.5)
    ('48 µJ', '0 J', '1.23 kJ')
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}"
    rounded = float(f"{value:.{digits - 1}e}")
    power = 3 * math.floor(math.log10(abs(rounded)) / 3)
    if power not in _PREFIXES:
        return f"{rounded:.{digits}g} {unit}"
    scaled = float(f"{rounded / 10.0**power:.{digits}g}")
    return f"{scaled:g} {_PREFIXES[power]}{unit}"


def _rows(estimate: Estimate, devices: Sequence[Device]) -> list[list[str]]:
    """Return header, layers and total as cells."""
    rows = [["Layer", "Type", "Connections", "Updates", *(device.name for device in devices)]]
    for layer in estimate.network.layers:
        cells = [layer.name, layer.type_name]
        if layer.problem:
            cells += ["?"] * (2 + len(devices))
        else:
            cells += [f"{layer.connections:,}", f"{layer.neurons:,}"]
            cells += [si(sum(estimate.layer(layer, device))) for device in devices]
        rows.append(cells)
    network = estimate.network
    totals = [si(estimate.total(device)) for device in devices]
    rows.append(["Total", "", f"{network.connections:,}", f"{network.neurons:,}", *totals])
    return rows


def markdown_table(estimate: Estimate, devices: Sequence[Device]) -> str:
    """Return an estimate as a Markdown table with notes; names are shown as they are."""
    cells = [[_markdown(cell) for cell in row] for row in _rows(estimate, devices)]
    rule = ["---", "---", *["---:"] * (2 + len(devices))]
    lines = [f"| {' | '.join(row)} |" for row in (cells[0], rule, *cells[1:])]
    return "\n".join([*lines, "", *(f"- {_markdown(note)}" for note in notes(estimate, devices))])


def _markdown(text: str) -> str:
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return text


def latex_table(estimate: Estimate, devices: Sequence[Device]) -> str:
    """Return an estimate as a LaTeX table (``booktabs``), with notes in the caption."""
    cells = [" & ".join(map(_latex, row)) + r" \\" for row in _rows(estimate, devices)]
    caption = " ".join(map(_latex, notes(estimate, devices)))
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{Estimated energy per inference of {_latex(estimate.network.name)}. "
            rf"{caption}}}",
            rf"\begin{{tabular}}{{ll{'r' * (2 + len(devices))}}}",
            r"\toprule",
            cells[0],
            r"\midrule",
            *cells[1:-1],
            r"\midrule",
            cells[-1],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "µ": r"\textmu{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
