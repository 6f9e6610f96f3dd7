"""Tests of the architecture rules that the source shows: imports, sizes, names.

The checks import nothing and only read syntax trees. `LEVELS` is the order of the packages'
folders; `EXCEPTIONS` lists what still breaks a rule and may only become shorter.
"""

import ast
import graphlib
import pathlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import pytest

ROOT = pathlib.Path(__file__).parents[1]
MAX_MODULE, MAX_FUNCTION, MAX_ARGUMENTS = 350, 50, 8
COMPILERS = {"kernel", "inlined", "njit", "jit", "cfunc", "guvectorize", "vectorize", "stencil"}

# From the bottom to the top. An entry is a module, or a folder with its contents; the longest
# matching entry applies to a module. Imports lead to the same line or to one above it in the list.
LEVELS = {
    "kspike_ref": (
        "arguments dtypes strings types",
        "kernels",
        "signals softmax",
        "running.binder running.counts running.interrupt running.threads",
        "spiking synapses activations",
        "saved.archive saved.assets saved.container saved.errors saved.hdf5 saved.hdf5_messages "
        "saved.limits saved.shared saved.structure saved.text",
        "tables",
        "layers",
        "running",
        "saved",
        "summary distributed",
        "model",
        "loading",
        "plot nir warm_up",
        "cli",
        "__main__",
    ),
    "kspike_tf": (
        "checks tracing config types",
        "describing",
        "scan",
        "constraints few_spikes metrics onnx_operations",
        "layers",
        "regularizers model_energy export",
        "conversion",
        "rates recording",
        "callbacks sweeping",
    ),
    "kspike_energy": (
        "config measuring.activity storage synapses "
        "presentation.bibliography presentation.dots presentation.look presentation.tables "
        "presentation.units",
        "checks",
        "quantised",
        "presentation.comparison_data",
        "presentation.comparison_text",
        "presentation.comparison",
        "devices settings",
        "counting",
        "measuring.batches network registry",
        "defaults memory_model",
        "adapters estimate",
        "compare layer_stats measuring",
        "presentation",
        "build_network",
        "model_energy neurobench",
        "calibration presentation.plots plots",
    ),
}

# Methods that other packages call.
CALLED_FROM_OUTSIDE = {
    *("cache_path", "load_overload", "save_overload", "flush"),  # Numba
    *("on_train_begin", "on_epoch_begin", "on_epoch_end"),  # Keras
    *("on_train_batch_begin", "on_train_batch_end"),
    *("compute_mask", "reset_state"),
    "_repr_html_",  # Jupyter
}

# Packages that a package must never import, and those it must not import at import time.
NEVER = {
    "kspike_ref": {"tensorflow", "keras", "tf_keras", "kspike_tf"},
    "kspike_tf": {"kspike_ref"},
    "kspike_energy": {"kspike_tf"},
}
NEVER_AT_IMPORT = {
    "kspike_ref": {"kspike_energy"},
    "kspike_tf": set(),
    "kspike_energy": {"tensorflow", "keras", "kspike_ref"},
}

# Current exceptions to a rule, by the name of its check.
EXCEPTIONS: dict[str, set[str]] = {}


@dataclass(frozen=True)
class Import:
    """Import of one name: its target, and whether it runs later than its module."""

    module: str
    name: str
    is_lazy: bool


@dataclass(frozen=True)
class Module:
    """Module of one of the packages."""

    name: str
    source: str

    @property
    def tree(self) -> ast.Module:
        return _parsed(self.source)

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]


@cache
def _parsed(source: str) -> ast.Module:
    return ast.parse(source)


@cache
def modules() -> dict[str, Module]:
    """Return all modules by name."""
    found = {}
    for source in sorted(ROOT.glob("packages/*/src")):
        for path in source.rglob("*.py"):
            parts = path.relative_to(source).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = Module(name, path.read_text(encoding="utf-8"))
    return found


