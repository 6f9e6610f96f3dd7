"""The command `bench`."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import typer

from kspike_ref.cli import inputs, options
from kspike_ref.cli.output import Table, show, waiting
from kspike_ref.model import Model
from kspike_ref.running.few_spikes import FewSpikesWarning
from kspike_ref.running.threads import cores
from kspike_ref.warm_up import example_inputs, one_step

_STEPS = 20  # for time axes of any length
_FEWEST = 5  # the fewest calls to measure


def bench(
    model_file: options.ModelFile,
    timesteps: Annotated[
        int, typer.Option("--timesteps", "-t", min=1, help="Time steps, where the model has time.")
    ] = _STEPS,
    batch_size: Annotated[
        int, typer.Option("--batch-size", "-b", min=1, help="Examples, for the throughput.")
    ] = 64,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.01, help="Seconds per measurement.")
    ] = 1.0,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Measure latency and throughput on this machine.

    The inputs are random numbers from 0 to 1.
    """
    start = time.perf_counter()
    model = inputs.open_model(model_file, threads)
    loading = time.perf_counter() - start
    with waiting("measuring"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FewSpikesWarning)  # the inputs are random
        records = _measurements(model, batch_size, timesteps, seconds)
    steps = timesteps if inputs.has_time(model) else None
    result: dict[str, Any] = {
        "model": model.name,
        "threads": threads or cores(),
        "timesteps": steps,
        "load_seconds": loading,
        "measurements": records,
    }
    rows = [(r["call"], r["calls"], r["median_ms"], r["p90_ms"], r["examples_per_second"])
            for r in records]  # fmt: skip
    header = ("call", "calls", "median [ms]", "90% within [ms]", "examples/s")
    facts = {"model": model.name, "threads": result["threads"]}
    facts |= {} if steps is None else {"time steps": steps}
    facts["loaded in"] = f"{loading:.3g} s"
    show(result, as_json, facts, Table(header, rows))


def _measurements(
    model: Model, batch_size: int, timesteps: int, seconds: float
) -> list[dict[str, Any]]:
    """Measure every way to run a model; return the times as plain data."""
    one, many = (random_inputs(model, n, timesteps) for n in (1, batch_size))
    calls: list[tuple[str, int, Callable[[], Any]]] = [
        ("predict, 1 example", 1, lambda: model.predict(one)),
        (f"predict, {batch_size} examples", batch_size, lambda: model.predict(many)),
    ]
    step = one_step(model, one)
    if step is not None:
        calls.append(("step, 1 example", 1, step))
    records = []
    for name, count, call in calls:
        taken = _times(call, seconds)
        median = float(np.median(taken))
        records.append(
            {
                "call": name,
                "calls": len(taken),
                "median_ms": median * 1e3,
                "p90_ms": float(np.quantile(taken, 0.9)) * 1e3,
                "examples_per_second": count / median,
            }
        )
    return records


def random_inputs(model: Model, count: int, timesteps: int) -> Any:
    """Return inputs for a model, with random floats from 0 to 1; see `example_inputs`."""
    return example_inputs(model, count, timesteps, np.random.default_rng(0).random)


def _times(call: Callable[[], Any], seconds: float) -> list[float]:
    """Return the durations of calls in seconds, after one to compile and one to make the plan."""
    call()
    call()
    taken: list[float] = []
    total = 0.0
    while total < seconds or len(taken) < _FEWEST:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
        total += taken[-1]
    return taken
