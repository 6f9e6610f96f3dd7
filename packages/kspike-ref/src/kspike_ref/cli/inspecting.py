"""The commands `info`, `warm-up` and `doctor`."""

from __future__ import annotations

import platform
import re
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from kspike_ref import warm_up as compiling
from kspike_ref.cli import inputs, options
from kspike_ref.cli.output import Table, show, waiting
from kspike_ref.kernels import cache, folders
from kspike_ref.layers.base import Layer
from kspike_ref.layers.described import weights
from kspike_ref.model import Model
from kspike_ref.running.graph import Node
from kspike_ref.running.threads import cores
from kspike_ref.tables import shape_text

_REQUIRED = ("kspike-ref", "numpy", "numba", "llvmlite")
_OPTIONAL = (
    "kspike-energy", "kspike-tf", "tensorflow", "keras", "typer", "rich", "tqdm", "pillow",
    "matplotlib",
)  # fmt: skip


def info(model_file: options.ModelFile, as_json: options.Json = False) -> None:
    """Show a model's layers, inputs and outputs."""
    model = inputs.open_model(model_file)
    takes: dict[str, dict[str, Any]] = {
        node.name: {
            "shape": list(node.output_shapes[0]),
            "dtype": str(getattr(node.layer, "input_dtype", node.layer.dtype)),
        }
        for node in inputs.input_nodes(model)
    }
    gives = {
        node.name: list(node.output_shapes[0]) for node in model.nodes if node.name in model.outputs
    }
    layers = [
        {
            "name": layer.name,
            "class": layer.class_name,
            "weights": {name: list(w.shape) for name, w in layer.weights.items()},
            **_dynamics(layer),
        }
        for layer in model.layers
    ]
    result = {
        "model": model.name,
        "file": str(model_file),
        "inputs": takes,
        "outputs": gives,
        "step_by_step": _streams(model),
        "layers": layers,
    }
    facts: dict[str, Any] = {
        f"input {name}": f"{shape_text(one['shape'])} {one['dtype']}" for name, one in takes.items()
    }
    facts |= {f"output {name}": shape_text(shape) for name, shape in gives.items()}
    facts["runs step by step"] = _streams(model)
    held = {id(w): w.size for layer in model.layers for w in layer.weights.values()}
    facts["weights"] = sum(held.values())
    header = ("layer", "class", "output shape", "weights")
    tables = [Table(header, [_row(node) for node in model.nodes])]
    rows = [(one["name"], one["dt"], one["tau"], one["seed"]) for one in layers if "dt" in one]
    if rows:
        tables.append(Table(("layer", "dt [s]", "mean tau [s]", "seed"), rows))
    show(result, as_json, {"model": model.name, **facts}, *tables)


def warm_up(
    model_files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[MODEL...]",
            help="Compile the kernels that these models need (default: all).",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Compile kernels ahead of time."""
    folder = folders.writable_folder()
    if folder is None:
        raise OSError("no folder for compiled kernels can be written: see kspike doctor")
    with waiting("compiling kernels"):
        if not model_files:
            compiling.compile_all()
        for path in model_files or []:
            compiling.run_model(inputs.open_model(path))
    kernels = _compiled(folder)
    result = {"folder": str(folder), "kernels": len(kernels), "models": len(model_files or [])}
    show(result, as_json, {"cache": str(folder), "compiled kernels": len(kernels)})


def doctor(as_json: options.Json = False) -> None:
    """Show versions, cores and compiled kernels.

    The exit status is 1 if there is a problem.
    """
    folder = folders.writable_folder()
    readable = folders.readable_folders()
    kernels = [path for one in readable for path in _compiled(one)]
    names = Counter(re.sub(r"-.*", "", path.name) for path in kernels)
    problems = []
    if folder is None and not kernels:
        problems.append(
            "kernels are compiled in every process, because no folder for them can be written, or "
            "other users can write to it: set NUMBA_CACHE_DIR to a folder of your own"
        )
    result: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": cores(),
        "versions": {name: package_version(name) for name in (*_REQUIRED, *_OPTIONAL)},
        "cache": None if folder is None else str(folder),
        "caches_read": [str(one) for one in readable],
        "kernels": dict(sorted(names.items())),
        "bytes": sum(path.stat().st_size for path in kernels),
        "problems": problems,
    }
    facts = {
        "python": f"{result['python']}, {platform.system()} {platform.machine()}",
        "cores": result["cores"],
        "cache": result["cache"] or ", ".join(f"{one} (read only)" for one in readable) or None,
        "compiled kernels": f"{len(kernels)}, {result['bytes'] / 1e6:.1f} MB",
    }
    versions = Table(("package", "version"), [*result["versions"].items()])
    compiled = Table(("compiled", "for types"), [*result["kernels"].items()])
    parts: list[Any] = [facts, versions]
    parts += [compiled] if names else ["No kernel is compiled yet: kspike warm-up"]
    show(result, as_json, *parts, "\n".join(problems) or "no problems found")
    if problems:
        raise typer.Exit(1)


def _row(node: Node) -> tuple[Any, ...]:
    """Return the row of a node; a layer's weights count at its first application."""
    again = f" (use {node.node_index + 1})" if node.node_index else ""
    count = 0 if again else weights(node.layer)
    shapes = ", ".join(map(shape_text, node.output_shapes))
    return node.name + again, node.layer.class_name, shapes, count


def _dynamics(layer: Layer) -> dict[str, Any]:
    """Return the time step, mean time constant and seed of a layer that has a time step."""
    cell: Any = getattr(layer, "cell", None)
    if not hasattr(cell, "dt"):
        return {}
    taus = cell.weights.get("tau", [])
    tau = _meant(np.mean(taus)) if np.size(taus) else None
    return {"dt": _meant(cell.dt), "tau": tau, "seed": cell.config.get("seed")}


def _meant(seconds: float) -> float:
    """Return the decimal number that was rounded to this float32 number."""
    return float(f"{seconds:.7g}")


def _streams(model: Model) -> bool:
    """Return whether the model runs step by step."""
    try:
        model.initial_state(1)
    except ValueError:
        return False
    return True


def _compiled(folder: Path) -> list[Path]:
    """Return the files of compiled kernels in a folder."""
    return sorted(folder.glob(f"*{cache.SUFFIX}"))


def package_version(name: str) -> str | None:
    """Return the version of a package, or None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
