"""Tests of forks during compilation, in a process that has imported both packages."""

import os
import subprocess
import sys

import pytest

FORK = """
import faulthandler, os, threading
faulthandler.dump_traceback_later(100, exit=True)
import {first}, {second}
from kspike_tf.scan.cpu import compiled, kernels

begun, goes_on, by_numba = threading.Event(), threading.Event(), compiled.compiled

def slow(*args):
    begun.set()
    goes_on.wait(60)
    return by_numba(*args)

compiled.compiled = slow
thread = threading.Thread(target=compiled.prepare, args=(kernels.SPIKES, "float32"))
thread.start()
begun.wait(60)
threading.Timer(0.2, goes_on.set).start()
pid = os.fork()
if not pid:
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
thread.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize(
    ("first", "second"), [("kspike_tf", "kspike_ref"), ("kspike_ref", "kspike_tf")]
)
def test_a_fork_waits_for_a_compilation(first, second):
    code = FORK.format(first=first, second=second)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
