"""StableHLO modules that call our handler of XLA's foreign function interface."""

from __future__ import annotations

TYPES = {"float32": "f32", "float64": "f64"}


def module(name: str, place: int, kinds: tuple[tuple[str, int], ...], results: int) -> str:
    """Return a module that calls a handler for a scan, with arguments of any shape.

    ``indices_of_shape_operands`` names the operands that hold the shapes of the results. XLA
    evaluates them once the shapes of the arguments are known, and does not pass them to the
    handler.
    """
    kinds_ = [f"tensor<{'?x' * rank}{TYPES[kind]}>" for kind, rank in kinds]
    args, lines, shapes = [f"%{n}" for n in range(len(kinds))], [], []
    for n, (_, rank) in enumerate(kinds[:results]):
        for axis in range(rank):
            lines += [
                f"%l{n}_{axis} = stablehlo.get_dimension_size %{n}, dim = {axis}"
                f" : ({kinds_[n]}) -> tensor<i32>",
                f"%s{n}_{axis} = stablehlo.reshape %l{n}_{axis} : (tensor<i32>) -> tensor<1xi32>",
            ]
        sizes = ", ".join(f"%s{n}_{axis}" for axis in range(rank))
        ones = ", ".join(["tensor<1xi32>"] * rank)
        shapes.append(f"tensor<{rank}xi32>")
        lines.append(f"%s{n} = stablehlo.concatenate {sizes}, dim = 0 : ({ones}) -> {shapes[-1]}")
    given = ", ".join(f"{arg}: {kind}" for arg, kind in zip(args, kinds_, strict=True))
    where = ", ".join(str(len(args) + n) for n in range(results))
    operands = ", ".join([*args, *(f"%s{n}" for n in range(results))])
    found = ", ".join(kinds_[:results])
    body = "\n    ".join(lines)
    return f"""
module @kspike_tf attributes {{jax.uses_shape_polymorphism = true}} {{
  func.func public @main({given}) -> ({found}) {{
    {body}
    %r:{results} = stablehlo.custom_call @"{name}"({operands}) {{
      api_version = 4 : i32, backend_config = {{place = {place} : i64}},
      indices_of_shape_operands = dense<[{where}]> : tensor<{results}xi64>
    }} : ({", ".join([*kinds_, *shapes])}) -> ({found})
    return {", ".join(f"%r#{n}" for n in range(results))} : {found}
  }}
}}"""
