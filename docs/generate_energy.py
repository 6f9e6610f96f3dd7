"""Tables of guides/energy.md: run this after a change of devices, rules or counts.

``python docs/generate_energy.py`` rewrites the text between the markers of the guide;
``--check`` only tells whether it is up to date.
"""

import argparse
import re
import sys
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import mean, median

from kspike_energy import Layer, ModelEnergy, Network
from kspike_energy.counting.rules import RULES
from kspike_energy.devices.fit import Measurement
from kspike_energy.devices.fit import fit as fit_measurements
from kspike_energy.devices.measured import keyword_spotter_measurements, measured_devices
from kspike_energy.devices.overhead import Workload, quantile
from kspike_energy.presentation.units import si
from kspike_energy.quantised import quantised_rival
from kspike_energy.registry import DEVICES

# The parts of a device's source, with the words that join them.
LINKS = re.compile(
    r"(; (?:lower figure: |formulas: |energies: )?)"
    r"((?:(?!; (?:lower figure|formulas|energies): ).)+)"
)

GUIDE = Path(__file__).parent / "guides" / "energy.md"

# Blouw et al., "Benchmarking keyword spotting efficiency on neuromorphic hardware",
# arXiv 1812.01739: joules per inference, from dynamic power and inferences per second.
MEASURED = [
    ("GPU", 0.0298, "gpu", "quadro-k4000"),
    ("CPU", 0.0063, "cpu", "xeon-e5-2630"),
    ("Jetson TX1", 0.0056, None, "jetson-tx1"),
    ("Movidius", 0.0015, None, "movidius-ncs"),
    ("Loihi", 0.00027, "loihi", "loihi-measured-fast"),
]
SIZES = (390, 256, 256, 29)
LOIHI_STEPS = 10
REPETITIONS = "the same, repeated runs of Loihi as one"

PUBLISHED = [
    ("MobileNetV2", 300e6, "Sandler et al., CVPR 2018, table 4"),
    ("MobileNetV3Small", 56e6, "Howard et al., ICCV 2019 (arXiv 1905.02244v5), table 3"),
    ("MobileNetV3Large", 219e6, "Howard et al., ICCV 2019 (arXiv 1905.02244v5), table 3"),
    ("ResNet50", 3.8e9, "He et al., CVPR 2016, table 1"),
    ("EfficientNetB0", 0.39e9, "Tan and Le, ICML 2019, table 2"),
    ("ConvNeXtTiny", 4.5e9, "Liu et al., CVPR 2022, table 1"),
]


