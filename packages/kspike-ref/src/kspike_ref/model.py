"""A trained model, ready to run: what `load_model` returns."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kspike_ref import layers as layers  # enters the layers in the table
from kspike_ref._spec import leaves, parse
from kspike_ref._threads import limit_threads, num_threads
from kspike_ref.archive import read_archive
from kspike_ref.batches import Outputs, block_size, forget, progress_bar, run_blocks
from kspike_ref.counting import LayerRun
from kspike_ref.graph import Graph, Node, Ref, build, substitute
from kspike_ref.layers.base import Array, Layer, Shape, StatefulLayer
from kspike_ref.run import Runner, States
from kspike_ref.streaming import check_streaming, time_tensors
from kspike_ref.summary import summary


def load_model(path: str | os.PathLike[str]) -> Model:
    """Load a model that Keras 3 saved, without Keras and without TensorFlow.

    Nothing in the file is executed: a model is made of layers that kspike_ref knows, or that you
    registered with `register_layer`.

    Parameters
    ----------
    path : path_like
        A ``.keras`` file, or a folder with the same contents.

    Returns
    -------
    Model
        Ready to run.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    ArchiveError
        If the file is damaged, hostile, or not what Keras writes.
    UnsupportedLayerError
        If the model holds layers that nobody registered; all of them are listed.
    """
    archive = read_archive(path)
    return Model(build(parse(archive.config), archive.weights))


class Model:
    """A trained model. Make one with `load_model`.

    Parameters
    ----------
    graph : Graph
        Its nodes, with their weights loaded.

    Attributes
    ----------
    name : str
        The model's name.
    nodes : tuple of Node
        The applications of layers, in the order in which they run, the inputs first.
    layers : tuple of Layer
        The layers, each once.
    inputs, outputs : tuple of str
        The names of the input layers, and of the nodes that make the outputs.
    last_run : dict of str to LayerRun
        What the layers with products did in the last `predict`, `activity` or `step`: operations
        performed, and where inputs are spikes, events and synaptic operations.
    num_threads : int or None
        How many threads to use; None, the default, for all cores.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._runner = Runner(graph)
        self._timed = time_tensors(graph)
        self._num_threads: int | None = None
        self._is_time_major = any(getattr(n.layer, "time_major", False) for n in graph.nodes)
        self.last_run: dict[str, LayerRun] = {}
        self.name = graph.name
        self.nodes: tuple[Node, ...] = tuple(graph.nodes)
        self.layers: tuple[Layer, ...] = tuple(
            {id(node.layer): node.layer for node in graph.nodes}.values()
        )
        self.inputs: tuple[str, ...] = tuple(n.name for n in graph.nodes if not n.inputs)
        self.outputs: tuple[str, ...] = tuple(
            graph.nodes[ref.node].name for ref in self._runner.outputs
        )

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        timesteps: int | None = None,
        progress: bool = False,
    ) -> Any:
        """Run the model.

        Parameters
        ----------
        x : array_like, or list or dict of array_like
            The inputs, ``(batch, time, …)``; in the model's own structure if there are several.
        batch_size : int, optional
            How many examples to run at once.
        timesteps : int, optional
            Present inputs without a time axis, ``(batch, …)``, for so many steps.
        progress : bool
            Whether to show a progress bar (needs ``tqdm``).

        Returns
        -------
        ndarray, or list or dict of ndarray
            The outputs, in the model's own structure.

        Raises
        ------
        ValueError
            If the inputs do not fit the model.
        """
        if batch_size is not None and (type(batch_size) is not int or batch_size < 1):
            raise ValueError(f"batch_size must be a positive integer. Received: {batch_size!r}")
        inputs = self._inputs(x, timesteps)
        count, threads = len(inputs[0]), self._threads()
        if self._is_time_major or len({len(array) for array in inputs}) > 1:
            size = max(1, count)
        else:
            size = batch_size or block_size(self.nodes, inputs, threads)
        given, outputs, lock = _flat(x, self._graph.inputs), Outputs(count), Lock()
        bar = progress_bar(count) if progress else None
        total: dict[int, LayerRun] = {}

        def work(first: int, last: int) -> None:
            record: dict[int, LayerRun] = {}
            block = self._cast([array[first:last] for array in inputs])
            outputs.put(first, last, self._runner.run(block, record=record)[0])
            for array in given:
                forget(array, first, last)
            with lock:
                for index, run in record.items():
                    total[index] = total[index] + run if index in total else run
                if bar is not None:
                    bar.update(last - first)

        try:
            run_blocks(work, count, size, threads)
        finally:
            if bar is not None:
                bar.close()
        self._keep_record(total)
        return self._structured(outputs.arrays)

    def activity(
        self, x: Any, timesteps: int | None = None, layers: Iterable[str] | None = None
    ) -> dict[str, Any]:
        """Run the model and return what its layers put out.

        Parameters
        ----------
        x : array_like, or list or dict of array_like
            The inputs, as in `predict`.
        timesteps : int, optional
            As in `predict`.
        layers : iterable of str, optional
            The names of the layers to return; all without.

        Returns
        -------
        dict of str to ndarray
            The output of each layer. A layer that is applied several times appears as ``name``,
            ``name:1``, ``name:2`` …

        Raises
        ------
        ValueError
            If the inputs do not fit the model, or there is no layer of a name.
        """
        keys = self._activity_names()
        wanted = None if layers is None else {layers} if isinstance(layers, str) else set(layers)
        if wanted is not None and wanted - set(keys):
            unknown = ", ".join(sorted(wanted - set(keys)))
            raise ValueError(f"layers must be names of the model's layers. Received: {unknown}")
        keep = [i for i, key in enumerate(keys) if wanted is None or key in wanted]
        record: dict[int, LayerRun] = {}
        inputs = self._cast(self._inputs(x, timesteps))
        with limit_threads(self._threads()):
            _, kept, _ = self._runner.run(inputs, keep=keep, record=record)
        self._keep_record(record)
        return {keys[i]: kept[i] for i in keep}

    def initial_state(self, batch_size: int) -> States:
        """Return the state before the first step of streaming.

        Parameters
        ----------
        batch_size : int
            The number of examples.

        Returns
        -------
        State
            To be given to `step`.

        Raises
        ------
        ValueError
            If the model has no time axis, or a layer that mixes time steps.
        """
        check_streaming(self._graph, self._timed)
        return {
            i: node.layer.initial_state(batch_size, *node.input_shapes)
            for i, node in enumerate(self.nodes)
            if isinstance(node.layer, StatefulLayer)
        }

    def step(self, x: Any, state: States) -> tuple[Any, States]:
        """Run one time step.

        Parameters
        ----------
        x : array_like, or list or dict of array_like
            The inputs of this step, ``(batch, …)`` without a time axis.
        state : State
            From `initial_state`, or from the step before. It is not changed.

        Returns
        -------
        outputs : ndarray, or list or dict of ndarray
            Without a time axis. What reduces over time gives its value over the steps so far.
        state : State
            The state after this step.
        """
        inputs = self._inputs(x, 1)
        record: dict[int, LayerRun] = {}
        with limit_threads(self._threads()):
            outputs, _, after = self._runner.run(self._cast(inputs), state, record=record)
        self._keep_record(record)
        timed = [ref in self._timed for ref in self._runner.outputs]
        return self._structured(
            [y[:, 0] if t else y for y, t in zip(outputs, timed, strict=True)]
        ), after

    def summary(self) -> str:
        """Return a table of the model's layers, shapes and weights."""
        return summary(self.name, self.nodes)

    @property
    def num_threads(self) -> int | None:
        """How many threads to use; None for all cores."""
        return self._num_threads

    @num_threads.setter
    def num_threads(self, count: int | None) -> None:
        with limit_threads(count):  # checks it
            self._num_threads = count

    def _threads(self) -> int:
        allowed = num_threads()
        return allowed if self._num_threads is None else min(allowed, self._num_threads)

    def _keep_record(self, record: dict[int, LayerRun]) -> None:
        names = self._activity_names()
        self.last_run = {names[i]: record[i] for i in sorted(record)}

    def __repr__(self) -> str:
        return f"<kspike_ref.Model {self.name!r}, {len(self.layers)} layers>"

    def _activity_names(self) -> list[str]:
        return [
            node.name if node.node_index == 0 else f"{node.name}:{node.node_index}"
            for node in self.nodes
        ]

    def _inputs(self, x: Any, timesteps: int | None) -> list[Array]:
        """Return the inputs as a list of arrays that fit the model, with a time axis."""
        given = _flat(x, self._graph.inputs)
        if len(given) != len(self.inputs):
            raise ValueError(f"x must be {len(self.inputs)} arrays. Received: {len(given)}")
        if timesteps is not None and not any(Ref(i, 0) in self._timed for i in range(len(given))):
            raise ValueError(
                f"timesteps must be None: this model has no time axis. Received: {timesteps}"
            )
        arrays = []
        for i, values in enumerate(given):
            array = np.asarray(values)
            if timesteps is not None and Ref(i, 0) in self._timed:
                shape = (array.shape[0], timesteps, *array.shape[1:])
                array = np.broadcast_to(array[:, None], shape)
            _check_input(self.inputs[i], array, self.nodes[i].output_shapes[0])
            arrays.append(array)
        return arrays

    def _cast(self, inputs: list[Array]) -> list[Array]:
        cast = []
        for node, x in zip(self.nodes, inputs, strict=False):
            dtype = getattr(node.layer, "input_dtype", np.float32)
            if x.dtype == dtype:
                cast.append(x)
            elif x.ndim > 1 and x.strides[1] == 0:
                cast.append(np.broadcast_to(x[:, :1].astype(dtype), x.shape))
            else:
                cast.append(x.astype(dtype))
        return cast

    def _structured(self, outputs: list[Array]) -> Any:
        values = iter(outputs)
        return substitute(self._graph.outputs, lambda _: next(values))


def _flat(x: Any, structure: Any) -> list[ArrayLike]:
    """Return inputs in the model's order."""
    names = list(leaves(structure))
    if isinstance(x, Mapping):
        missing = [name for name in names if name not in x]
        if missing and isinstance(structure, dict) and set(structure) == set(x):
            return [x[key] for key in sorted(structure)]
        if missing:
            raise ValueError(f"x must hold {', '.join(names)}. Received: {', '.join(map(str, x))}")
        return [x[name] for name in names]
    if isinstance(x, list | tuple) and (len(names) > 1 or isinstance(structure, list)):
        return list(x)
    return [x]


def _check_input(name: str, x: Array, shape: Shape) -> None:
    fits = x.ndim == len(shape) and all(
        n is None or n == m for n, m in zip(shape, x.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"x must have the shape ({wanted}) at {name!r}. Received: {x.shape}")
    if x.dtype.kind not in "fiub":
        raise TypeError(f"x must hold real numbers at {name!r}. Received: dtype={x.dtype}")
