"""Tables of estimates for papers: Markdown and LaTeX, with units and notes."""

from collections.abc import Sequence

from kspike_energy.devices import Device
from kspike_energy.estimate import Estimate
from kspike_energy.presentation.notes import notes
from kspike_energy.presentation.tables import latex_text, one_line
from kspike_energy.presentation.units import si

__all__ = ["latex_table", "markdown_table"]


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
    """Return an estimate as a Markdown table with notes, with all text escaped."""
    cells = [[_markdown(cell) for cell in row] for row in _rows(estimate, devices)]
    rule = ["---", "---", *["---:"] * (2 + len(devices))]
    lines = [f"| {' | '.join(row)} |" for row in (cells[0], rule, *cells[1:])]
    return "\n".join([*lines, "", *(f"- {_markdown(note)}" for note in notes(estimate, devices))])


def _markdown(text: str) -> str:
    text = one_line(text)
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return text


def latex_table(estimate: Estimate, devices: Sequence[Device]) -> str:
    """Return an estimate as a LaTeX table (``booktabs``), with notes in the caption."""
    cells = [" & ".join(map(latex_text, row)) + r" \\" for row in _rows(estimate, devices)]
    caption = " ".join(map(latex_text, notes(estimate, devices)))
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{Estimated energy per inference of {latex_text(estimate.network.name)}. "
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
