"""A trained model, ready to run: what `load_model` returns."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from kspike_ref import layers as layers  # enters the layers in the table
from kspike_ref._files import read_model
from kspike_ref._limits import one_load
from kspike_ref._spec import parse
from kspike_ref._threads import limit_threads, num_threads
from kspike_ref.archive import ArchiveError
from kspike_ref.batches import Compute, block_size, check_batch_size, compute_all, progress_bar
from kspike_ref.build import build
from kspike_ref.chain import Chain
from kspike_ref.counting import LayerRun
from kspike_ref.graph import Graph, Node, substitute
from kspike_ref.inputs import Inputs
from kspike_ref.layers.base import Array, Layer, StatefulLayer, UnsupportedLayerError
from kspike_ref.layers.recurrent import flat
from kspike_ref.run import Runner
from kspike_ref.streaming import check_streaming, time_tensors
from kspike_ref.summary import summary

State = Any  # what `initial_state` and `step` return: opaque to callers


def load_model(path: str | os.PathLike[str]) -> Model:
    """Load a model that Keras saved, without Keras and without TensorFlow.

    Nothing in the file is executed: a model is made of layers that kspike_ref knows, or that you
    registered with `register_layer`.

    Parameters
    ----------
    path : path_like
        A ``.keras`` file of Keras 3 or 2, a folder with the same contents, or a whole-model
        ``.h5`` file.

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
        If the model holds layers that nobody registered, or uses options of layers that are not
        known here; all of them are listed.

    Notes
    -----
    A file may come from anybody, so what it may ask for is limited: 32 MiB and 1,000,000 lists,
    objects and values of JSON; 10,000 files in the archive, and no zip64 list of them; weights
    that expand to 64 MiB or 100 times their compressed size; 10,000 layers, 10,000 applications of
    layers, and 40 levels of layers within layers; 2³¹ elements in one example of an output; and
    256 MiB of arrays whose size is only in the configuration. Each byte of a weight file is read
    as a value or a name once. A folder obeys the same limits.
    """
    place = Path(path)  # a TypeError for what is no path at all
    with one_load():
        try:
            archive = read_model(place)
            return Model(build(parse(archive.config, archive.by_name), archive.weights))
        except (ArchiveError, UnsupportedLayerError, FileNotFoundError):
            raise
        except Exception as error:
            # Whatever a configuration makes go wrong in a layer is the configuration's fault; an
            # error in a layer of the user's own is the cause that is shown first.
            detail = f"{type(error).__name__}: {error!s:.200}"
            raise ArchiveError(f"the model in {str(place)!r} cannot be built: {detail}") from error


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
        timed = time_tensors(graph)
        self._graph = graph
        self._runner = Runner(graph)
        self._inputs = Inputs(graph, timed)
        self._chain = Chain.of(graph, timed)
        self._timed = timed
        self._timed_outputs = [ref in timed for ref in self._runner.outputs]
        self._is_time_major = any(getattr(n.layer, "time_major", False) for n in graph.nodes)
        self._num_threads: int | None = None
        self._record: dict[int, LayerRun] | Array = {}
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

        Notes
        -----
        Each call starts from the initial state, also where a layer was saved with
        ``stateful=True``: to go on from call to call, carry the state with `step`. Models of half
        precision are computed in float32, with the weights as they were saved.
        """
        check_batch_size(batch_size)
        chain = self._chain
        if chain is not None and not progress and chain.takes(x, timesteps):
            y, self._record = chain.predict(x, timesteps)
            return y
        inputs = self._inputs.checked(x, timesteps)
        count, threads = len(inputs[0]), self._threads()
        if chain is not None and not self._is_one_block(inputs):
            size = batch_size or chain.block_size(count, inputs[0].shape[1], threads)
        else:
            size = self._block_size(inputs, batch_size)
        bar = progress_bar(count) if progress else None
        compute = self._run if chain is None else self._run_chain
        return self._structured(self._run_all(compute, x, inputs, size, bar))

    def _run(self, block: list[Array]) -> tuple[list[Array], dict[int, LayerRun]]:
        record: dict[int, LayerRun] = {}
        return self._runner.run(block, record=record)[0], record

    def _run_chain(self, block: list[Array]) -> tuple[list[Array], dict[int, LayerRun]]:
        assert self._chain is not None  # noqa: S101 (who calls it looks)
        y, counts = self._chain.predict(block[0], None)
        return [y], self._chain.record(counts)

    def _is_one_block(self, inputs: list[Array]) -> bool:
        return self._is_time_major or len({len(array) for array in inputs}) > 1

    def _block_size(self, inputs: list[Array], batch_size: int | None) -> int:
        if self._is_one_block(inputs):
            return max(1, len(inputs[0]))
        return batch_size or block_size(self.nodes, inputs, self._threads())

    def _run_all(
        self, compute: Compute, x: Any, inputs: list[Array], size: int, bar: Any
    ) -> list[Array]:
        """Compute blocks of examples, from several threads."""

        def cast(block: list[Array]) -> tuple[list[Array], dict[int, LayerRun]]:
            return compute(self._inputs.cast(block))

        maps = self._inputs.listed(x)
        arrays, self._record = compute_all(cast, inputs, maps, size, self._threads(), bar)
        return arrays

    def activity(
        self,
        x: Any,
        timesteps: int | None = None,
        layers: Iterable[str] | None = None,
        batch_size: int | None = None,
    ) -> dict[str, Any]:
        """Run the model and return what its layers put out.

        Parameters
        ----------
        x : array_like, or list or dict of array_like
            The inputs, as in `predict`.
        timesteps : int, optional
            As in `predict`.
        layers : iterable of str, optional
            The names of the layers to return; all without. What is not returned is freed as soon
            as it is used, so that few layers of many examples need little memory.
        batch_size : int, optional
            As in `predict`.

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
        check_batch_size(batch_size)
        keep = [i for i, key in enumerate(keys) if wanted is None or key in wanted]

        def compute(block: list[Array]) -> tuple[list[Array], dict[int, LayerRun]]:
            record: dict[int, LayerRun] = {}
            _, kept, _ = self._runner.run(block, keep=keep, record=record)
            return flat([kept[i] for i in keep]), record

        inputs = self._inputs.checked(x, timesteps)
        arrays = iter(self._run_all(compute, x, inputs, self._block_size(inputs, batch_size), None))
        made = {i: [next(arrays) for _ in self.nodes[i].output_shapes] for i in keep}
        return {keys[i]: made[i] if len(made[i]) > 1 else made[i][0] for i in keep}

    def initial_state(self, batch_size: int) -> State:
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
        if self._chain is not None:
            return self._chain.initial_state(batch_size)
        return {
            i: node.layer.initial_state(batch_size, *node.input_shapes)
            for i, node in enumerate(self.nodes)
            if isinstance(node.layer, StatefulLayer)
        }

    def step(self, x: Any, state: State) -> tuple[Any, State]:
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
        chain = self._chain
        if chain is not None:
            if not chain.takes(x, 1):
                x = self._inputs.cast(self._inputs.checked(x, 1, is_step=True))[0][:, 0]
            y, after, self._record = chain.step(x, state)
            return y, after
        inputs = self._inputs.cast(self._inputs.checked(x, 1, is_step=True))
        record: dict[int, LayerRun] = {}
        with limit_threads(self._threads()):
            outputs, _, new = self._runner.run(inputs, state, record=record)
        self._record = record
        pairs = zip(outputs, self._timed_outputs, strict=True)
        return self._structured([y[:, 0] if is_timed else y for y, is_timed in pairs]), new

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

    @property
    def last_run(self) -> dict[str, LayerRun]:
        """What the layers with products did in the last run, by name."""
        record, names = self._record, self._activity_names()
        if self._chain is not None and isinstance(record, np.ndarray):
            record = self._chain.record(record)
        return {names[i]: record[i] for i in sorted(record)}

    def __repr__(self) -> str:
        return f"<kspike_ref.Model {self.name!r}, {len(self.layers)} layers>"

    def _activity_names(self) -> list[str]:
        return [
            node.name if node.node_index == 0 else f"{node.name}:{node.node_index}"
            for node in self.nodes
        ]

    def _structured(self, outputs: list[Array]) -> Any:
        values = iter(outputs)
        return substitute(self._graph.outputs, lambda _: next(values))
