"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ModelFile = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A .keras or .h5 file that Keras saved.")
]
InputFiles = Annotated[
    list[str],
    typer.Argument(
        metavar="X",
        help=(
            "The inputs: .npy, .npz, .csv or images. One file for each input of the model, several "
            "images, or one .npz file; FILE.npz:NAME for one of its arrays."
        ),
    ),
]
Timesteps = Annotated[
    int | None,
    typer.Option(
        "--timesteps", "-t", min=1, help="Show inputs without a time axis for this many steps."
    ),
]
DivideBy = Annotated[
    float | None,
    typer.Option("--divide-by", help="Divide the inputs by this number: 255 for pixels of 0 to 1."),
]
TimeStep = Annotated[
    float | None,
    typer.Option("--dt", help="Seconds per step; replaces the saved time step."),
]
RateScale = Annotated[
    float | None,
    typer.Option(
        "--rate-scale", help="Multiply firing rates by this; spikes shrink by the same factor."
    ),
]
BatchSize = Annotated[
    int | None, typer.Option("--batch-size", "-b", min=1, help="Examples to run at once.")
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="How many threads (default: all cores).")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
