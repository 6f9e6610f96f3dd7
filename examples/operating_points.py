"""Print accuracy, rates, spikes and energy of a converted network for 5 to 100 time steps.

A convolutional network learns scikit-learn's handwritten digits, or MNIST or Fashion-MNIST from
the four IDX files in a folder. `kspike_tf.convert` converts it to a spiking network, and
`kspike_tf.sweep` runs that in kspike_ref.

Usage: python examples/operating_points.py [--data FOLDER] [--max-rate HZ] [--write PAGE] ...
"""

import argparse
import pathlib
import sys
from typing import Any

import keras

import kspike_tf

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # needed when this is run as a module

import convert_digits
import idx

DEVICES = ("loihi", "spinnaker2", "cpu", "gpu")
TIMESTEPS = (5, 10, 20, 30, 40, 60, 80, 100)


def table(found: kspike_tf.Sweep, ordinary: float) -> str:
    """Return the points of a sweep as a Markdown table."""
    head = ["steps", "accuracy", "mean rate", "spikes per image", *DEVICES]
    lines = [head, ["--:"] * len(head)]
    lines += [
        [
            f"{p.timesteps}",
            f"{p.score:.2%}",
            f"{p.rate:.1f} Hz",
            f"{p.spikes:,.0f}",
            *(_joules(p.energy[name]) for name in DEVICES),
        ]
        for p in found
    ]
    lines.append(["ordinary", f"{ordinary:.2%}", "", "", "", ""])
    lines[-1] += [_joules(found.points[0].energy[name]) for name in DEVICES[2:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _joules(energy: float) -> str:
    rounded = float(f"{energy * 1e6:.3g}")
    return f"{rounded:,.0f} µJ" if rounded >= 100 else f"{rounded:g} µJ"


def measured(arguments: argparse.Namespace) -> tuple[kspike_tf.Sweep, float]:
    """Train, convert and sweep; return the points and the accuracy without spikes."""
    keras.utils.set_random_seed(convert_digits.SEED)
    data: Any = convert_digits.load() if arguments.data is None else idx.load_images(arguments.data)
    model = convert_digits.ordinary_model(data.images.shape[1:])
    convert_digits.train(model, data, arguments.epochs)
    held_out, labels = (each[: arguments.examples] for each in data[2:4])
    ordinary = convert_digits.accuracy(model.predict(held_out, verbose=0), labels)
    conversion = kspike_tf.convert(
        model,
        calibration_data=data.images[:500],
        max_rate=arguments.max_rate,
        synapse=arguments.synapse,
        timesteps=max(arguments.timesteps),
    )
    found = kspike_tf.sweep(
        convert_digits.in_reference(conversion.model),
        held_out,
        labels,
        timesteps=arguments.timesteps,
        devices=DEVICES,
        progress=sys.stderr.isatty(),
    )
    return found, ordinary


def write(page: pathlib.Path, name: str, text: str) -> None:
    """Write a table between the two marks in a page that have its name."""
    start, end = (f"<!-- {name}: {word} -->" for word in ("begin", "end"))
    before, rest = page.read_text(encoding="utf-8").split(start)
    after = rest.split(end)[1]
    page.write_text(f"{before}{start}\n{text}\n{end}{after}", encoding="utf-8")


def main(given: list[str] | None = None) -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, help="folder with the IDX files of MNIST")
    parser.add_argument("--epochs", type=int, help="30 for the digits, 3 for other data")
    parser.add_argument("--examples", type=int, default=1000, help="images to test with, at most")
    parser.add_argument("--max-rate", type=float, default=convert_digits.MAX_RATE, help="in Hz")
    parser.add_argument("--synapse", type=float, default=0.01, help="time constant in seconds")
    parser.add_argument("--timesteps", type=int, nargs="+", default=list(TIMESTEPS))
    parser.add_argument("--write", type=pathlib.Path, help="page to put the table into")
    parser.add_argument("--name", default="operating points", help="of the marks in that page")
    arguments = parser.parse_args(given)
    arguments.epochs = arguments.epochs or (30 if arguments.data is None else 3)
    text = table(*measured(arguments))
    sys.stdout.write(f"{text}\n")
    if arguments.write is not None:
        write(arguments.write, arguments.name, text)


if __name__ == "__main__":
    main()
