"""The application with all commands, and its error messages."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated

import typer

from kspike_ref.cli import benching, energies, figures, inspecting, running
from kspike_ref.layers.errors import UnsupportedLayerError
from kspike_ref.saved.archive import ArchiveError
from kspike_ref.saved.text import printable

_FAILURES = (
    OSError, ValueError, TypeError, MemoryError, ImportError, ArchiveError, UnsupportedLayerError,
)  # fmt: skip

app = typer.Typer(
    name="kspike",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Boxes and colours are for terminals; a pipe gets plain lines.
    rich_markup_mode="rich" if sys.stdout.isatty() and sys.stderr.isatty() else None,
)
app.command("info")(inspecting.info)
app.command("run")(running.run)
app.command("activity")(running.activity)
plot = typer.Typer(help="Draw spikes, firing rates or voltages.", no_args_is_help=True)
plot.command("raster")(figures.raster)
plot.command("rates")(figures.rates)
plot.command("voltage")(figures.voltage)
app.add_typer(plot, name="plot")
app.command("energy")(energies.energy)
app.command("bench")(benching.bench)
app.command("warm-up")(inspecting.warm_up)
app.command("doctor")(inspecting.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kspike {inspecting.package_version('kspike-ref')}")
        raise typer.Exit


@app.callback()
def callback(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version."),
    ] = False,
) -> None:
    """Run trained spiking networks on a CPU, look into them, and estimate their energy."""


def run() -> None:
    """Run a command and exit: 0 for success, 1 for a failure, 2 for wrong use."""
    warnings.formatwarning = lambda message, *_, **__: f"kspike: warning: {_lines(message)}\n"
    try:
        app(prog_name="kspike")
        sys.stdout.flush()
    except BrokenPipeError:  # as in `kspike info model.keras | head -1`
        sys.stdout = None  # type: ignore[assignment]  # or Python complains while it shuts down
        raise SystemExit(1) from None
    except _FAILURES as error:
        sys.stderr.write(f"kspike: {_lines(message_of(error))}\n")
        raise SystemExit(1) from None


def _lines(text: object) -> str:
    """Return text without terminal escape sequences, which names in files may hold."""
    return "\n".join(map(printable, str(text).split("\n")))


def message_of(error: BaseException) -> str:
    """Return the message for an error: the file, if there is one, and the reason."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    text = str(error) or type(error).__name__
    return text.replace("pass timesteps=N", "pass --timesteps N")  # the option's name here
