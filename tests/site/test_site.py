"""Tests of the documentation site: complete, free of scripts and data, readable in two widths."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="needs MkDocs: hatch run docs:check")

ROOT = Path(__file__).parents[2]
ALLOWED = {".html", ".css", ".js", ".map", ".png", ".svg", ".xml", ".gz", ".inv", ".txt"}


def reference(site, page):
    return (site / "api" / page / "index.html").read_text()


def test_no_scripts_or_data_are_published(site):
    others = [
        path
        for path in site.rglob("*")
        if path.is_file() and path.suffix not in ALLOWED and path.name != "search_index.json"
    ]
    assert not others


def test_it_loads_nothing_from_elsewhere(site):
    for path in site.rglob("*.html"):
        found = re.findall(
            r'<(?:script|link|img)[^>]*(?:src|href)="(https?://[^"]+)"', path.read_text()
        )
        assert not found, path


def test_zensical_builds_it_too(tmp_path):
    pytest.importorskip("zensical")
    copy = tmp_path / "checkout"
    for name in ("docs", "packages"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "mkdocs.yml", copy)
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    built = copy / "site"
    assert 'id="kspike_energy.ModelEnergy.total_energy"' in reference(built, "energy")
    assert "SpikingActivation" in (built / "quickstart" / "index.html").read_text()
    assert not list(built.rglob("*.py"))


@pytest.mark.parametrize(
    ("page", "names"),
    [
        (
            "energy",
            [f"kspike_energy.ModelEnergy.{name}" for name in
             ("total_energy", "compare", "summary", "to_latex", "to_markdown", "to_json",
              "to_dict", "to_records", "bibtex", "register_device", "register_layer")],
        ),
        ("models", ["kspike_ref.load_model", "kspike_ref.Model.predict", "kspike_ref.Model.step"]),
        ("converting", ["kspike_tf.conversion.convert.convert", "kspike_tf.export.to_onnx"]),
        ("layers", ["kspike_tf.SpikingActivation", "kspike_tf.Alpha.reset_states"]),
        ("plots", [f"kspike_energy.plots.plot_{name}" for name in
                   ("devices", "layers", "break_even")]),
        ("training", ["kspike_tf.regularizers.MeanRates", "kspike_tf.callbacks.DtScheduler"]),
    ],
)  # fmt: skip
def test_the_reference_shows_what_people_call(site, page, names):
    text = reference(site, page)
    for name in names:
        assert f'id="{name}"' in text, name


def test_methods_made_of_functions_have_signatures(site):
    text = re.sub(r"<[^>]+>", "", reference(site, "energy"))
    heading = re.search(r"to_latex\((.*?)\)\s*¶", text.replace("&para;", "¶"), re.DOTALL)
    assert heading, "to_latex has no signature in its heading"
    assert "devices" in heading[1]
    assert "energy," not in heading[1]  # the object itself


def test_nothing_is_in_the_reference_twice(site):
    headings = [
        found
        for page in sorted((site / "api").rglob("index.html"))
        for found in re.findall(r'<h3 id="(kspike_[\w.]+)"', page.read_text())
    ]
    names = [(place.split(".")[0], place.split(".")[-1]) for place in headings]
    assert len(names) > 50
    assert len(names) == len(set(names)), sorted({n for n in names if names.count(n) > 1})


def test_load_model_comes_before_its_errors(site):
    text = reference(site, "models")
    assert text.index('id="kspike_ref.load_model"') < text.index('id="kspike_ref.ArchiveError"')


def test_every_public_name_is_in_the_reference(site):
    text = "".join(page.read_text() for page in (site / "api").rglob("index.html"))
    for package in ("kspike_ref", "kspike_tf", "kspike_energy"):
        folder = package.replace("_", "-")
        source = (ROOT / "packages" / folder / "src" / package / "__init__.py").read_text()
        names = re.findall(r'"(\w+)",', source[source.index("__all__") : source.index("def ")])
        assert len(names) > 5
        missing = [
            name for name in names if f"{name}</span>" not in text and f".{name}" not in text
        ]
        assert not missing, (package, missing)


def test_defaults_are_shown_as_values(site):
    for page in (site / "api").rglob("index.html"):
        source = r"<details class=.mkdocstrings-source.*?</details>"
        text = re.sub(source, "", page.read_text(), flags=re.DOTALL)
        assert not re.findall(r"\w=_[A-Za-z]\w*", re.sub(r"<[^>]+>", "", text)), page


def test_no_markup_of_docstrings_is_left_in_the_reference(site):
    for page in (site / "api").rglob("index.html"):
        text = re.sub(r"<(pre|details|code)\b.*?</\1>", "", page.read_text(), flags=re.DOTALL)
        assert not re.findall(r"[^<>]*::\s*</p>", text), page


def test_choices_and_references_are_shown_as_they_are_written(site):
    assert "one of &#34;kspike&#34;, &#34;keras-spiking&#34;" in reference(site, "energy")
    for page in (site / "api").rglob("index.html"):
        source = r"<details class=.mkdocstrings-source.*?</details>"
        text = re.sub(source, "", page.read_text(), flags=re.DOTALL)
        assert ".. [" not in text, page


def test_source_is_shown(site):
    assert "Source code in" in reference(site, "layers")


@pytest.mark.parametrize(
    ("word", "page"),
    [
        ("convert", "guides/converting/"),
        ("quickstart", "quickstart/"),
        ("raster", "howto/plots/"),
        ("stream", "tutorials/streaming/"),
        ("latex", "tutorials/paper/"),
        ("notebook", "tutorials/digits/"),
        ("nir", "howto/export/"),
    ],
)
def test_search_finds(site, word, page):
    index = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    pages = {
        entry["location"].split("#")[0]
        for entry in index
        if re.search(rf"\b{word}", entry["title"] + " " + entry["text"], re.IGNORECASE)
    }
    assert page in pages


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_cut_off_or_scrolls_sideways(layout, width):
    found = layout(width)
    assert len(found) > 30
    wrong = {
        page: result
        for page, result in found.items()
        if result["wide"] > width or result["out"] or result["cut"]
    }
    assert not wrong, json.dumps(wrong, indent=1)
