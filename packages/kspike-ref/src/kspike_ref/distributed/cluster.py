"""Runs of arrays in memory on an existing Dask cluster."""

from __future__ import annotations

from typing import Any

from kspike_ref.distributed.lazy import from_arrays

_BLOCK = 1000  # examples that a worker takes at once
_SECONDS = 10  # within which a scheduler must answer


def predict_on(
    address: str, model: Any, x: Any, batch_size: int | None, timesteps: int | None
) -> Any:
    """Compute ``model.predict(x)`` on a cluster.

    Parameters
    ----------
    address : str
        The address of the scheduler, such as ``tcp://host:8786``.
    model : Model
        The model.
    x : ndarray, or list or dict of ndarray
        The inputs, which are sent to the workers.
    batch_size : int, optional
        The number of examples that a worker takes at once; 1,000 by default.
    timesteps : int, optional
        As in ``predict``.

    Raises
    ------
    ValueError
        If Dask is not installed, or the address is invalid.
    OSError
        If no scheduler answers.
    """
    try:
        import dask
        from distributed import Client
    except ImportError:
        raise ValueError("--scheduler needs Dask: pip install 'kspike-ref[dask]'") from None
    try:
        client = Client(address, timeout=_SECONDS, set_as_default=False)
    except OSError as error:
        raise OSError(f"{address}: no scheduler answers within {_SECONDS} s") from error
    with client, client.as_current():
        lazy = model.predict(from_arrays(x, batch_size or _BLOCK), timesteps=timesteps)
        (outputs,) = dask.compute(lazy)
    return outputs
