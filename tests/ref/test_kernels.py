"""Tests that compiled loops are only reached through checks, which refuse all unfit arguments."""

import ast
import pickle
from pathlib import Path

import numpy as np
import pytest

import kspike_ref
from kspike_ref import warm_up
from kspike_ref.kernels import checks, matmul

pytestmark = pytest.mark.memory

PACKAGE = Path(kspike_ref.__file__).parent
KERNELS = PACKAGE / "kernels"


# Only the checked entry points


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def is_compiled(function):
    """Return whether a decorator compiles a function."""
    names = {getattr(d, "id", getattr(d, "attr", None)) for d in function.decorator_list}
    return not names.isdisjoint({"kernel", "inlined", "njit", "jit", "intrinsic"})


def functions(module):
    """Yield the functions of a module, including methods, with their names."""
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef):
            yield node.name, node


def compiled_names():
    """Return the names of everything compiled, and of what `intrinsic` makers return."""
    names = set()
    for path in KERNELS.glob("*.py"):
        for name, function in functions(tree(path)):
            if is_compiled(function):
                names.add(name)
    return names


def outside():
    return [path for path in PACKAGE.rglob("*.py") if KERNELS not in path.parents]


def used_from_kernels(module):
    """Return the names that a module imports from kernels/, and the attributes it reads there."""
    modules, names = set(), set()
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom) and node.module == "kspike_ref.kernels":
            modules |= {alias.asname or alias.name for alias in node.names}
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "kspike_ref.kernels."
        ):
            names |= {alias.name for alias in node.names}
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", None) in modules:
            names.add(node.attr)
    return names


def test_there_is_something_to_find():
    """Otherwise the tests below could not fail."""
    assert {"spike_loop", "multiply_loop", "mean_loop", "nonzero_bits"} <= compiled_names()
    modules = {path.name: used_from_kernels(tree(path)) for path in outside()}
    assert {"spike", "time"} <= modules["spiking.py"]
    assert "multiply_call" in modules["product.py"]


