"""A trained model, ready to run: what `load_model` returns."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from kspike_ref import layers as layers  # enters the layers in the table
from kspike_ref.arguments import check_count, check_names, told_options
from kspike_ref.layers.base import Array, Layer, UnsupportedLayerError
from kspike_ref.layers.recurrent import flat
from kspike_ref.layers.shape import InputLayer
from kspike_ref.running.axes import Axes, has_time_first
from kspike_ref.running.batches import (
    Compute,
    check_batch_size,
    compute_all,
    progress_bar,
    shows_progress,
)
from kspike_ref.running.budget import Budget, check_limit
from kspike_ref.running.chain import Chain
from kspike_ref.running.cost import Cost
from kspike_ref.running.counts import FIELDS, Counts, LayerRun, layer_runs
from kspike_ref.running.graph import Graph, Node, Ref, substitute
from kspike_ref.running.inputs import Inputs
from kspike_ref.running.interrupt import interruptible
from kspike_ref.running.run import LayerCallError, Runner
from kspike_ref.running.states import Streamed
from kspike_ref.running.streaming import Stream, plan
from kspike_ref.running.threads import limit_threads, num_threads
from kspike_ref.saved.archive import ArchiveError
from kspike_ref.saved.build import build
from kspike_ref.saved.config import parse
from kspike_ref.saved.files import read_model
from kspike_ref.saved.limits import one_load
from kspike_ref.summary import summary

State = Any  # what `initial_state` and `step` return: opaque to callers


@told_options
def load_model(
    path: str | os.PathLike[str],
    max_bytes: float | None = None,
    max_operations: float | None = None,
) -> Model:
    """Load a model that Keras saved, without Keras and without TensorFlow.

    Nothing in the file is executed: a model is made of layers that kspike_ref knows, or that you
    registered with `register_layer`.

    Parameters
    ----------
    path : path_like
        A ``.keras`` file of Keras 3 or 2, a folder with the same contents, or a whole-model
        ``.h5`` file.
    max_bytes, max_operations : float, optional
        What a run of the model may take, as `Model.cost` estimates it: a larger one is refused
        before it begins. A file of 1 kB may describe hours of work, or terabytes.

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
    ValueError
        If a limit is not positive.

    Notes
    -----
    A file may come from anybody, so what it may ask for is limited: 32 MiB and 1,000,000 lists,
    objects and values of JSON; 10,000 files in the archive, and no zip64 list of them; weights
    that expand to 64 MiB or 100 times their compressed size; 10,000 layers, 10,000 applications of
    layers, and 40 levels of layers within layers; 2³¹ elements in one example of an output; 32 MiB
    of vocabularies in files of their own, and 1,000,000 words in all; and 256 MiB of arrays whose
    size is only in the configuration. Each byte of a weight file is read
    as a value or a name once. A folder obeys the same limits.
    """
    check_limit("max_bytes", max_bytes)
    check_limit("max_operations", max_operations)
    place = Path(path)  # a TypeError for what is no path at all
    with one_load():
        try:
            archive = read_model(place)
            try:
                graph = build(parse(archive.config, archive.by_name), archive.weights)
            finally:
                if archive.weights.assets is not None:
                    archive.weights.assets.close()
            return Model(graph, max_bytes, max_operations)
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
    max_bytes, max_operations : float, optional
        As in `load_model`.

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

    def __init__(
        self,
        graph: Graph,
        max_bytes: float | None = None,
        max_operations: float | None = None,
    ) -> None:
        axes = Axes(graph)
        self._graph = graph
        self._stream, self._no_stream = _stream(graph, axes)
        self._streamed = Streamed(graph.nodes, self._stream.carried)
        self._runner = Runner(graph, self._stream.carried, self._stream.stepped)
        self._inputs = Inputs(graph, axes)
        self._chain = Chain.of(graph, axes.timed)
        self._is_one_block = any(
            has_time_first(node.layer) or node.layer.joins_batch for node in graph.nodes
        )
        self._budget = Budget(
            graph, self._chain, self._is_one_block, self._stream.stepped, max_bytes, max_operations
        )
        self._has_one_output = isinstance(graph.outputs, Ref)  # and no structure around it
        self._num_threads: int | None = None
        self._record: Counts = np.zeros((0, FIELDS), np.int64)
        self.name = graph.name
        self.nodes: tuple[Node, ...] = tuple(graph.nodes)
        self.layers: tuple[Layer, ...] = tuple(
            {id(node.layer): node.layer for node in graph.nodes}.values()
        )
        self.inputs: tuple[str, ...] = tuple(
            n.name for n in graph.nodes if isinstance(n.layer, InputLayer)
        )
        self.outputs: tuple[str, ...] = tuple(
            graph.nodes[ref.node].name for ref in self._runner.outputs
        )

    @told_options
    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        timesteps: int | None = None,
        progress: bool = False,
        *,
        verbose: Any = None,
        max_bytes: float | None = None,
        max_operations: float | None = None,
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
        verbose : int or str, optional
            As in Keras: 1 and 2 show a progress bar, if ``tqdm`` is installed.
        max_bytes, max_operations : float, optional
            What this run may take, as `cost` estimates it, besides the limits of the model.

        Returns
        -------
        ndarray, or list or dict of ndarray
            The outputs, in the model's own structure.

        Raises
        ------
        TypeError
            If an input does not hold real numbers, or strings where the model's `keras.Input` has
            ``dtype="string"``, or is a masked array; or a layer gets numbers of
            a type that it does not take in Keras either, as a convolution of integers.
        ValueError
            If the inputs do not fit the model or each other, or the run may take more than the
            limits allow.

        Notes
        -----
        Ctrl-C ends long runs at once.

        Each call starts from the initial state, also where a layer was saved with
        ``stateful=True``: to go on from call to call, carry the state with `step`.

        Inputs are cast to the type of the model's `keras.Input`. Between layers and in the outputs,
        numbers have the type that they have in Keras on TensorFlow, with one exception: what Keras
        computes in float16 or bfloat16, which NumPy lacks, is computed and returned in float32,
        with the weights as they were saved.
        """
        batch_size = check_batch_size(batch_size)
        shows = progress or (verbose is not None and shows_progress(verbose))
        chain = self._chain
        if (
            chain is not None
            and not (shows or self._budget.is_limited)
            and max_bytes is None
            and max_operations is None
            and chain.takes(x, timesteps)
        ):
            y, counts = chain.predict(x, timesteps)
            self._record = chain.record(counts)
            return y
        inputs = self._inputs.checked(x, timesteps)
        if 0 in inputs[0].shape:  # a loop over no steps has no last one: layers know what to do
            chain = None
        count, threads = self._inputs.batch(inputs), self._threads()
        shapes = tuple(array.shape for array in inputs)
        is_long = self._budget.admit(
            shapes, count, batch_size, threads, None, max_bytes, max_operations
        )
        if chain is not None:
            size = batch_size or chain.block_size(count, inputs[0].shape[1], threads)
        else:
            size = self._block_size(count, shapes, batch_size, threads)
        bar = progress_bar(count) if shows else None
        compute = self._run if chain is None else self._run_chain
        return self._structured(self._run_all(compute, x, inputs, size, bar, is_long))

    def __call__(self, x: Any, training: bool = False) -> Any:
        """Run the model, as `predict` does.

        Parameters
        ----------
        x : array_like, or list or dict of array_like
            As in `predict`.
        training : bool
            As in Keras; must not be True.

        Returns
        -------
        ndarray, or list or dict of ndarray
            As from `predict`.

        Raises
        ------
        TypeError, ValueError
            As in `predict`, or if ``training`` is True.
        """
        if training:
            raise ValueError(f"training must be False: models only run. Received: {training!r}")
        return self.predict(x)

    @told_options
    def cost(self, shape: Any, batch_size: int | None = None) -> Cost:
        """Estimate what `predict` would take, without running anything.

        Parameters
        ----------
        shape : tuple of int, or list or dict of tuple of int
            The shapes of the inputs, with batch and time, in the model's own structure.
        batch_size : int, optional
            As in `predict`.

        Returns
        -------
        Cost
            ``operations``, an estimate, and ``bytes``, which the peak of memory stays below.

        Raises
        ------
        ValueError
            If a shape does not fit the model, or a layer cannot tell the shape of its output.
        """
        batch_size = check_batch_size(batch_size)
        shapes, count = self._inputs.shapes(shape)
        return self._budget.cost(shapes, count, batch_size, self._threads())

    def _run(self, block: list[Array]) -> tuple[list[Array], Counts]:
        outputs, _, _, counts = self._runner.run(block)
        return outputs, counts

    def _run_chain(self, block: list[Array]) -> tuple[list[Array], Counts]:
        assert self._chain is not None  # noqa: S101 (who calls it looks)
        y, counts = self._chain.predict(block[0], None)
        return [y], self._chain.record(counts)

    def _block_size(
        self,
        count: int,
        shapes: tuple[tuple[int, ...], ...],
        batch_size: int | None,
        threads: int,
    ) -> int:
        if self._is_one_block:
            return max(1, count)
        return batch_size or self._budget.block_size(shapes, threads)

    def _run_all(
        self,
        compute: Compute,
        x: Any,
        inputs: list[Array],
        size: int,
        bar: Any,
        is_long: bool,
    ) -> list[Array]:
        """Compute blocks of examples, from several threads."""

        def cast(block: list[Array]) -> tuple[list[Array], Counts]:
            return compute(self._inputs.cast(block))

        count = self._inputs.batch(inputs)
        is_plain = self._is_one_block or type(x) is np.ndarray  # no memory map
        maps = [] if is_plain else self._inputs.listed(x)
        threads = self._threads()

        def run() -> tuple[list[Array], Counts]:
            return compute_all(cast, inputs, maps, count, size, threads, bar)

        try:
            arrays, self._record = interruptible(run) if is_long else run()
        except LayerCallError as failure:
            raise failure.told(self._inputs.given_shapes(x)) from failure.error
        return arrays

    @told_options
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
        wanted = None if layers is None else check_names("layers", layers, keys)
        batch_size = check_batch_size(batch_size)
        keep = [i for i, key in enumerate(keys) if wanted is None or key in wanted]

        def compute(block: list[Array]) -> tuple[list[Array], Counts]:
            _, kept, _, counts = self._runner.run(block, keep=keep)
            return flat([kept[i] for i in keep]), counts

        inputs = self._inputs.checked(x, timesteps)
        count, threads = self._inputs.batch(inputs), self._threads()
        shapes = tuple(array.shape for array in inputs)
        is_long = self._budget.admit(shapes, count, batch_size, threads, tuple(keep))
        size = self._block_size(count, shapes, batch_size, threads)
        arrays = iter(self._run_all(compute, x, inputs, size, None, is_long))
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
            If the model has no time axis, or a layer that mixes time steps, or ``batch_size`` is
            not a number of examples.
        """
        if self._no_stream:
            raise ValueError(self._no_stream)
        rows = check_count("batch_size", batch_size)
        if self._chain is not None:
            return self._chain.initial_state(rows)
        return self._streamed.initial(rows)

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

        Raises
        ------
        TypeError
            If ``state`` is nothing that this model returned.
        ValueError
            If the inputs do not fit the model, or ``state`` is for another number of examples.
        """
        chain = self._chain
        if chain is not None:
            if self._budget.is_limited or not chain.takes(x, 1):
                inputs = self._inputs.checked(x, 1, is_step=True)
                self._admits_step(inputs)
                x = self._inputs.cast(inputs)[0][:, 0]
            y, after, counts = chain.step(x, state)
            self._record = chain.record(counts)
            return y, after
        inputs = self._inputs.checked(x, 1, is_step=True)
        self._streamed.check(state, self._inputs.batch(inputs))
        is_long = self._admits_step(inputs)
        inputs = self._inputs.cast(inputs)

        def run() -> tuple[list[Array], dict[int, Any], dict[int, Any], Counts]:
            return self._runner.run(inputs, state)

        try:
            with limit_threads(self._threads()):
                outputs, _, new, counts = interruptible(run) if is_long else run()
        except LayerCallError as failure:
            raise failure.told(self._inputs.given_shapes(x)) from failure.error
        self._record = counts
        pairs = zip(outputs, self._stream.outputs, strict=True)
        return self._structured([y[:, 0] if is_timed else y for y, is_timed in pairs]), new

    def _admits_step(self, inputs: list[Array]) -> bool:
        """Refuse a step that would take more than it may; return whether it takes long."""
        return self._budget.admit_step(tuple(array.shape for array in inputs))

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
        names = self._activity_names()
        return {names[i]: run for i, run in layer_runs(self._record).items()}

    def __repr__(self) -> str:
        return f"<kspike_ref.Model {self.name!r}, {len(self.layers)} layers>"

    def _activity_names(self) -> list[str]:
        return [
            node.name if node.node_index == 0 else f"{node.name}:{node.node_index}"
            for node in self.nodes
        ]

    def _structured(self, outputs: list[Array]) -> Any:
        if self._has_one_output:
            return outputs[0]
        values = iter(outputs)
        return substitute(self._graph.outputs, lambda _: next(values))


def _stream(graph: Graph, axes: Axes) -> tuple[Stream, str]:
    """Return how a model runs step by step, or an empty plan and why it cannot."""
    try:
        return plan(graph, axes), ""
    except ValueError as error:
        return Stream(frozenset(), frozenset(), ()), str(error)
