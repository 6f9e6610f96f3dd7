"""The `Model` class: prediction, activity, recording and streaming."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, overload

from kspike_ref.arguments import check_names, told_options
from kspike_ref.distributed.lazy import applied, check_lazy, is_lazy
from kspike_ref.layers.base import Layer
from kspike_ref.layers.shape import InputLayer
from kspike_ref.running.batches import check_batch_size, progress_bar, shows_progress
from kspike_ref.running.cost import Cost
from kspike_ref.running.counts import LayerRun, layer_runs
from kspike_ref.running.engine import Engine
from kspike_ref.running.graph import Graph, Node, Ref, names_of, structured
from kspike_ref.running.iterating import batches_of, outputs_of, refuse_out
from kspike_ref.running.out import listed
from kspike_ref.running.recording import Recording, record
from kspike_ref.running.threads import limit_threads
from kspike_ref.summary import Summarised
from kspike_ref.types import Inputs, Outputs, Shapes, State, Targets, Verbose


class Model(Summarised):
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
        The layer applications in execution order, inputs first.
    layers : tuple of Layer
        The layers, without repetition.
    inputs, outputs : tuple of str
        The names of the input layers and of the output nodes.
    last_run : dict of str to LayerRun
        Operations and events of the layers with products in the last run.
    num_threads : int or None
        The number of threads to use; None, the default, for all cores.
    """

    def __init__(
        self,
        graph: Graph,
        max_bytes: float | None = None,
        max_operations: float | None = None,
    ) -> None:
        self._graph = graph
        self._engine = Engine(graph, max_bytes, max_operations)
        self._has_one_output = isinstance(graph.outputs, Ref)  # not a list or dictionary
        self.name = graph.name
        self.nodes: tuple[Node, ...] = tuple(graph.nodes)
        self.layers: tuple[Layer, ...] = tuple(
            {id(node.layer): node.layer for node in graph.nodes}.values()
        )
        inputs = [node for node in graph.nodes if isinstance(node.layer, InputLayer)]
        self.inputs: tuple[str, ...] = tuple([node.name for node in inputs])
        self.outputs: tuple[str, ...] = tuple([self.nodes[i].name for i, _ in self._engine.outputs])

    @overload
    def predict(self, x: Iterator[Any], *sizes: Any, **options: Any) -> Iterator[Outputs]: ...

    @overload
    def predict(
        self, x: Inputs, batch_size: int | None = ..., timesteps: int | None = ...,
        progress: bool = ..., *, verbose: Verbose | None = ..., max_bytes: float | None = ...,
        max_operations: float | None = ..., out: Targets | None = ...,
    ) -> Outputs: ...  # fmt: skip

    @told_options
    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        timesteps: int | None = None,
        progress: bool = False,
        *,
        verbose: Verbose | None = None,
        max_bytes: float | None = None,
        max_operations: float | None = None,
        out: Targets | None = None,
    ) -> Any:
        """Run the model.

        Parameters
        ----------
        x : array_like, or list or dict of array_like, or iterator, or dask.array.Array
            The inputs, ``(batch, time, …)``; if several, in the model's own structure. Or an
            iterator over batches of inputs, or a ``tf.data`` dataset.
        batch_size : int, optional
            The number of examples in a block.
        timesteps : int, optional
            Present inputs without a time axis, ``(batch, …)``, for this many steps.
        progress : bool
            Whether to show a progress bar (needs ``tqdm``).
        verbose : int or str, optional
            As in Keras: 1 and 2 show a progress bar, with ``tqdm``.
        max_bytes, max_operations : float, optional
            Limits of this run, as estimated by `cost`, in addition to the model's. For an
            iterator, they apply to every batch.
        out : ndarray, or list or dict of ndarray, optional
            Arrays to write the outputs to, such as memory maps, with the structure, shapes and
            types of the outputs.

        Returns
        -------
        ndarray, or list or dict of ndarray, or iterator
            The outputs, in the model's own structure; ``out`` itself if it was passed. For an
            iterator over batches, an iterator over their outputs, which reads each batch on demand
            and holds one batch at a time. For Dask arrays, lazy arrays.

        Raises
        ------
        TypeError
            If an input does not hold real numbers (strings for a `keras.Input` with
            ``dtype="string"``), or is a masked array; if a layer gets a type of number that it
            does not take in Keras either, such as integers in a convolution; or if ``out`` differs
            from the outputs in structure or type.
        ValueError
            If the inputs do not fit the model or each other; if the run may exceed the limits; or
            if ``out`` has another shape, is read-only, or shares memory with ``x``.
        OSError
            If ``out`` is a memory map, and the disk has no room for its file.

        Notes
        -----
        Ctrl-C ends long runs within a fraction of a second. Part of ``out`` is written by then; on
        a slow disk, a write to it may end after ``KeyboardInterrupt`` was raised.

        Outputs for a ``dask.array`` have the blocks of its first axis, and the same bits however
        it is cut; layers without a seed get one seed for all blocks (`distributed.seeded`).

        A batch that is a tuple is ``(x,)``, ``(x, y)`` or ``(x, y, sample_weight)``, as in Keras.
        Each call starts from the initial state, even in layers saved with ``stateful=True``.

        Inputs are cast to the type of the model's `keras.Input`. Other types are those of Keras on
        TensorFlow, with one exception: where Keras computes in float16 or bfloat16, kspike_ref
        computes and returns float32, with the weights as they were saved.
        """
        is_plain = out is None and not progress
        if is_plain and batch_size is verbose is max_bytes is max_operations is None:
            outputs = self._engine.quick(x, timesteps)
            if outputs is not None:
                return self._structured(outputs)
        batch_size = check_batch_size(batch_size)
        shows = progress or (verbose is not None and shows_progress(verbose))
        bar, limits = progress_bar if shows else None, (max_bytes, max_operations)
        options: dict[str, Any] = {"max_bytes": max_bytes, "max_operations": max_operations}
        options |= {"timesteps": timesteps, "batch_size": batch_size}
        if is_lazy(x):
            return self._lazily("predict", x, out, **options)
        if (batches := batches_of(x)) is not None:
            refuse_out(out)
            return outputs_of(partial(self.predict, **options), batches, bar and bar(None))
        arrays = [] if out is None else listed(self._graph.outputs, out)
        made = self._engine.run(x, timesteps, batch_size, None, bar, limits, arrays)
        return self._structured(made) if out is None else out

    def __call__(self, x: Inputs, training: bool = False) -> Outputs:
        """Run the model, as `predict` does; ``training`` must not be True (`ValueError`)."""
        if training:
            raise ValueError(f"training must be False in kspike_ref. Received: {training!r}")
        return self.predict(x)

    @told_options
    def cost(self, shape: Shapes, batch_size: int | None = None) -> Cost:
        """Estimate the operations of `predict`, and bound its memory, without running it.

        Parameters
        ----------
        shape : tuple of int, or list or dict of tuple of int
            The shapes of the inputs, with batch and time, in the model's own structure.
        batch_size : int, optional
            As in `predict`.

        Raises
        ------
        ValueError
            If a shape does not fit the model, or a layer cannot infer its output shape.
        """
        return self._engine.cost(shape, check_batch_size(batch_size))

    @told_options
    def activity(
        self,
        x: Inputs,
        timesteps: int | None = None,
        layers: Iterable[str] | None = None,
        batch_size: int | None = None,
    ) -> dict[str, Outputs]:
        """Run the model and return the outputs of its layers.

        Parameters
        ----------
        x : array_like, or list or dict of array_like
            The inputs, as in `predict`; Dask arrays have lazy outputs here, too.
        timesteps : int, optional
            As in `predict`.
        layers : iterable of str, optional
            The names of the layers to return; all by default. Other outputs are freed after use.
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
            If the inputs do not fit the model, or a layer does not exist.
        """
        if is_lazy(x):
            options = {"timesteps": timesteps, "layers": layers, "batch_size": batch_size}
            return self._lazily("activity", x, **options)
        keys = names_of(self.nodes)
        wanted = None if layers is None else check_names("layers", layers, keys)
        batch_size = check_batch_size(batch_size)
        kept = [i for i, key in enumerate(keys) if wanted is None or key in wanted]
        refs = {i: [Ref(i, k) for k in range(len(self.nodes[i].output_shapes))] for i in kept}
        ends = [ref for own in refs.values() for ref in own]
        arrays = iter(self._engine.run(x, timesteps, batch_size, ends))
        made = {i: [next(arrays) for _ in own] for i, own in refs.items()}
        return {keys[i]: own if len(own) > 1 else own[0] for i, own in made.items()}

    @told_options
    def record(
        self,
        x: Inputs,
        layers: Iterable[str] | None = None,
        voltages: bool = True,
        timesteps: int | None = None,
    ) -> Recording:
        """Run the model and record spikes, voltages and filter levels after every step.

        Parameters
        ----------
        x : array_like, or list or dict of array_like
            The inputs, as in `predict`.
        layers : iterable of str, optional
            The names of spiking layers, filters and your own neurons; all of them by default.
        voltages : bool
            Whether to record voltages, which take twice the memory of float32 spikes.
        timesteps : int, optional
            As in `predict`.

        Returns
        -------
        Recording
            ``spikes``, ``voltages`` and ``levels``: arrays ``(examples, steps, *units)`` by layer
            name, and ``dt``. A layer that is applied several times appears as ``name``,
            ``name:1``, ``name:2`` …

        Raises
        ------
        TypeError, ValueError
            If the inputs do not fit the model, or a name is not of a spiking layer or filter.
        ValueError
            If the model has neither, or does not run step by step (see `initial_state`).

        Notes
        -----
        The arrays hold all steps, even for layers with ``return_sequences=False``. The bits are
        those of `predict`. All examples run at once, so memory grows with their number.
        """
        nodes = dict(zip(names_of(self.nodes), self.nodes, strict=True))
        return record(self._engine, nodes, x, timesteps, layers, voltages)

    @told_options
    def initial_state(self, batch_size: int) -> State:
        """Return the state of ``batch_size`` examples before the first step of streaming.

        Parameters
        ----------
        batch_size : int
            The number of examples.

        Returns
        -------
        State
            For `step`.

        Raises
        ------
        ValueError
            If the model has no time axis, or a layer mixes time steps.
        """
        return self._engine.initial_state(batch_size)

    def step(self, x: Inputs, state: State) -> tuple[Outputs, State]:
        """Run one time step.

        Parameters
        ----------
        x : array_like, or list or dict of array_like
            The inputs of this step, ``(batch, …)`` without a time axis.
        state : State
            From `initial_state` or from the previous step. It is not changed.

        Returns
        -------
        outputs : ndarray, or list or dict of ndarray
            Without a time axis. Layers that reduce over time give their value so far.
        state : State
            The state after this step.

        Raises
        ------
        TypeError
            If ``state`` is not a state.
        ValueError
            If the inputs do not fit the model, or ``state`` is for another number of examples.
        """
        outputs, after = self._engine.step(x, state)
        return self._structured(outputs), after

    @property
    def num_threads(self) -> int | None:
        """The number of threads to use; None for all cores."""
        return self._engine.threads

    @num_threads.setter
    def num_threads(self, count: int | None) -> None:
        with limit_threads(count):  # checks it
            self._engine.threads = count

    @property
    def last_run(self) -> dict[str, LayerRun]:
        """Operations and events of the layers with products in the last run, by name."""
        names = names_of(self.nodes)
        return {names[i]: run for i, run in layer_runs(self._engine.counts).items()}

    def _lazily(self, method: str, x: Any, out: Any = None, **options: Any) -> Any:
        check_lazy(out, self._engine.is_one_block)
        return applied(self, method, x, **options)

    def _structured(self, outputs: list[Any]) -> Any:
        return outputs[0] if self._has_one_output else structured(self._graph.outputs, outputs)
