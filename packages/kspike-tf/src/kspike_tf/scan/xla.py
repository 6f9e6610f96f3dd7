"""The kernels on this machine's processor, called from programs that XLA compiles.

XLA calls a function of ours by its name (`kspike_tf.scan.foreign`), and compiles what is around the
call. So a kernel is as fast there as elsewhere, and costs next to nothing to compile. TensorFlow
has an operation whose contents XLA takes as they are, a module of StableHLO: ours is just the call,
for any shape.

A compiled function that is saved can be loaded where kspike_tf has been imported, which makes the
names known.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla

from kspike_tf.scan import foreign, host, kernels, program
from kspike_tf.scan.formulas import Recurrence

Tensor = Any

VERSION = 9  # of XlaCallModule: what it may contain
TYPES = {tf.float32: "f32", tf.float64: "f64"}  # StableHLO's


def _name(recurrence: Recurrence, kind: Any) -> str:
    """Return what programs call a scan, of sequences of a type."""
    return f"kspike_tf.{recurrence.name}.{TYPES[kind]}"


_are_known = foreign.register(
    {
        _name(recurrence, kind): program.address(recurrence, program.letter(kind))
        for recurrence in kernels.ALL
        for kind in TYPES
    }
)


def is_possible() -> bool:
    """Return whether XLA may call the host: it is what computes, and knows our functions."""
    return _are_known and host.is_possible()


def call(recurrence: Recurrence, args: Sequence[Tensor]) -> list[Tensor]:
    """Scan tensors.

    Parameters
    ----------
    recurrence : Recurrence
        What is done in a step.
    args : sequence of tf.Tensor
        As `program.run` takes them.

    Returns
    -------
    list of tf.Tensor
        The results; of the types and shapes of as many arguments, in their order.
    """
    program.begin(recurrence, program.letter(args[0].dtype))
    like = list(args)[: recurrence.results]
    kinds = tuple((each.dtype, each.shape.rank) for each in args)
    return list(
        xla.call_module(
            args,
            version=VERSION,
            module=_module(_name(recurrence, args[0].dtype), kinds, len(like)),
            Tout=[each.dtype for each in like],
            Sout=[each.shape for each in like],
            platforms=["CPU"],
        )
    )


@cache
def _module(name: str, kinds: tuple[tuple[Any, int], ...], results: int) -> str:
    """Return a module that calls a function, for arguments of any shape.

    XLA finds the shapes of results in operands that are named in ``indices_of_shape_operands``,
    when those of the arguments are known, and leaves these operands out.
    """
    types = [f"tensor<{'?x' * rank}{TYPES[dtype]}>" for dtype, rank in kinds]
    lines, shapes = [], []
    for n in range(results):
        rank = kinds[n][1]
        for axis in range(rank):
            lines += [
                f"%l{n}_{axis} = stablehlo.get_dimension_size %{n}, dim = {axis}"
                f" : ({types[n]}) -> tensor<i32>",
                f"%s{n}_{axis} = stablehlo.reshape %l{n}_{axis} : (tensor<i32>) -> tensor<1xi32>",
            ]
        sizes = _listed(f"%s{n}_{axis}" for axis in range(rank))
        ones = _listed(["tensor<1xi32>"] * rank)
        shapes.append(f"tensor<{rank}xi32>")
        lines.append(f"%s{n} = stablehlo.concatenate {sizes}, dim = 0 : ({ones}) -> {shapes[-1]}")
    args = [f"%{n}" for n in range(len(kinds))]
    given = _listed(f"{arg}: {kind}" for arg, kind in zip(args, types, strict=True))
    where = _listed(str(len(args) + n) for n in range(results))
    operands = _listed([*args, *(f"%s{n}" for n in range(results))])
    body = "\n    ".join(lines)
    return f"""
module @kspike_tf attributes {{jax.uses_shape_polymorphism = true}} {{
  func.func public @main({given}) -> ({_listed(types[:results])}) {{
    {body}
    %r:{results} = stablehlo.custom_call @"{name}"({operands}) {{
      api_version = 4 : i32,
      indices_of_shape_operands = dense<[{where}]> : tensor<{results}xi64>
    }} : ({_listed([*types, *shapes])}) -> ({_listed(types[:results])})
    return {_listed(f"%r#{n}" for n in range(results))} : {_listed(types[:results])}
  }}
}}"""


def _listed(each: Any) -> str:
    return ", ".join(each)
