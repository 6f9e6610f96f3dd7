"""Tests that one command generates every figure, table and output of the documentation."""

import fnmatch
import importlib.util
import json
import re
import subprocess
import sys

import doc_blocks
import pytest

ROOT, DOCS = doc_blocks.ROOT, doc_blocks.DOCS
MARK = re.compile(r"<!-- (?:generated: (?P<table>[\w-]+)|(?P<name>[^:>]+): begin) -->")
SHOWN = ("text", "console", "pytb", "latex")  # the languages of outputs
PAGES = sorted(DOCS.rglob("*.md"))
READMES = [ROOT / "README.md", *sorted(ROOT.glob("packages/*/README.md"))]


def loaded(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


generate = loaded(DOCS / "generate.py")
PARTS = {part.name: part for part in generate.PARTS}


def writers(name):
    """Return the parts that write a figure."""
    return [
        part.name
        for part in generate.PARTS
        if any(fnmatch.fnmatch(name, pattern) for pattern in part.figures)
    ]


@pytest.mark.parametrize("path", sorted((DOCS / "figures").iterdir()), ids=lambda path: path.name)
def test_every_figure_is_written_by_one_part_and_shown(path):
    if path.name == "digits.json":
        assert "docs/figures/digits.json" in PARTS["digits"].files
        return
    assert len(writers(path.name)) == 1
    if path.name != "energy_by_device.png":  # only digits.json names it
        assert any(f"figures/{path.name})" in page.read_text() for page in [*PAGES, *READMES])


def test_figures_of_pages_are_drawn_by_their_code():
    figures = {path.name for path in (DOCS / "figures").glob("*.png")}
    drawn = {
        name
        for page in doc_blocks.rewritten()
        for block in doc_blocks.blocks(page.read_text())
        if block.language == "python"
        for name in re.findall(r"savefig\(\s*\"([\w-]+\.png)\"", block.text)
    }
    assert {name for name in figures if writers(name) == ["pages"]} == figures & drawn


def test_figures_of_the_demo_are_those_of_its_record():
    recorded = json.loads((DOCS / "figures" / "digits.json").read_text())
    assert set(PARTS["digits"].figures) == recorded.keys() - {"table"}


def test_every_table_between_marks_is_written_by_one_part():
    found = [
        f"{page.relative_to(DOCS).with_suffix('').as_posix()}: {mark['table'] or mark['name']}"
        for page in PAGES
        for mark in MARK.finditer(page.read_text())
    ]
    assert sorted(found) == sorted(mark for part in generate.PARTS for mark in part.marks)
    assert len(found) > 10
    assert not any(MARK.search(path.read_text()) for path in READMES)


def test_every_other_output_is_written_by_a_part():
    """Outputs below code are those of `doc_blocks`; a few pages have others."""
    rewritten = doc_blocks.rewritten()
    for path in (*PAGES, *READMES):
        page = path.read_text()
        below_code = [after.start for _, after in doc_blocks.with_outcomes(page) if after]
        assert not below_code or path in rewritten, path
        others = [
            block.language
            for block in doc_blocks.blocks(page)
            if block.language in SHOWN and block.start not in below_code
        ]
        allowed = {
            ROOT / "README.md": {"text"},  # the demo's table
            DOCS / "command-line.md": {"console"},
            DOCS / "development.md": {"text"},  # the layout of the packages
        }
        assert set(others) <= allowed.get(path, set()), path
    assert {"README.md"} <= set(PARTS["digits"].files)
    assert {"docs/command-line.md"} <= set(PARTS["command-line"].files)


def test_every_notebook_is_run():
    assert list(ROOT.glob("examples/*.ipynb"))
    assert PARTS["notebooks"].files == ("examples/*.ipynb",)
    folders = ("docs", "packages", "tests", "benchmarks")
    assert not [path for folder in folders for path in (ROOT / folder).rglob("*.ipynb")]


@pytest.mark.parametrize("part", generate.PARTS, ids=lambda part: part.name)
def test_a_part_has_a_program_that_takes_its_options(part):
    """Its source names every option, so a part does not fail after an hour."""
    program, *rest = generate.command(part, ROOT, times=True)
    options = [word for word in rest if word.startswith("--")]
    if part.command[0] == "tests/ref/command_page.py":  # has no help
        assert options == ["--times"]
        return
    path = part.command[0]
    source = (
        ROOT.joinpath(*part.command[1].split("."))
        if path == "-m"
        else (ROOT / path).with_suffix("")
    )
    source = source / "__main__.py" if source.is_dir() else source.with_suffix(".py")
    text = source.read_text()
    assert program == sys.executable
    assert all(f'"{option}"' in text for option in options)


def test_the_developers_page_names_every_part():
    page = (DOCS / "development.md").read_text()
    shown = set(re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE))
    assert shown == {part.name for part in generate.PARTS if not part.needs}
    assert all(f"`{name}`" in page for name in PARTS)
    source = (DOCS / "generate.py").read_text()
    options = re.findall(r'add_argument\("(--[a-z]+)"', source)
    assert options
    assert all(f"`{option}" in page for option in options)


