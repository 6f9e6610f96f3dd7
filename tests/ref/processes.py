"""Code in a new process that has imported nothing yet."""

import os
import subprocess
import sys


def run(code, **environment):
    """Run code in a new process; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
