"""Fixtures of the built documentation, and of a browser that lays it out."""

import functools
import html
import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Pages are shown in frames of one width, from one origin, and measured from outside.
HARNESS = """
<!doctype html><meta charset="utf-8"><body><script>
const pages = %s, width = %d, found = {};
function look(page) {
  return new Promise(done => {
    const frame = document.createElement("iframe");
    frame.style = `width:${width}px;height:900px;border:0`;
    frame.onload = () => setTimeout(() => {
      const page_ = frame.contentDocument;
      const wide = page_.scrollingElement.scrollWidth;
      const scrolls = element => {
        for (let e = element; e && e !== page_.body; e = e.parentElement) {
          const how = getComputedStyle(e).overflowX;
          if (["auto", "scroll", "hidden"].includes(how)) return true;
        }
        return false;
      };
      const out = [...page_.querySelectorAll("article *")].filter(e => {
        const box = e.getBoundingClientRect();
        return box.width && box.right > width + 1 && !scrolls(e);
      }).map(e => `${e.tagName} ${e.textContent.trim().slice(0, 40)}`);
      const code = ["python", "py", "pycon", "sh", "pytb", "bibtex"].map(
        language => `article .language-${language} pre > code`
      ).join(",");
      const cut = [...page_.querySelectorAll(code)].filter(
        e => e.scrollWidth > e.clientWidth + 1 && !e.closest("details")  // source, 100 columns
      ).map(e => e.textContent.trim().slice(0, 60));
      found[page] = {wide, out: out.slice(0, 3), cut: cut.slice(0, 3)};
      frame.remove();
      done();
    }, 50);
    frame.src = page;
    document.body.append(frame);
  });
}
(async () => {
  for (const page of pages) await look(page);
  const text = document.createElement("pre");
  text.id = "found";
  text.textContent = JSON.stringify(found);
  document.body.append(text);
})();
</script>
"""


def build(command, folder):
    """Run a generator in the checkout, which writes the site to ``folder``; return it."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """Return the folder of the site, as MkDocs builds it in strict mode."""
    folder = tmp_path_factory.mktemp("site")
    return build(["mkdocs", "build", "--strict", "-d", str(folder)], folder)


@pytest.fixture(scope="session")
def layout(site):
    """Return a function that measures all pages of the site in windows of a width."""
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    handler = functools.partial(Quiet, directory=str(site))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pages = sorted(str(path.parent.relative_to(site)) for path in site.rglob("index.html"))
    pages = [f"/{page}/".replace("/./", "/") for page in pages]

    def measure(width):
        (site / "harness.html").write_text(HARNESS % (json.dumps(pages), width))
        done = subprocess.run(
            [
                chromium,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--window-size=1400,900",
                "--virtual-time-budget=120000",
                "--dump-dom",
                f"http://127.0.0.1:{server.server_port}/harness.html",
            ],
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
        assert found, done.stdout[-2000:] + done.stderr[-2000:]
        return json.loads(html.unescape(found[1]))

    yield measure
    server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """File server without a log."""

    def log_message(self, *args):
        """Log nothing."""
