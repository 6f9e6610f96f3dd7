# ruff: noqa: D102 (methods are documented in base.Layer)
"""Convolutional LSTM: an LSTM with convolutions in place of products.

Shi et al., "Convolutional LSTM network", NeurIPS 2015; as in Keras, the gates do not see the cell.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kspike_ref.layers.activation import activation
from kspike_ref.layers.cells import Cell
from kspike_ref.layers.errors import Array, Shape
from kspike_ref.layers.recurrent import RNN
from kspike_ref.layers.registry import create, known
from kspike_ref.running.counts import Tally


@known("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
class ConvLSTM(RNN):
    """A convolutional LSTM over time; it takes floats only, as TensorFlow's convolutions do."""

    casts = "f"
    kinds = "f"

    def temporaries(self, given: list[Any], made: list[Any]) -> int:
        cell: Any = self.cell
        gates = cell.inward.output_shape((given[0][0] * given[0][1], *given[0][2:]))
        return 3 * math.prod(gates)


@known("ConvLSTM1DCell", "ConvLSTM2DCell", "ConvLSTM3DCell")
class ConvLSTMCell(Cell):
    """One step: gates i, f, candidate c, and o are convolutions of the input and last output."""

    state_count = 2

    def setup(self) -> None:
        config = self.config
        self.rank = next(int(c) for c in self.class_name if c.isdigit())
        self.filters = self.integer("filters")
        self.use_bias = self.boolean("use_bias", True)
        self.activation = activation(config.get("activation", "tanh"))
        self.gate = activation(config.get("recurrent_activation", "sigmoid"))
        shared = {
            "filters": 4 * self.filters,
            "kernel_size": config["kernel_size"],
            "data_format": config.get("data_format"),
            "dtype": config.get("dtype"),
        }
        names = ("strides", "padding", "dilation_rate")
        inward = {name: config[name] for name in names if name in config}
        self.inward: Any = self._convolution({**shared, **inward, "use_bias": self.use_bias})
        self.recurrent: Any = self._convolution(
            {**shared, "strides": 1, "padding": "same", "use_bias": False}
        )
        self.first = config.get("data_format") == "channels_first"

    def _convolution(self, config: dict[str, Any]) -> Any:
        item = {"module": "keras.layers", "class_name": f"Conv{self.rank}D", "config": config}
        return create(item, self.name)

    def _state(self, shape: Shape) -> Shape:
        """Return the shape of a batch of states."""
        made = self.inward.output_shape(shape)
        if self.first:
            return (made[0], self.filters, *made[2:])
        return (*made[:-1], self.filters)

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        weights = self.inward.weight_shapes(shape)
        recurrent = self.recurrent.weight_shapes(self._state(shape))
        named = {"kernel": weights["kernel"], "recurrent_kernel": recurrent["kernel"]}
        return named | ({"bias": weights["bias"]} if self.use_bias else {})

    def output_units(self, shape: Shape) -> Shape:
        return self._state(shape)[1:]

    def state_shapes(self, shape: Shape) -> list[Shape]:
        return [self.output_units(shape)] * 2

    def prepare(self) -> None:
        self.inward.weights = {k: v for k, v in self.weights.items() if k != "recurrent_kernel"}
        self.recurrent.weights = {"kernel": self.weights["recurrent_kernel"]}
        self.inward.prepare()
        self.recurrent.prepare()

    def project(self, x: Array, tally: Tally) -> Array:
        folded = np.ascontiguousarray(x).reshape(x.shape[0] * x.shape[1], *x.shape[2:])
        y: Array = self.inward.call(folded, tally=tally)
        return y.reshape(*x.shape[:2], *y.shape[1:])

    def step(self, x: Array, states: list[Array], tally: Tally) -> tuple[Array, list[Array]]:
        z = x + self.recurrent.call(states[0], tally=tally)
        i, f, c, o = np.split(z, 4, axis=1 if self.first else -1)
        carry = self.gate(f) * states[1] + self.gate(i) * self.activation(c)
        h = self.gate(o) * self.activation(carry)
        return h, [h, carry]