@pytest.mark.parametrize("path", outside(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_outside_kernels_nothing_compiled_is_used(path):
    module = tree(path)
    assert not used_from_kernels(module) & compiled_names()
    imports = [n for n in ast.walk(module) if isinstance(n, ast.Import | ast.ImportFrom)]
    for node in imports:
        names = [alias.name for alias in node.names]
        source = getattr(node, "module", None) or ""
        assert "numba" not in {source.split(".")[0], *(name.split(".")[0] for name in names)}
        # A whole module imported under another name would escape the search above.
        if isinstance(node, ast.Import):
            assert not any(name.startswith("kspike_ref.kernels") for name in names)
        assert "*" not in names
    attributes = {node.attr for node in ast.walk(module) if isinstance(node, ast.Attribute)}
    assert "py_func" not in attributes


def callers():
    """Return the plain functions of kernels/ that call compiled code or return a call of it."""
    compiled = compiled_names()
    found = set()
    for path in KERNELS.glob("*.py"):
        for name, function in functions(tree(path)):
            if is_compiled(function):
                continue
            nodes = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
            used = {getattr(node.func, "id", None) for node in nodes}
            if name.endswith("_call"):
                used = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
            if used & compiled:
                found.add(f"{path.stem}.{name.removesuffix('_call')}")
    return found


def entry_name(function):
    return f"{function.__module__.rsplit('.', 1)[-1]}.{function.__name__}"


def test_a_way_in_is_called_as_it_is_named():
    for function in (call[0] for call in warm_up.small_calls(np.float32)):
        assert pickle.loads(pickle.dumps(function)) is function
        assert not function.__qualname__.endswith("_call")


def test_every_way_in_is_tried_below():
    assert callers() == {entry_name(function) for function, _ in warm_up.small_calls(np.float32)}


# Unfit arguments


CASES = [
    pytest.param(number, dtype, id=f"{entry_name(function)}-{np.dtype(dtype)}")
    for dtype in (np.float32, np.float64)
    for number, (function, _) in enumerate(warm_up.small_calls(dtype))
]


def call_of(number, dtype):
    """Return one of the calls, with its own arrays."""
    function, arguments = list(warm_up.small_calls(dtype))[number]
    return function, arguments


@pytest.mark.parametrize(("number", "dtype"), CASES)
def test_what_fits_is_computed(number, dtype):
    function, arguments = call_of(number, dtype)
    function(**arguments)


def lengthened(x, axis, by):
    shape = list(x.shape)
    shape[axis] += by
    return np.ones(shape, x.dtype)


def misaligned(x):
    room = np.zeros(x.nbytes + 1, np.uint8)
    return room[1:].view(x.dtype).reshape(x.shape)


def wrong_types(x):
    others = [np.float16, np.float32, np.float64, np.int32, np.intp, bool, complex, object]
    for other in others:
        if x.dtype != other:
            yield x.astype(other)
    if x.dtype.itemsize > 1:
        yield x.astype(x.dtype.newbyteorder())
    yield x.tolist()
    yield None
    yield 1.0


def wrong_memory(x):
    double = np.repeat(x, 2, axis=-1)
    yield double[..., ::2]
    yield x[..., ::-1]
    yield np.broadcast_to(x.reshape(-1)[:1].reshape([1] * x.ndim), x.shape)
    if x.ndim > 1 and max(x.shape) > 1:
        yield np.asfortranarray(x)
    yield misaligned(x)


def wrong_shapes(x):
    yield x[None]
    yield x[..., None]
    yield x.reshape(-1)[0].reshape(())
    if x.ndim > 1:
        yield x.reshape(-1)
    for axis in range(x.ndim):
        for by in (-1, 1, 40):
            yield lengthened(x, axis, by)


# Windows read only existing inputs, so these may have any height and width.
ANY_SIZE = {
    "convolve.convolve": "x", "convolve.depthwise": "x", "convolve.pool": "x",
    "convolve.scatter": "columns",
}  # fmt: skip


def may_be(name, argument, x):
    """Return whether a changed argument still fits."""
    if not isinstance(x, np.ndarray):
        return False
    if name == "events.count":
        return x.ndim == 1
    if name in ("matmul.multiply", "matmul.multiply_events") and argument == "out":
        # Panels are padded with zeros, so the output may have as many columns as fit in a panel.
        fits = x.ndim == 2 and x.shape[0] == 2
        return fits and matmul.packed_size(1, x.shape[1], x.dtype) == matmul.packed_size(
            1, 3, x.dtype
        )
    expected = {"convolve.scatter": 6}.get(name, 5)
    if ANY_SIZE.get(name) == argument and x.ndim == expected:
        last = (9, 3) if expected == 6 else (4,)
        return x.shape[0] == 2 and x.shape[4:] == last
    return False


def arrays_of(number, dtype):
    _, arguments = call_of(number, dtype)
    return [name for name, value in arguments.items() if isinstance(value, np.ndarray)]


def is_output(name):
    return name in ("out", "voltage", "level", "state", "h", "carry")


@pytest.mark.parametrize(("number", "dtype"), CASES)
@pytest.mark.parametrize("change", [wrong_types, wrong_memory, wrong_shapes])
def test_no_argument_may_be_wrong(number, dtype, change):
    tried = 0
    for argument in arrays_of(number, dtype):
        function, arguments = call_of(number, dtype)
        name = entry_name(function)
        for wrong in change(arguments[argument]):
            if change is wrong_types and argument in ("x", "a") and _is_alone(name, wrong):
                continue
            if change is wrong_shapes and may_be(name, argument, wrong):
                function(**arguments | {argument: wrong})
                continue
            if isinstance(wrong, np.ndarray) and isinstance(arguments[argument], np.ndarray):
                same = wrong.flags.c_contiguous and wrong.flags.aligned
                usable = wrong.flags.writeable or not is_output(argument)
                if change is wrong_memory and same and usable:
                    continue  # so short that it is contiguous in this way too
            with pytest.raises((TypeError, ValueError)):
                function(**arguments | {argument: wrong})
            tried += 1
    assert tried >= 2


def _is_alone(name, wrong):
    """Return whether another type fits because no other argument must match it."""
    floats = isinstance(wrong, np.ndarray) and wrong.dtype in (np.float32, np.float64)
    return name in ("events.count", "events.count_reached") and floats and wrong.dtype.isnative


@pytest.mark.parametrize(("number", "dtype"), CASES)
def test_outputs_must_be_writable(number, dtype):
    function, arguments = call_of(number, dtype)
    for argument in filter(is_output, arguments):
        values = arguments[argument].copy()
        values.flags.writeable = False
        with pytest.raises(ValueError, match="writable"):
            function(**arguments | {argument: values})


WRONG_SCALARS = {
    "region": [
        (0, 3, 0, 5), (0, 2, 0, 6), (-1, 2, 0, 5), (0, 2, -1, 5), (2, 1, 0, 5), (0, 2, 4, 3),
        (0, 2, 0), (0.0, 2, 0, 5), (0, 2, 0, True), [0, 2, 0, 5], None, (0, 2**70, 0, 5),
        (-(2**63), 2, 0, 5),
    ],
    "groups": [0, -1, 3, 4, 2.0, True, None, 2**70],
    "examples": [(0, 3), (-1, 2), (2, 1), (0, 1.0), (0, True), (0, 2**70), (0,), None, 3],
    "lines": [(0, 5), (-1, 2), (3, 1), (0, 1.0), (4, 2**40)],
    "channels": [-4, 3, 0, 4.0, True, None],
    "room": [None, (), 0],
    "functions": [
        (-1, 0), (0, 6), (0, 2**70), (0, 1.0), (True, 0), (0,), (0, 0, 0), [0, 0], None, 3,
    ],
    "span": [(0, 4), (-1, 2), (2, 1), (0, 1.0), (0, True), (0, 2**70), (0,), [0, 1], None, 3],
    "steps": [-1, 0, 2, 4, 3.0, True, None],
}  # fmt: skip


@pytest.mark.parametrize(("number", "dtype"), CASES)
def test_no_scalar_may_be_wrong(number, dtype):
    function, arguments = call_of(number, dtype)
    for argument in WRONG_SCALARS.keys() & arguments.keys():
        for wrong in WRONG_SCALARS[argument]:
            with pytest.raises((TypeError, ValueError)):
                function(**arguments | {argument: wrong})


@pytest.mark.parametrize(("number", "dtype"), CASES)
def test_no_geometry_may_be_impossible(number, dtype):
    function, arguments = call_of(number, dtype)
    if "geometry" not in arguments:
        return
    wrong = [(row, axis, 0) for row in (0, 1, 2) for axis in range(3)]
    wrong += [(row, axis, -1) for row in (0, 1, 2, 4) for axis in range(3)]
    wrong += [(row, axis, 2**40) for row in range(5) for axis in range(3)]
    wrong += [(row, axis, -(2**63)) for row in range(5) for axis in range(3)]
    wrong += [(4, axis, 7) for axis in range(3)]  # does not fit the output
    if entry_name(function) not in ("convolve.pool",):
        wrong += [(0, axis, 4) for axis in range(3)]  # does not fit the weights
    for row, axis, value in wrong:
        geometry = arguments["geometry"].copy()
        geometry[row, axis] = value
        with pytest.raises(ValueError, match=r"geometry must|must have the shape"):
            function(**arguments | {"geometry": geometry})


def test_room_of_another_size_is_refused():
    from kspike_ref.kernels import events

    for number, dtype in ((c.values[0], c.values[1]) for c in CASES):
        function, arguments = call_of(number, dtype)
        if "room" in arguments:
            other = np.float64 if dtype == np.float32 else np.float32
            for room in (events.Room(19, 2, dtype), events.Room(20, 1, dtype),
                         events.Room(20, 2, other)):  # fmt: skip
                with pytest.raises(ValueError, match="room must be for"):
                    function(**arguments | {"room": room})


# The checks themselves


def test_messages_say_what_came():
    x = np.ones((2, 3))
    with pytest.raises(TypeError, match=r"x must be an array\. Received: list"):
        checks.read("x", [], checks.FLOAT64, (2, 3))
    with pytest.raises(TypeError, match=r"x must be float32\. Received: x\.dtype=float64"):
        checks.read("x", x, checks.FLOAT32, (2, 3))
    with pytest.raises(ValueError, match=r"x must have the shape \(2, 4\)\. Received: \(2, 3\)"):
        checks.read("x", x, checks.FLOAT64, (2, 4))
    with pytest.raises(ValueError, match=r"x must be C-contiguous, aligned\. Received"):
        checks.read("x", x[:, ::2], checks.FLOAT64, (2, 2))
    with pytest.raises(TypeError, match=r"x must be float32 or float64\. Received: int64"):
        checks.floats("x", x.astype(np.int64), 2)
    with pytest.raises(ValueError, match=r"x must have 3 axes\. Received: x\.shape=\(2, 3\)"):
        checks.floats("x", x, 3)
    with pytest.raises(TypeError, match="x must be an array"):
        checks.floats("x", 1.0, 3)
    with pytest.raises(ValueError, match=r"region must be within 0 and 4\. Received: 1, 5"):
        checks.between("region", 1, 5, 4)