def test_parts_that_need_something_are_skipped_without_it(tmp_path):
    run, skipped = generate.chosen([], None, long=False)
    assert {part.needs for part in run} == {""}
    assert {"fashion-mnist", "benchmarks", "soak"} <= {part.name for part in skipped}
    run, skipped = generate.chosen([], tmp_path, long=True)
    assert run == list(generate.PARTS)
    assert not skipped
    run, skipped = generate.chosen(["soak", "fashion-mnist", "rates"], None, long=False)
    assert [part.name for part in run] == ["rates", "soak"]
    assert [part.name for part in skipped] == ["fashion-mnist"]
    assert str(tmp_path) in generate.command(PARTS["fashion-mnist"], tmp_path, times=False)


def test_a_part_that_fails_stops_no_other():
    lines = []
    failed = generate.generate(
        [PARTS["energy"], PARTS["rates"]], lambda part: part.name == "energy", lines.append
    )
    assert failed == ["energy"]
    assert lines[0].startswith("[1/2] energy: tables of")
    assert [line.split()[0] for line in lines[1::2]] == ["failed", "done"]


def test_the_command_says_what_it_skips_and_changes(monkeypatch, capsys):
    monkeypatch.setattr(generate, "generate", lambda parts, run, say: [])
    assert generate.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "Skipped fashion-mnist: the table of Fashion-MNIST in Converting; it needs --data FOLDER"
    )
    assert lines[-1] == "Changed: nothing"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["rates", "fashion-mnist"], "fashion-mnist needs --data FOLDER"),
        (["--data", "missing"], "--data must be a folder. Received: missing"),
        (["fashion-mnist", "--data", __file__], "--data must be a folder. Received: "),
    ],
)
def test_what_cannot_run_is_an_error_before_anything_runs(given, message, monkeypatch, capsys):
    monkeypatch.setattr(generate, "generate", lambda *_: pytest.fail("parts run"))
    with pytest.raises(SystemExit) as stopped:
        generate.main(given)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_the_command_lists_its_parts():
    command = [sys.executable, DOCS / "generate.py"]
    done = subprocess.run([*command, "--list"], capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(PARTS)
    done = subprocess.run([*command, "rate"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "part must be one of" in done.stderr


def test_changed_files_are_noticed(tmp_path):
    page = tmp_path / "docs" / "guides" / "energy.md"
    page.parent.mkdir(parents=True)
    page.write_text("old")
    before = generate.digests(tmp_path)
    assert list(before) == ["docs/guides/energy.md"]
    page.write_text("new")
    assert generate.digests(tmp_path) != before


def test_the_table_of_the_demo_keeps_its_times(tmp_path, monkeypatch):
    digits = loaded(ROOT / "examples" / "digits_docs.py")
    table = "Handwritten digits, held out\n│ time per image in Keras │ {} │\n│ accuracy │ {} │\n"
    readme = tmp_path / "README.md"
    monkeypatch.setattr(digits, "ROOT", tmp_path)
    monkeypatch.setattr(digits, "RECORD", tmp_path / "digits.json")

    def shown(*numbers, times):
        readme.write_text(f"```text\n{table.format(1, 2)}```\n")
        digits.publish(table.format(*numbers), [], times)
        return readme.read_text()[8:-4]

    assert shown(9, 2, times=False) == table.format(1, 2)
    assert shown(9, 2, times=True) == table.format(9, 2)
    assert shown(9, 3, times=False) == table.format(9, 3)
