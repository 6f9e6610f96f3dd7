"""Tests that every Python block of the documentation and READMEs runs and prints as shown."""

import shutil

import doc_blocks
import pytest

ROOT, DOCS = doc_blocks.ROOT, doc_blocks.DOCS
READMES = [ROOT / "README.md", *ROOT.glob("packages/*/README.md")]
PAGES = [
    *doc_blocks.rewritten(),  # test_development.py runs the blocks of development.md
    *(path for path in READMES if doc_blocks.with_outcomes(path.read_text())),
]


def name(path):
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="session")
def after_the_quickstart(tmp_path_factory):
    """Return a folder with the files that the quickstart writes: a trained model, and images."""
    folder = tmp_path_factory.mktemp("quickstart")
    check(doc_blocks.QUICKSTART, folder)
    return folder


def check(path, folder):
    pairs = doc_blocks.with_outcomes(path.read_text())
    is_trained = any(word in block.text for block, _ in pairs for word in (".fit(", "digits.keras"))
    close = doc_blocks.TRAINED if is_trained else doc_blocks.TOLERANCE
    results = doc_blocks.run_page([block for block, _ in pairs], name(path), folder)
    for (block, after), (printed, error, trace) in zip(pairs, results, strict=True):
        if after is not None and after.title == "Error":
            assert doc_blocks.agree(after.text, error), (
                f"{name(path)}: the block\n{block.text}\nshould end in\n{after.text}\nnot\n{error}"
            )
            continue
        assert not error, f"{name(path)}:\n{trace}"
        if after is not None:
            tolerance = None if after.title == doc_blocks.EXAMPLE else close
            assert doc_blocks.agree(after.text, printed, tolerance), (
                f"{name(path)}: the block\n{block.text}\nprints\n{printed}\nnot\n{after.text}\n"
                f"Run python tests/docs/doc_blocks.py {name(path)}"
            )


# Pages that train or convert for more than ten seconds.
LONG = ("docs/guides/converting.md", "docs/guides/training.md", "docs/howto/regularise.md")
MARKED = [
    pytest.param(page, marks=pytest.mark.slow) if name(page) in LONG else page for page in PAGES
]


def test_long_pages_exist():
    assert set(LONG) <= {name(page) for page in PAGES}


@pytest.mark.parametrize("path", MARKED, ids=name)
def test_code_runs(path, after_the_quickstart, tmp_path):
    if path == doc_blocks.QUICKSTART:
        return  # the fixture has run it
    folder = tmp_path / "work"
    shutil.copytree(after_the_quickstart, folder)
    check(path, folder)


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=name)
def test_code_fits_on_a_page(path):
    long = [
        line
        for block in doc_blocks.blocks(path.read_text())
        if block.title not in doc_blocks.OUTCOMES and block.language not in ("", "text")
        for line in block.text.splitlines()
        if len(line) > doc_blocks.WIDTH
    ]
    assert not long, f"longer than {doc_blocks.WIDTH} characters:\n" + "\n".join(long)


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=name)
def test_every_output_is_compared(path):
    page = doc_blocks.blocks(path.read_text())
    compared = [after.start for _, after in doc_blocks.with_outcomes(path.read_text()) if after]
    shown = [block for block in page if block.language in ("text", "latex", "bibtex", "pytb")]
    others = [block.title for block in shown if block.title and block.start not in compared]
    assert not others, f"titles of blocks that no Python block prints: {others}"


def test_a_different_output_is_noticed():
    assert doc_blocks.agree("0.97 of  1,000 images\n", "0.98 of 1,000 images")
    assert not doc_blocks.agree("0.97 of 1,000 images", "0.87 of 1,000 images")
    assert not doc_blocks.agree("0.97 of 1,000 images", "0.97 of 1,000 pictures")
    assert doc_blocks.agree("ValueError: dt must ...", "ValueError: dt must be positive")
    assert not doc_blocks.agree("ValueError: dt must ...", "ValueError: tau must be positive")
    assert doc_blocks.agree("0.97 of 1,000 images", "0.3 of 20 images", tolerance=None)
    assert not doc_blocks.agree("0.97 of 1,000 images", "0.97 of 1,000 pictures", tolerance=None)


def test_blocks_on_a_page():
    page = (
        '```python\n1 / 0\n```\n\n```pytb title="Error"\nZeroDivisionError: division by zero\n```\n'
        '```python\nprint(3)\n```\n```text title="Output"\n3\n```\n```sh\nls\n```\n'
    )
    pairs = doc_blocks.with_outcomes(page)
    assert [(block.text, after.title) for block, after in pairs] == [
        ("1 / 0\n", "Error"),
        ("print(3)\n", "Output"),
    ]
