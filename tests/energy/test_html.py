"""Tests of the one-file HTML report: its source, and its display in headless Chromium."""

import html as entities
import json
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kspike_energy import Layer, ModelEnergy, Network
from kspike_energy.presentation.dots import Scale

EVIL = "<script>alert(1)</script>"
LONG = "a_layer_with_a_name_that_is_far_too_long_for_a_table_on_a_telephone_in_an_upright_position"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture(scope="module")
def energy():
    layers = [
        Layer(f"b{EVIL}", 100_352, 128, rate=100.0, type_name="Dense"),
        Layer(LONG, 8192, 64, rate=22.0, type_name="Dense"),
        Layer('"onload=alert(2)', problem="nobody knows <b>this</b>"),
        Layer("a", 640, rate=2200.0, type_name="Dense", output_shape=(None, 10)),
    ]
    return ModelEnergy(Network(layers, name="net <img src=x onerror=alert(3)>"))


@pytest.fixture(scope="module")
def folder(energy, tmp_path_factory):
    path = tmp_path_factory.mktemp("report")
    with pytest.warns(UserWarning, match="exceeds 1 event"):
        energy.to_html(path / "report.html", timesteps_per_inference=20)
    return path


@pytest.fixture(scope="module")
def page(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


def test_names_are_shown_and_never_executed(page):
    assert EVIL not in page
    assert page.count("<script") == 1
    assert "<img" not in page
    assert entities.escape(EVIL) in page
    assert "nobody knows &lt;b&gt;this&lt;/b&gt;" in page
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert "default-src 'none'" in entities.unescape(policy)
    assert "unsafe" not in policy


def test_it_loads_nothing(page):
    assert not re.search(r"\b(src|href)=", re.sub(r"&lt;.*?&gt;", "", page))
    assert "url(" not in page
    assert "@import" not in page


def test_content(page, energy):
    text = entities.unescape(re.sub(r"<[^>]*>", " ", page))
    for device in ("cpu", "gpu", "arm", "loihi", "spinnaker", "spinnaker2", "45nm-int32-sram"):
        assert device in text
    assert "NOT COUNTED: nobody knows" in text
    assert "more than one event per element and step" in text
    assert "By operations alone: loihi" in text
    for entry in ("@article{davies2018,", "@inproceedings{lemaire2022,", "@misc{yan2024,"):
        assert entry in text
    assert "timesteps_from" in text
    assert "Lemaire" in text
    assert text.count("Break-even with cpu") == 1
    (warnings,) = re.findall(r'class="warnings".*?</section>', page, re.DOTALL)
    assert warnings.count("<li>") == 2
    rest = page.replace(warnings, "")
    assert "NOT COUNTED" not in rest  # a warning is not also listed as an assumption


def test_the_devices_asked_for(energy, tmp_path):
    energy.to_html(tmp_path / "one.html", ["cpu"])
    page = (tmp_path / "one.html").read_text(encoding="utf-8")
    assert "864 µJ" in page
    assert "loihi" not in page
    assert "Break-even" not in page
    with pytest.raises(ValueError, match=r"device must be one of.*'tpu'"):
        energy.to_html(tmp_path / "two.html", ["tpu"])
    with pytest.raises(ValueError, match="devices must name at least one device"):
        energy.to_html(tmp_path / "two.html", [])
    assert not (tmp_path / "two.html").exists()


def test_without_rates_and_sizes(tmp_path):
    ModelEnergy(Network([Layer("x", 10)])).to_html(tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "arm" in page
    assert "loihi" not in page
    assert "sram" not in page


def test_a_network_that_costs_nothing(tmp_path):
    ModelEnergy(Network([Layer("x")])).to_html(tmp_path / "r.html", ["cpu", "gpu"])
    assert "0 J" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_without_jinja(energy, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"pip install 'kspike-energy\[report\]'"):
        energy.to_html(tmp_path / "r.html")


def test_scale():
    scale = Scale.over([2e-6, 3e-4, 0.0])
    assert scale == Scale(-6, -3)
    assert [scale.place(v) for v in (1e-6, 1e-5, 1e-3)] == [0, 33.33, 100]
    assert scale.place(0.0) is None
    assert [tick.label for tick in scale.ticks] == ["1 µJ", "10 µJ", "100 µJ", "1 mJ"]
    assert [tick.anchor for tick in scale.ticks] == ["start", "middle", "middle", "end"]
    assert len(Scale.over([1e-15, 1e3]).ticks) <= 5
    assert Scale.over([1.0]) == Scale(0, 1)
    assert Scale.over([]) == Scale(-1, 0)


# Frames of both widths, in a page of the same origin that measures them and sorts a column.
HARNESS = """<!doctype html><title>waiting</title><body><script>
const found = {};
async function look(width, file) {
  const frame = document.createElement("iframe");
  frame.src = file;
  frame.width = width;
  frame.height = 900;
  const loaded = new Promise((resolve) => frame.addEventListener("load", resolve));
  document.body.append(frame);
  await loaded;
  const page = frame.contentDocument;
  const root = page.documentElement;
  const boxes = [...page.querySelectorAll("main > section *")];
  const inside = (box) => box.closest(".scroll") && !box.matches(".scroll");
  const wide = boxes.filter((b) => !inside(b) && b.getBoundingClientRect().right > width + 0.5);
  const head = [...page.querySelectorAll("th")].find((th) => th.textContent === "Connections");
  const cells = () => [...head.closest("table").tBodies[0].rows].map((r) => r.cells[4].textContent);
  head.querySelector("button").click();
  const rising = cells();
  head.querySelector("button").click();
  const text = page.querySelector("td").closest("tbody").textContent;
  found[width] = {
    overflow: root.scrollWidth - root.clientWidth,
    wide: wide.map((box) => box.outerHTML.slice(0, 80)),
    rising, falling: cells(), sorted: head.getAttribute("aria-sort"),
    smallest: Math.min(...[...page.querySelectorAll("p, li, td, dd, .row span")].map(
      (b) => parseFloat(frame.contentWindow.getComputedStyle(b).fontSize))),
    paper: frame.contentWindow.getComputedStyle(page.body).backgroundColor,
    evil: text.includes("<script>alert(1)</" + "script>"),
  };
}
(async () => {
  await look(360, "report.html");
  await look(1280, "report.html");
  await look(718, "paper.html");
  document.body.textContent = JSON.stringify(found);
  document.title = "done";
})();
</script></body>"""


@pytest.fixture(scope="module", params=["light", "dark"])
def chromium(request, folder, tmp_path_factory):
    """Return what a browser shows at 360 and 1280 pixels, and its console."""
    if CHROMIUM is None:
        pytest.skip("no Chromium to show the report: apt-get install chromium")
    (folder / "harness.html").write_text(HARNESS, encoding="utf-8")
    printed = re.sub(r"<meta http-equiv[^>]*>", "", (folder / "report.html").read_text("utf-8"))
    (folder / "paper.html").write_text(printed.replace("@media print", "@media all"), "utf-8")
    handler = partial(QuietHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = subprocess.run(
            [
                CHROMIUM,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--enable-logging=stderr",
                f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
                f"--blink-settings=preferredColorScheme={int(request.param == 'light')}",
                "--virtual-time-budget=60000",
                "--dump-dom",
                f"http://127.0.0.1:{server.server_port}/harness.html",
            ],
            capture_output=True,
            text=True,
            timeout=300,
        )
        server.shutdown()
    assert "<title>done</title>" in done.stdout, done.stdout[-2000:] + done.stderr[-2000:]
    (body,) = re.findall(r"<body>(.*)</body>", done.stdout, re.DOTALL)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return request.param, json.loads(entities.unescape(body)), console


class QuietHandler(SimpleHTTPRequestHandler):
    """Server of a folder, without a log; it answers the browser's request for a missing icon."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path == "/favicon.ico":
            self.send_response(204)
            self.end_headers()
            return
        super().do_GET()


def test_in_a_browser(chromium):
    scheme, found, console = chromium
    assert console == []
    for width in ("360", "1280"):
        seen = found[width]
        assert seen["overflow"] == 0, width
        assert seen["wide"] == [], width
        assert seen["evil"]
        assert seen["smallest"] >= 12
        assert seen["rising"] == ["?", "640", "8,192", "100,352"]
        assert seen["falling"] == ["100,352", "8,192", "640", "?"]
        assert seen["sorted"] == "descending"
        red = int(re.findall(r"\d+", seen["paper"])[0])
        assert red > 200 if scheme == "light" else red < 60
    # An A4 page with margins of 1 cm is 718 pixels wide. Nothing may scroll there.
    assert found["718"]["overflow"] == 0
    assert found["718"]["paper"] == "rgb(255, 255, 255)"
