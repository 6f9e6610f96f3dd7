"""Train the digits network, convert it with every converter, and print a table.

Usage: python -m benchmarks.converters [--epochs N] [--write PAGE.md]
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

from benchmarks.converters import kspike_tf
from benchmarks.environments import ENVIRONMENTS, build

HERE = pathlib.Path(__file__).parent
TIMESTEPS = (5, 10, 20, 40, 60, 100)
PEERS = {
    "spiking_jelly": ("torch", "SpikingJelly"),
    "snn_toolbox": ("snn-toolbox", "SNN Toolbox"),
}
SECONDS = 1800
START, END = "<!-- converters: begin -->", "<!-- converters: end -->"


def ask(worker: str, data: pathlib.Path) -> dict[str, Any]:
    """Run a worker in its environment; return its points by setting.

    A worker reads the weights and images in ``data`` and writes a line of JSON: for every setting,
    number of steps, accuracy, and spikes per image. If it fails, its last error line is returned.
    """
    environment = ENVIRONMENTS[PEERS[worker][0]]
    failures = build(environment)
    if not environment.ready:
        return {"error": f"not installed: {failures}"}
    command = [str(environment.interpreter), str(HERE / f"{worker}.py"), str(data)]
    command += [str(steps) for steps in TIMESTEPS]
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, check=False, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return {"error": f"took more than {SECONDS} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        return {"error": (done.stderr.strip().splitlines() or ["no answer"])[-1][:200]}
    return dict(json.loads(lines[-1]))


def table(found: dict[str, Any], ordinary: float) -> str:
    """Return accuracy and spikes per image by converter and number of steps, in Markdown."""
    head = ["converter", "setting", *(f"{steps} steps" for steps in TIMESTEPS)]
    lines = [head, ["--"] * 2 + ["--:"] * len(TIMESTEPS)]
    for name, settings in found.items():
        if "error" in settings:
            lines.append([name, settings["error"], *[""] * len(TIMESTEPS)])
            continue
        for setting, points in settings.items():
            cells = [f"{score:.1%}, {spikes:,.0f}" for _, score, spikes in points]
            lines.append([name, setting, *cells])
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return (
        "Accuracy on 450 digits that were held out, and spikes per image. "
        f"The ordinary network has {ordinary:.1%}.\n\n{text}\n"
    )


def main() -> None:
    """Run all converters and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--write", type=pathlib.Path, help="page to put the table into")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder) / "network.npz"
        model, ordinary = kspike_tf.trained(data, arguments.epochs)
        found = {"kspike": kspike_tf.points(model, np.load(data), TIMESTEPS)}
        for worker, (_, title) in PEERS.items():
            found[title] = ask(worker, data)
            sys.stderr.write(f"{title}: {json.dumps(found[title])[:400]}\n")
    text = table(found, ordinary)
    sys.stdout.write(text)
    if arguments.write is not None:
        before, rest = arguments.write.read_text(encoding="utf-8").split(START)
        page = f"{before}{START}\n{text}{END}{rest.split(END)[1]}"
        arguments.write.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