def table(headers: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def keyword_spotter() -> ModelEnergy:
    """Return the network of Blouw et al., with a spike of every unit at every step."""
    layers = [
        Layer(f"dense {n}", connections=a * b, neurons=b, rate=1 / 0.001)
        for n, (a, b) in enumerate(pairwise(SIZES), start=1)
    ]
    return ModelEnergy(Network(layers))


def validation() -> str:
    """Return measurements beside estimates from operations alone, and with overhead."""
    energy = keyword_spotter()
    rows = []
    for hardware, joules, device, fitted in MEASURED:
        operations = "no such device"
        if device is not None:
            steps = LOIHI_STEPS if DEVICES[device].spiking else 1
            estimate = energy.total_energy(device, steps)
            note = f", {steps} steps with a spike of every unit (assumed)" if steps > 1 else ""
            operations = f"{estimate:.2g} (`{device}`{note}): {joules / estimate:.3g} times too low"
        overhead = energy.total_energy(fitted)
        factor = max(overhead / joules, joules / overhead)
        rows.append(
            [
                hardware,
                f"{joules:.2g}",
                operations,
                f"{overhead:.2g} (`{fitted}`): factor {factor:.3g}",
            ]
        )
    headers = ["measured on", "measured [J]", "operations only [J]", "with overhead [J]"]
    return table(headers, rows)


def with_memory() -> str:
    """Return the estimates with memory of the keyword spotter, beside the lowest measurements."""
    energy = keyword_spotter()
    ordinary = energy.total_energy("45nm-int32-sram")
    spiking = energy.total_energy("45nm-int32-sram-spiking", LOIHI_STEPS)
    measured = {hardware: joules for hardware, joules, *_ in MEASURED}
    return (
        f"For the keyword spotter of the first table it gives {si(ordinary)}, "
        f"{measured['Movidius'] / ordinary:.3g} times below the measurement on the Movidius, and "
        f"{si(spiking)} for {LOIHI_STEPS} steps with a spike of every unit, "
        f"{measured['Loihi'] / spiking:.3g} times below that on Loihi."
    )


def without_repetitions() -> list[float]:
    """Return the factors of `loihi-measured` with the mean of repeated runs as one measurement."""
    runs: dict[Workload, list[float]] = {}
    for measurement in keyword_spotter_measurements("loihi", "loihi_I08O08"):
        runs.setdefault(measurement.workload, []).append(measurement.joules)
    means = [Measurement(workload, mean(joules)) for workload, joules in runs.items()]
    return list(fit_measurements("loihi", means).fit.factors)


def left_out() -> str:
    """Return how well fitted devices predict the measurements that their fit leaves out."""
    rows = []
    everything: dict[str, list[float]] = {}
    for device in measured_devices():
        fit = device.fit
        everything.setdefault(f"all {fit.family}", []).extend(fit.factors)
        if not device.spiking and fit.kinds:  # a keyword spotter; boards state no types of layers
            everything.setdefault(REPETITIONS, []).extend(fit.factors)
            everything.setdefault("the same without Loihi", []).extend(fit.factors)
        rows.append(
            [
                f"`{device.name}`",
                *(f"{value:.3g}" for value in (device.energy_per_call, device.energy_per_kernel)),
                f"{device.energy_per_op:.3g}",
                str(fit.points),
                *(f"{value:.3g}" for value in (fit.median, fit.within, fit.worst)),
            ]
        )
    everything[REPETITIONS].extend(without_repetitions())
    for family, factors in everything.items():
        numbers = (median(factors), quantile(factors, 0.9), max(factors))
        rows.append(
            [f"**{family}**", "", "", "", str(len(factors)), *(f"{n:.3g}" for n in numbers)]
        )
    headers = ["device", "J/call", "J/kernel", "J/operation", "points", "median", "90%", "worst"]
    return table(headers, rows)


def short(source: str) -> str:
    """Return the first author and the year of a citation."""
    author = re.match(r"[^,' ]+", source)
    years = re.findall(r"\b(?:19|20)\d\d\b(?!\.\d)", source)  # no number of arXiv
    if author is None or not years:
        raise ValueError(f"source must name an author and a year. Received: {source!r}")
    return f"{author[0]} {years[-1]}"


def devices() -> str:
    """Return the devices with short references, and the bibliography."""
    rows = []
    sources: dict[str, int] = {}

    def reference(source: str) -> str:
        number = sources.setdefault(source, len(sources) + 1)
        return f"{short(source)} [{number}]"

    for device in DEVICES.values():
        if device.fit is not None:
            continue  # in a table of their own
        low, high = device.synop_low_high
        neuron = device.energy_per_neuron
        rows.append(
            [
                f"`{device.name}`",
                "yes" if device.spiking else "no",
                f"{device.energy_per_synop:.3g}",
                "" if low == high else f"{low:.3g} to {high:.3g}",
                "not published" if neuron is None else f"{neuron:.3g}",
                device.description,
                LINKS.sub(
                    lambda part: part[1] + reference(part[2]), f"; {device.source}"
                ).removeprefix("; "),
            ]
        )
    headers = ["device", "spiking", "J/synop", "published range", "J/neuron", "what", "source"]
    listed = [f"{number}. {source}" for source, number in sources.items()]
    return table(headers, rows) + "\n\nSources:\n\n" + "\n".join(listed)


def quantised() -> str:
    """Return break-even rates with the quantised rival, beside published ones."""
    rows = []
    for steps, bits, published in (
        (1, 8, "29.7%"),
        (2, 4, "10.4%"),
        (2, 8, "12.3%"),
        (3, 8, "8.2%"),
        (5, 4, "5.7%; 3.41 to 10.80%"),
        (10, 8, ""),
        (15, 8, ""),
    ):
        rival = quantised_rival(steps, bits)
        rows.append(
            [
                str(steps),
                str(bits),
                str(rival.bits),
                f"{100 * rival.spikes:.1f}%",
                f"{100 * rival.low:.1f} to {100 * rival.high:.1f}%",
                published,
            ]
        )
    headers = ["steps", "bits of weights", "bits of activations", "break-even"]
    return table([*headers, "if one assumption is off by half", "published"], rows)


def conventions() -> str:
    """Return the convention of each rule, from its docstring."""
    by_rule: dict[Callable[..., object], list[str]] = {}
    for kind, rule in RULES.items():
        by_rule.setdefault(rule, []).append(kind)
    rows = []
    for rule, kinds in sorted(by_rule.items(), key=lambda item: min(item[1])):
        text = " ".join((rule.__doc__ or "").split("\n\n")[0].split())
        names = ", ".join(f"`{kind.replace('ops>', 'ops.')}`" for kind in sorted(kinds))
        rows.append([names, text])
    return table(["layers and operations", "what is counted"], rows)


def published() -> str:
    """Return counts of whole models beside published ones."""
    import keras

    rows = []
    for name, wanted, source in PUBLISHED:
        model = getattr(keras.applications, name)(weights=None)
        energy = ModelEnergy(model, padding="counted", input_shape=(None, 224, 224, 3))
        layers = energy.network.layers
        kinds = ("Conv2D", "DepthwiseConv2D", "Dense")
        counted = sum(layer.connections for layer in layers if layer.type_name in kinds)
        real = ModelEnergy(model, input_shape=(None, 224, 224, 3)).network.connections
        rows.append([name, f"{wanted:.3g}", f"{counted:,}", f"{real:,}", source])
    headers = [
        "model",
        "published",
        "counted the same way",
        "all layers, without padding",
        "source",
    ]
    return table(headers, rows)


def differences() -> str:
    """Return counts of single layers in both conventions."""
    import keras

    import kspike_tf

    layers = keras.layers
    image, series = (12, 12, 4), (None, 8)
    examples = [
        ("`Conv2D(6, 3)`", layers.Conv2D(6, 3), [image]),
        ('`Conv2D(6, 3, padding="same")`', layers.Conv2D(6, 3, padding="same"), [image]),
        ("`Conv2DTranspose(6, 3, strides=2)`", layers.Conv2DTranspose(6, 3, strides=2), [image]),
        ("`DepthwiseConv2D(3)`", layers.DepthwiseConv2D(3), [image]),
        ("`SeparableConv2D(6, 3)`", layers.SeparableConv2D(6, 3), [image]),
        ("`MaxPooling2D()`", layers.MaxPooling2D(), [image]),
        ("`AveragePooling2D(2)`", layers.AveragePooling2D(2), [image]),
        ("`GlobalAveragePooling2D()`", layers.GlobalAveragePooling2D(), [image]),
        ("`UpSampling2D()`", layers.UpSampling2D(), [image]),
        ("`Add()`", layers.Add(), [image, image]),
        ("`Multiply()`", layers.Multiply(), [image, image]),
        ("`LayerNormalization()`", layers.LayerNormalization(), [image]),
        ("`PReLU()`", layers.PReLU(), [image]),
        ("`Softmax()`", layers.Softmax(), [(10,)]),
        ("`Dense(4)`, no time", layers.Dense(4), [(5, 8)]),
        ("`LSTM(4)`", layers.LSTM(4), [series]),
        ("`Embedding(9, 4)`", layers.Embedding(9, 4), [(5,)]),
        ("`MultiHeadAttention(2, 3)`", layers.MultiHeadAttention(2, 3), [(5, 8), (5, 8)]),
        ("`Lowpass(0.1)`", kspike_tf.Lowpass(0.1), [series]),
        ("`Alpha(0.1)`", kspike_tf.Alpha(0.1), [series]),
    ]
    rows = []
    for text, layer, shapes in examples:
        inputs = [keras.Input(shape) for shape in shapes]
        attends = isinstance(layer, layers.MultiHeadAttention)
        given = inputs[0] if len(inputs) == 1 else inputs
        model = keras.Model(inputs, layer(*inputs) if attends else layer(given))
        counts = []
        for convention in ("kspike", "keras-spiking"):
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*KerasSpiking does not know")
                network = ModelEnergy(model, convention=convention).network
            counts.append((network.connections, network.neurons))
        (mine, my_neurons), (theirs, their_neurons) = counts
        numbers = (mine, theirs, my_neurons, their_neurons)
        rows.append([text, f"`{shapes[0]}`", *(f"{number:,}" for number in numbers)])
    headers = [
        "layer",
        "input",
        "connections here",
        "KerasSpiking",
        "unit updates here",
        "KerasSpiking",
    ]
    return table(headers, rows)


GENERATED = {
    "validation": validation,
    "left_out": left_out,
    "devices": devices,
    "quantised": quantised,
    "with_memory": with_memory,
    "conventions": conventions,
    "published": published,
    "differences": differences,
}


def render(text: str) -> str:
    """Return the guide with its tables generated anew."""
    for name, generate in GENERATED.items():
        pattern = rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)"
        content = generate().replace("\\", r"\\") + "\n"
        text, found = re.subn(pattern, rf"\g<1>{content}\g<2>", text, flags=re.DOTALL)
        if found != 1:
            raise ValueError(f"the guide must have one place for the table {name!r}, not {found}")
    return text


def main(arguments: list[str] | None = None) -> int:
    """Rewrite the guide, or check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only tell whether it is up to date")
    check = parser.parse_args(arguments).check
    old = GUIDE.read_text()
    new = render(old)
    if check:
        print("up to date" if new == old else "out of date: run python docs/generate_energy.py")
        return int(new != old)
    GUIDE.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
