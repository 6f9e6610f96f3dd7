"""Tests that the command-line page shows the commands' real output, and every option."""

import re

import command_files
import command_page
import pytest
import typer

from kspike_ref.cli import app

TEXT = command_page.PAGE.read_text()
HINT = "python tests/ref/command_page.py writes it anew"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("page")
    command_files.write(path)
    return path


@pytest.mark.parametrize(("command", "shown"), command_page.commands(TEXT))
def test_command_prints_what_the_page_shows(folder, command, shown):
    found = command_page.printed(command, folder)
    if not command_page.agree(command, shown, found):
        assert found == shown, HINT


def test_page_names_every_command_and_option():
    group = typer.main.get_command(app.app)
    assert {"info", "run", "activity", "plot", "energy", "doctor"} <= set(group.commands)
    plots = group.commands["plot"].commands
    assert set(plots) == {"raster", "rates", "voltage"}
    every = {f"plot {name}": one for name, one in plots.items()} | group.commands
    words = set(re.findall(r"--?[a-z][a-z-]*", TEXT))
    for name, command in every.items():
        assert f"kspike {name}" in TEXT
        for option in command.params:
            named = [text for text in option.opts if text.startswith("-")]
            assert not named or set(named) & words, (name, named)