@cache
def imports(module: Module) -> list[Import]:
    """Return all imports of a module, also within functions and for type checkers."""
    found = []
    nodes = [(node, False) for node in module.tree.body]
    while nodes:
        node, is_lazy = nodes.pop()
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module.name} imports relatively"
            found += [Import(str(node.module), alias.name, is_lazy) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [Import(alias.name, "", is_lazy) for alias in node.names]
        is_lazy = is_lazy or isinstance(node, ast.FunctionDef) or _is_for_type_checkers(node)
        nodes += [(child, is_lazy) for child in ast.iter_child_nodes(node)]
    return found


def _is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def functions(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions and methods of a module."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def edges(known: dict[str, Module], also_lazy: bool = True) -> set[tuple[str, str]]:
    """Return pairs of modules of one package: the first imports the second."""
    found = set()
    for module in known.values():
        for one in imports(module):
            target = f"{one.module}.{one.name}"
            target = target if target in known else one.module
            is_own = target in known and known[target].package == module.package
            if is_own and (also_lazy or not one.is_lazy):
                found.add((module.name, target))
    return found


def level(module: str) -> int | None:
    """Return the number of a module's line in `LEVELS`, or None."""
    package, _, inner = module.partition(".")
    lines = LEVELS[package]
    if not inner:
        return len(lines)
    entries = {entry: i for i, line in enumerate(lines) for entry in line.split()}
    while inner and inner not in entries:
        inner = inner.rpartition(".")[0]
    return entries.get(inner)


def modules_without_a_level(known: dict[str, Module]) -> set[str]:
    return {name for name in known if level(name) is None}


def imports_that_point_up(known: dict[str, Module]) -> set[str]:
    return {f"{a} -> {b}" for a, b in edges(known) if (level(a) or 0) < (level(b) or 0)}


def lazy_imports_because_of_a_circle(known: dict[str, Module]) -> set[str]:
    """Return imports within functions, or for type checkers, whose target leads back."""
    pairs = edges(known)
    lazy = pairs - edges(known, also_lazy=False)
    return {f"{a} -> {b}" for a, b in lazy if a in _reached({b}, pairs)}


def circles(known: dict[str, Module]) -> set[str]:
    """Return an import circle, if there is one."""
    graph: dict[str, set[str]] = {}
    for a, b in edges(known):
        graph.setdefault(a, set()).add(b)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return {" <- ".join(error.args[1])}
    return set()


def _reached(starts: set[str], pairs: set[tuple[str, str]]) -> set[str]:
    """Return some modules and all that they import, directly or indirectly."""
    found: set[str] = set()
    new = starts
    while new:
        found |= new
        new = {b for a, b in pairs if a in new} - found
    return found


def private_names_imported(known: dict[str, Module]) -> set[str]:
    """Return private names of other modules that are imported or read from an imported module."""
    found = set()
    for module in known.values():
        of_modules = set()
        for one in imports(module):
            if one.module.partition(".")[0] not in LEVELS:
                continue
            path = f"{one.module}.{one.name}"
            if private := re.match(r"\w+(\.\w+)*?\._\w+", path):
                found.add(f"{module.name} -> {private[0]}")
            if path in known:
                of_modules.add(one.name)
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                is_private = node.attr.startswith("_") and not node.attr.startswith("__")
                if is_private and node.value.id in of_modules:
                    found.add(f"{module.name} -> {node.value.id}.{node.attr}")
    return found


def long_modules(known: dict[str, Module]) -> set[str]:
    return {m.name for m in known.values() if len(m.source.splitlines()) > MAX_MODULE}


def long_functions(known: dict[str, Module]) -> set[str]:
    """Return functions that are too long, not counting decorators and docstrings."""
    found = set()
    for module in known.values():
        for function in functions(module):
            lines = (function.end_lineno or 0) - function.lineno + 1
            if ast.get_docstring(function) is not None:
                lines -= (function.body[0].end_lineno or 0) - function.body[0].lineno + 1
            if lines > MAX_FUNCTION:
                found.add(f"{module.name}.{function.name}")
    return found


def kernels_with_many_arguments(known: dict[str, Module]) -> set[str]:
    """Return functions with too many arguments that a decorator or a call compiles."""
    found = set()
    for module in known.values():
        compiled = {
            argument.id
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Call) and _name(node) in COMPILERS
            for argument in node.args
            if isinstance(argument, ast.Name)
        }
        for function in functions(module):
            has_decorator = any(_name(one) in COMPILERS for one in function.decorator_list)
            a = function.args
            count = len(a.posonlyargs + a.args + a.kwonlyargs)
            if count > MAX_ARGUMENTS and (has_decorator or function.name in compiled):
                found.add(f"{module.name}.{function.name}")
    return found


def _name(node: ast.expr) -> str:
    """Return the last part of the name of a decorator or a called function."""
    while isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def forbidden_imports(known: dict[str, Module]) -> set[str]:
    found = set()
    pairs = edges(known, also_lazy=False)
    pairs |= {(name, name.rpartition(".")[0]) for name in known if "." in name}
    at_import = _reached(set(LEVELS), pairs)
    for module in known.values():
        for one in imports(module):
            other = one.module.partition(".")[0]
            is_eager = module.name in at_import and not one.is_lazy
            if other in NEVER[module.package] or (
                is_eager and other in NEVER_AT_IMPORT[module.package]
            ):
                found.add(f"{module.name} -> {other}")
    return found


def definitions_that_only_tests_use(known: dict[str, Module]) -> set[str]:
    """Return functions, methods and classes whose names occur nowhere else in the packages.

    A name in a string counts as used, as in ``__all__`` and ``getattr``; so does a decorator with
    arguments, which enters a definition in a table. Methods of public classes are public.
    """
    nodes = [node for module in known.values() for node in ast.walk(module.tree)]
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    used |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    texts = {node.value for node in nodes if isinstance(node, ast.Constant)}
    used |= {text for text in texts if isinstance(text, str)}
    public = {name for package in LEVELS.keys() & known.keys() for name in _listed(known[package])}
    found = set()
    for module in known.values():
        classes = [node for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]
        for owner in [module.tree, *classes]:
            is_public = getattr(owner, "name", "") in public
            for node in owner.body:
                if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name in used:
                    continue
                is_entered = any(isinstance(one, ast.Call) for one in node.decorator_list)
                is_called = node.name.startswith("__") or node.name in CALLED_FROM_OUTSIDE
                if not (is_public or is_entered or is_called):
                    found.add(f"{module.name}.{node.name}")
    return found


def packages_without_a_list_of_names(known: dict[str, Module]) -> set[str]:
    """Return packages whose ``__all__`` is no list of public names, or that `dir` does not show."""
    found = set()
    for package in LEVELS.keys() & known.keys():
        names = _listed(known[package])
        shown = [ast.unparse(f) for f in functions(known[package]) if f.name == "__dir__"]
        is_public = names and not any(name.startswith("_") for name in names)
        if not is_public or not shown or "[*__all__, '__version__']" not in shown[0]:
            found.add(package)
    return found


def _listed(module: Module) -> list[str]:
    """Return the names in a module's ``__all__``."""
    for node in module.tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


CHECKS = (
    modules_without_a_level, imports_that_point_up, lazy_imports_because_of_a_circle, circles,
    private_names_imported, long_modules, long_functions, kernels_with_many_arguments,
    forbidden_imports, definitions_that_only_tests_use, packages_without_a_list_of_names,
)  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_rule_holds_but_for_the_exceptions(check):
    known = EXCEPTIONS.get(check.__name__, set())
    found = check(modules())
    assert sorted(found - known) == []
    assert sorted(known - found) == [], "holds by now: remove it from EXCEPTIONS"


WRONG = {
    modules_without_a_level: ("kspike_ref.elsewhere", ""),
    imports_that_point_up: ("kspike_ref.kernels.a", "from kspike_ref.layers.b import c"),
    lazy_imports_because_of_a_circle: (
        "kspike_ref.layers.b", "def f():\n    import kspike_ref.kernels.a",
    ),
    circles: ("kspike_ref.layers.b", "def f():\n    import kspike_ref.kernels.a"),
    private_names_imported: ("kspike_ref.layers.b", "from kspike_ref.kernels.a import _x"),
    long_modules: ("kspike_ref.layers.b", "a = 1\n" * 351),
    long_functions: ("kspike_ref.layers.b", "def f():\n    '''Text.'''\n" + "    a = 1\n" * 50),
    kernels_with_many_arguments: (
        "kspike_ref.layers.b", "@kernel\ndef f(a, b, c, d, e, f, g, h, i):\n    pass",
    ),
    forbidden_imports: ("kspike_ref.layers.b", "def f():\n    import keras.ops"),
    definitions_that_only_tests_use: ("kspike_ref.layers.b", "class A:\n    def f(self): A"),
    packages_without_a_list_of_names: ("kspike_ref", "__all__ = ['_a']"),
}  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_check_finds_what_breaks_its_rule(check):
    above = Module("kspike_ref.kernels.a", "import kspike_ref.layers.b")
    right = Module("kspike_ref.layers.b", "")
    name, source = WRONG[check]
    wrong = Module(name, source)
    assert check({above.name: above, right.name: right, name: wrong})
