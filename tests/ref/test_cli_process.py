"""Tests of the command line as a process: pipes, terminals, completion, missing packages."""

import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import command_files
import pytest

COMMAND = [sys.executable, "-m", "kspike_ref"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("process")
    command_files.write(path)
    return path


def run(folder, *arguments, **options):
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        **options,
    )


def on_terminal(folder, *arguments):
    """Run a command on a terminal of 80 columns; return its exit status and output."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *arguments], cwd=folder, stdin=child, stdout=child, stderr=child
    )
    os.close(child)
    shown = b""
    with contextlib.suppress(OSError):  # the process has closed the terminal
        while data := os.read(parent, 1 << 16):
            shown += data
    os.close(parent)
    return process.wait(60), shown.decode()


def test_exit_statuses_and_streams(folder):
    done = run(folder, "info", "digits.keras")
    assert (done.returncode, done.stderr) == (0, "")
    assert "SpikingActivation" in done.stdout
    done = run(folder, "info", "none.keras")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "kspike: no model file at 'none.keras'\n"
    done = run(folder, "info")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: kspike info")


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("doctor",), ("run",)])
def test_a_pipe_gets_plain_text_whatever_the_environment_says(folder, arguments):
    environment = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "200"}
    done = run(folder, *arguments, env=environment)
    assert not re.search("[\x1b╭│─]", done.stdout + done.stderr)


def test_a_terminal_gets_colours_and_a_progress_bar(folder):
    status, shown = on_terminal(folder, "run", "digits.keras", "x.npy", "-t", "20")
    assert status == 0
    assert "100%" in shown
    assert "297/297" in shown
    assert "\x1b[1mexample" in shown


def test_output_that_nobody_reads_ends_the_command_quietly(folder):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, "info", "digits.keras"], cwd=folder, stdout=writing, stderr=subprocess.PIPE,
        check=False,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
def test_output_that_cannot_be_written_is_a_failure(folder):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "info", "digits.keras"], cwd=folder, stdout=full, stderr=subprocess.PIPE,
            text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "kspike: [Errno 28] No space left on device\n"


def test_commands_work_where_tensorflow_cannot_be_imported(folder):
    code = "import sys; sys.modules.update(tensorflow=None, keras=None, kspike_tf=None)\n"
    code += "import runpy; sys.argv = ['kspike', *sys.argv[1:]]\n"
    code += "runpy.run_module('kspike_ref', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "digits.keras", "x.npy", "-t", "20", "--json"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["classes"]) == 297


def test_without_typer_the_command_says_what_to_install():
    code = "import sys; sys.modules['typer'] = None\n"
    code += "from kspike_ref.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "kspike: typer must be installed: pip install 'kspike-ref[cli]'\n"


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("kspike ", {"info", "run", "activity", "plot", "energy", "bench", "warm-up", "doctor"}),
        ("kspike plot ", {"raster", "rates", "voltage"}),
        ("kspike run --ti", {"--timesteps"}),
        ("kspike energy --device loi", {"loihi"}),
    ],
)
def test_completion_knows_commands_options_and_devices(folder, words, wanted):
    environment = {
        **os.environ,
        "_KSPIKE_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = run(folder, env=environment)
    assert wanted <= set(done.stdout.split()), done.stderr


def test_completion_is_a_script_for_the_shell(folder):
    # Typer's switch for tests; otherwise it looks for the shell that started the tests.
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = run(folder, "--show-completion", "bash", env=environment)
    assert done.returncode == 0, done.stderr
    assert "_KSPIKE_COMPLETE" in done.stdout
    assert "complete -o" in done.stdout
