"""Tests of the guard pages: deliberate accesses beyond arrays are detected."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="guard pages need Linux's mmap"
)

TESTS = Path(__file__).parents[1]

# `fault` runs in a child process, because it ends the process; it returns the signal.
GUARDED = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
import guard_pages
guard_pages.install()
import os, threading, numpy as np, numba, kspike_ref
from kspike_ref.kernels import time

@numba.njit
def get(x, i):
    return x[i]

@numba.njit
def put(x, i):
    x[i] = 0

def fault(function, *args):
    child = os.fork()
    if child == 0:
        function(*args)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def filtered(units):
    x, level, decay = np.ones((2, 3, 5), "f4"), np.zeros((2, units)), np.ones(5)
    return time.lowpass_loop, x, decay, (0, 2, 0, 5), level, np.empty((2, 3, 5), "f4")
"""


def answers(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_one_element_beyond_an_array_ends_the_process():
    code = (
        GUARDED
        + """
for touch, make, dtype in ((get, np.empty, "u1"), (put, np.zeros, "f4"), (get, np.ones, "f8")):
    arrays = [make(n, dtype) for n in (1, 3, 1024, 5000)]
    touch(arrays[0], 0)  # compiles
    last = {fault(touch, x, x.size - 1) for x in arrays}
    beyond = {fault(touch, x, x.size) for x in arrays}
    assert last == {0}, last
    assert beyond == {-11}, beyond
grown = np.zeros(3)
grown.resize(700, refcheck=False)  # Python 3.14 counts references differently
assert fault(get, grown, 699) == 0 and fault(get, grown, 700) == -11
print(np._core.multiarray.get_handler_name(grown).replace(" ", "-"))
"""
    )
    assert signal.SIGSEGV == 11
    assert answers(code) == ["guard-pages"]


def test_a_loop_that_is_called_without_its_checks_ends_the_process():
    code = (
        GUARDED
        + """
function, *args = filtered(5)
function(*args)
function, *short = filtered(4)
print(fault(function, *args), fault(function, *short))
try:
    time.lowpass(*short)
except ValueError:
    print("refused")
names = []
def work():
    names.append(np._core.multiarray.get_handler_name(np.empty(3)))
thread = threading.Thread(target=work)
thread.start(), thread.join()
print(names[0].replace(" ", "-"))
"""
    )
    assert answers(code) == ["0", "-11", "refused", "guard-pages"]


def test_numbas_own_checks_see_it_too():
    code = (
        GUARDED
        + """
function, *short = filtered(4)
try:
    function(*short)
except IndexError:
    print("refused")
"""
    )
    assert answers(code, NUMBA_BOUNDSCHECK="1") == ["refused"]
