"""Worker of ONNX Runtime: the trained model, with all steps unrolled into one graph by hand.

The graph is written with the graph builder instead of exported, so that it has no superfluous
operations: the best case for the runtime.
"""

from __future__ import annotations

import os
import pathlib

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks import works
from benchmarks.worker import Builder, Job, serve


class Graph:
    """Nodes and constants of a graph under construction."""

    def __init__(self) -> None:
        self.nodes: list = []
        self.constants: list = []

    def add(self, operation: str, *inputs: object, **attributes: object) -> str:
        """Add a node; return the name of its output."""
        output = f"t{len(self.nodes)}"
        names = [self.constant(x) if isinstance(x, np.ndarray) else x for x in inputs]
        self.nodes.append(helper.make_node(operation, names, [output], **attributes))
        return output

    def constant(self, value: np.ndarray) -> str:
        """Add a constant; return its name."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name


def unrolled(found: dict[str, np.ndarray], steps: int, static: bool) -> bytes:
    """Return the model, for single images (``static``) or for sequences of ``steps`` frames."""
    graph = Graph()
    scalar = lambda value: np.array(value, np.float32)  # noqa: E731
    decay = np.exp(-works.MODEL_DT / works.TAU)
    size, units = found["hidden_kernel"].shape
    shape = ["batch", size] if static else ["batch", steps, size]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    product = graph.add("MatMul", "x", found["hidden_kernel"])
    rates = graph.add("Relu", graph.add("Add", product, found["hidden_bias"]))
    charge = graph.add("Mul", rates, scalar(works.MODEL_DT))
    gain = scalar((1 - decay) / works.MODEL_DT)
    voltage: object = found["voltage"].astype(np.float32)[None]
    level: object = np.zeros((1, units), np.float32)
    for t in range(steps):
        part = charge if static else graph.add("Gather", charge, np.array(t), axis=1)
        voltage = graph.add("Add", voltage, part)
        spikes = graph.add("Floor", voltage)
        voltage = graph.add("Sub", voltage, spikes)
        level = graph.add(
            "Add", graph.add("Mul", level, scalar(decay)), graph.add("Mul", spikes, gain)
        )
    scores = graph.add("MatMul", level, found["scores_kernel"])
    graph.nodes.append(
        helper.make_node("Add", [scores, graph.constant(found["scores_bias"])], ["y"])
    )
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])
    made = helper.make_graph(graph.nodes, "unrolled", [x], [y], graph.constants)
    opset = helper.make_opsetid("", 17)
    return helper.make_model(made, opset_imports=[opset], ir_version=8).SerializeToString()


def predict(batch_size: int, static: bool) -> Builder:
    """Return a builder of the whole model, batch by batch."""

    def build(work: works.Work, data: pathlib.Path) -> Job:
        found = works.digits(data, work)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "2"))
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        session = onnxruntime.InferenceSession(
            unrolled(found, work.steps, static), options, ["CPUExecutionProvider"]
        )
        x = found["images"] if static else works.frames(data, work)
        starts = range(0, len(x), batch_size)

        def call() -> np.ndarray:
            parts = [session.run(None, {"x": x[i : i + batch_size]})[0] for i in starts]
            return parts[0] if len(parts) == 1 else np.concatenate(parts)

        return Job(call, lambda y: works.check_scores(work, data, y))

    return build


SIZES = (128, 1000)
OFFERS = {
    "predict-static": {
        **{f"batches of {size}": predict(size, False) for size in SIZES},
        **{f"first layer once, batches of {size}": predict(size, True) for size in SIZES},
    },
    "predict-varying": {f"batches of {size}": predict(size, False) for size in SIZES},
    "one-image": {"": predict(1, False), "first layer once": predict(1, True)},
}

if __name__ == "__main__":
    serve(OFFERS, ["onnxruntime", "onnx", "numpy"])
