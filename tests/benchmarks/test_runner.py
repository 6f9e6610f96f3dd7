"""Tests of the side-by-side benchmarks: protocol, checks, statistics, report."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import sys
from typing import ClassVar

import matplotlib.image
import numpy as np
import pytest
from scipy.signal import lfilter

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from benchmarks import (
    __main__ as command_line,
)
from benchmarks import (
    behind,
    contestants,
    environments,
    machine,
    process,
    report,
    results,
    session,
    works,
)
from benchmarks.peers import onnx_runtime, scipy_filters
from benchmarks.worker import Job, Worker

TINY = works.Work("forward", "spiking", 2, 30, 5)


def spikes_of(work):
    counts = np.floor(np.cumsum(works.rates(work).astype(np.float64) * works.DT, axis=1))
    return np.diff(counts, axis=1, prepend=0) / works.DT


class TestWorks:
    def test_names_are_unique_and_file_names(self):
        for quick in (True, False):
            names = [work.name for work in works.every_work(quick)]
            assert len(set(names)) == len(names)
            assert not any("/" in name for name in names)

    def test_growth_spans_what_is_promised(self):
        found = list(works.growth(quick=False))
        for axis in ("steps", "batch", "units"):
            sizes = [w.batch * w.steps * w.units for w in found if w.group == f"growth-{axis}"]
            assert sizes == [10**4, 10**5, 10**6, 10**7, 10**8]

    def test_an_exact_neuron_passes_the_check(self):
        assert works.check_forward(TINY, spikes_of(TINY))["spikes_off"] < 1

    def test_two_spikes_too_many_are_seen(self):
        wrong = spikes_of(TINY)
        wrong[0, :2, 0] += 1 / works.DT
        assert works.check_forward(TINY, wrong)["spikes_off"] > 1

    @pytest.mark.parametrize("kind", ["lowpass", "alpha"])
    def test_reference_filter_is_scipys(self, kind):
        work = works.Work("forward", kind, 2, 50, 3)
        x = works.rates(work).astype(np.float64)
        expected = lfilter(*scipy_filters.coefficients(kind), x, axis=1)
        # Both are float64: rounding errors of a few dozen operations.
        assert works.check_forward(work, expected)["error"] < 1e-13
        assert works.check_forward(work, np.roll(expected, 1, axis=1))["error"] > 1e-2

    @pytest.mark.parametrize("kind", ["lowpass", "alpha"])
    def test_check_of_the_gradient_is_the_finite_difference(self, kind):
        work = works.Work("gradient", f"{kind}-gradient", 1, 12, 2)
        x = works.rates(work).astype(np.float64)
        step = 1e-3

        def loss(moved):
            return np.square(works.reference_filter(moved, kind)).sum()

        gradient = np.empty_like(x)
        for index in np.ndindex(x.shape):
            up, down = x.copy(), x.copy()
            up[index] += step
            down[index] -= step
            gradient[index] = (loss(up) - loss(down)) / (2 * step)
        # The loss is quadratic: central differences are exact apart from cancellation.
        assert works.check_gradient(work, gradient)["error"] < 1e-7
        assert works.check_gradient(work, 2 * gradient)["error"] > 0.5

    def test_work_survives_json(self):
        work = works.Work("growth-units", "spiking", 1, 2, 3, peers=("kspike_ref",))
        fields = json.loads(json.dumps({**work.__dict__}))
        assert works.Work.read(fields) == work


class TestWorker:
    @pytest.fixture
    def worker(self, tmp_path):
        def build(work, data):
            x = works.rates(work)
            return Job(lambda: x * 2, lambda y: {"mean": y.mean()})

        def telling(work, data):
            return Job(lambda: 0.25, seconds=lambda told: 2 * told)

        def broken(work, data):
            raise RuntimeError("no such layer\nand more")

        modes = {"": build, "telling": telling, "broken": broken}
        return Worker({"spiking": modes}, ["numpy"], tmp_path)

    def test_hello_tells_versions_and_offers(self, worker):
        said = worker.answer({"do": "hello"})
        assert said["offers"] == {"spiking": ["", "telling", "broken"]}
        assert said["versions"]["numpy"] == np.__version__

    def test_prepare_checks_and_run_times(self, worker):
        fields = {**TINY.__dict__}
        said = worker.answer({"do": "prepare", "work": fields, "mode": ""})
        assert json.loads(json.dumps(said))["check"]["mean"] == pytest.approx(
            2 * works.rates(TINY).mean(), rel=1e-6
        )
        ran = worker.answer({"do": "run", "name": TINY.name, "mode": "", "seconds": 0, "least": 3})
        assert ran["calls"] == 3
        assert ran["seconds"] > 0

    def test_work_may_tell_its_seconds(self, worker):
        worker.answer({"do": "prepare", "work": {**TINY.__dict__}, "mode": "telling"})
        run = {"do": "run", "name": TINY.name, "mode": "telling", "seconds": 0}
        assert worker.answer(run)["seconds"] == 0.5

    def test_memory_is_measured_where_linux_tells(self, worker):
        worker.answer({"do": "prepare", "work": {**TINY.__dict__}, "mode": ""})
        said = worker.answer({"do": "memory", "name": TINY.name, "mode": ""})
        if pathlib.Path("/proc/self/status").exists():
            assert said["peak"] >= said["before"] > 0

    def test_an_error_is_an_answer_of_one_line(self, worker):
        said = worker.answer({"do": "prepare", "work": {**TINY.__dict__}, "mode": "broken"})
        assert said == {"failed": "RuntimeError: no such layer and more"}


class TestSession:
    def test_runs_in_turns_and_writes_the_report(self, tmp_path):
        store = results.Store(tmp_path / "results")
        filters = [works.Work("forward", kind, 2, 30, 5) for kind in ("lowpass", "alpha")]
        with session.Session(["kspike_ref", "scipy_filters"], tmp_path, here=True) as open_session:
            assert not open_session.missing
            for work in (TINY, *filters):
                store.save(work.name, open_session.measure(work, rounds=3, seconds=0))
        spiking = store.load(TINY.name)
        [ours] = results.timings(spiking)
        assert ours.peer == "kspike_ref"
        assert len(ours.rounds) == 3
        assert ours.check["spikes_off"] < 1
        for work in filters:
            errors = {t.peer: t.check["error"] for t in results.timings(store.load(work.name))}
            # Float32 outputs: half a unit in the last place is 6e-8 of the largest value. SciPy's
            # faster mode also accumulates in float32.
            assert errors["kspike_ref"] < 2e-7
            assert errors["scipy_filters"] < 1e-4
        assert spiking["others"] >= 0
        page = report.write(store, tmp_path / "docs").read_text(encoding="utf-8")
        assert "do not edit" in page
        assert "### integrate-and-fire" in page
        assert "**kspike_ref**" in page
        assert "SciPy lfilter (float" in page
        assert (tmp_path / "docs" / "figures" / "benchmark-forward.png").stat().st_size > 1000
        raw = json.loads((tmp_path / "docs" / "benchmarks.json").read_text(encoding="utf-8"))
        assert set(raw) == {work.name for work in (TINY, *filters)}

    def test_who_cannot_start_is_named_and_the_others_go_on(self, tmp_path, monkeypatch):
        ghost = contestants.Peer("ghost", "Ghost", "empty")
        monkeypatch.setitem(contestants.PEERS, "ghost", ghost)
        with session.Session(["ghost", "scipy_filters"], tmp_path, here=True) as open_session:
            assert "No module named" in open_session.missing["ghost"]
            work = works.Work("forward", "lowpass", 1, 3, 2)
            result = open_session.measure(work, rounds=1, seconds=0)
        assert {entry["peer"] for entry in result["entries"]} == {"scipy_filters"}
        assert "ghost" in result["missing"]

    def test_an_environment_that_was_not_built_is_the_reason(self, tmp_path, monkeypatch):
        monkeypatch.setattr(environments, "FOLDER", tmp_path / "nothing")
        with pytest.raises(process.WorkerError, match="its environment was not built"):
            process.Process(contestants.PEERS["kspike_ref"], tmp_path)

    def test_who_dies_has_failed_and_is_there_again_for_the_next_work(self, tmp_path):
        work = works.Work("forward", "lowpass", 1, 3, 2)
        with session.Session(["scipy_filters"], tmp_path, here=True) as open_session:
            os.kill(open_session.processes["scipy_filters"].pid, signal.SIGTERM)
            entries = open_session.measure(work, rounds=1, seconds=0)["entries"]
            assert all("failed" in entry for entry in entries)
            again = open_session.measure(work, rounds=1, seconds=0)
        assert not again["missing"]
        assert len(again["entries"][0]["rounds"]) == 1

    def test_who_gives_no_answer_is_ended(self, tmp_path, monkeypatch):
        monkeypatch.setattr(process, "PATIENCE", 0.01)
        late = process.Process(contestants.PEERS["scipy_filters"], tmp_path, here=True)
        with pytest.raises(process.WorkerError, match=r"gave no answer within 0\.01 s"):
            late.greet()
        late.end()

    def test_an_earlier_commit_that_is_not_here_is_the_reason(self, tmp_path, monkeypatch):
        monkeypatch.setattr(environments, "FOLDER", tmp_path / "bench")
        old = contestants.Peer("kspike_ref", "old", "kspike-ref", commit="0" * 40)
        with pytest.raises(process.WorkerError, match=r"the sources of commit 0+ are not in this"):
            process.Process(old, tmp_path, here=True)


def entry_of(peer, *rounds, mode="", **more):
    return {"peer": peer, "mode": mode, "rounds": rounds, "check": {}, "first": 0.0, **more}


class TestSlowModes:
    def slow(self, *warm):
        entries = [entry_of("plain_keras", mode=str(i), warm=w) for i, w in enumerate(warm)]
        session.leave_out_slow(entries)
        return [entry.get("slow", False) for entry in entries]

    def test_a_mode_far_slower_than_another_gets_no_turns(self):
        assert self.slow(0.1, 0.29, 0.31) == [False, False, True]

    def test_calls_that_take_no_time_are_measured_anyhow(self):
        assert self.slow(0.001, 0.01) == [False, False]

    def test_contestants_are_not_compared_with_each_other(self):
        entries = [entry_of("kspike_tf", warm=0.1), entry_of("plain_keras", warm=10.0)]
        session.leave_out_slow(entries)
        assert not any("slow" in entry for entry in entries)

    def test_what_was_left_out_is_in_the_list_of_all_modes(self):
        fields = {**TINY.__dict__}
        slow = entry_of("plain_keras", mode="XLA", warm=2.0, slow=True)
        fast = entry_of("plain_keras", 0.1, mode="tf.function", warm=0.1)
        text = report.tables.every_mode([{"work": fields, "entries": [slow, fast]}])
        assert "| XLA | 2.00 s | one call, far slower than another mode |" in text


@pytest.mark.skipif(not pathlib.Path("/proc/stat").exists(), reason="Linux tells, others do not")
def test_the_load_of_the_machine_and_of_a_process_grows_with_work():
    busy, own = machine.busy_seconds(), machine.process_seconds("self")
    while machine.process_seconds("self") < own + 0.1:
        sum(range(100_000))
    # Both clocks tick every 10 ms; the first counts all processes.
    assert machine.busy_seconds() - busy > 0.05
    assert machine.process_seconds(2**22 + 1) == 0  # above the largest process id


class TestResults:
    def test_ratios_are_taken_within_rounds(self):
        ours = results.Timing("kspike_ref", "", (1.0, 10.0, 1.0), {}, 0.0)
        other = results.Timing("limits", "", (2.0, 30.0, 2.0), {}, 0.0)
        assert results.ratio(other, ours) == results.Ratio(2.0, 2.0, 3.0)
        assert str(results.ratio(other, ours)) == "2.00× (2.00 to 3.00)"  # noqa: RUF001

    def test_the_best_mode_is_the_fastest_that_did_not_fail(self):
        fast = {"peer": "a", "mode": "fast", "rounds": [1.0], "check": {}, "first": 0.0}
        slow = {**fast, "mode": "slow", "rounds": [2.0]}
        failed = {**fast, "mode": "failed", "rounds": [0.5], "failed": "it died"}
        assert results.best({"entries": [slow, failed, fast]}, "a").mode == "fast"
        assert results.best({"entries": [failed]}, "a") is None

    @pytest.mark.parametrize(
        ("value", "text"),
        [(2.5, "2.50 s"), (0.0123, "12.3 ms"), (4.2e-6, "4.20 µs"), (3e-8, "30 ns")],
    )
    def test_times_have_units(self, value, text):
        assert results.seconds(value) == text


def test_work_without_a_result_is_named():
    everything = [*(work.name for work in works.every_work()), *report.costs.NAMES]
    assert report.unmeasured(set(everything)) == []
    assert report.unmeasured(set(everything[1:])) == everything[:1]
    quick = [work.name for work in works.every_work(quick=True)]  # some are in both sets
    assert report.unmeasured(set(quick)) == ["costs.import"]


def test_files_are_named_as_seen_from_the_root():
    text = f"in {environments.ROOT / 'packages' / 'x.py'}"
    assert process.without_paths(text) == f"in {pathlib.Path('packages', 'x.py')}"


class TestBehind:
    TINY_RESULT: ClassVar = {"work": {**TINY.__dict__}}

    def test_everybody_faster_is_listed_the_worst_first(self):
        entries = [
            entry_of("kspike_ref", 1.0, 2.0, 1.0),
            entry_of("limits", 0.5, 1.0, 0.5),
            entry_of("onnx_runtime", 0.9, 1.8, 1.2),
            entry_of("keras_spiking", 4.0, 4.0, 4.0),
        ]
        found = behind.find([{**self.TINY_RESULT, "entries": entries}])
        assert [b.other.peer for b in found] == ["limits", "onnx_runtime"]
        assert found[1].ratio == results.Ratio(0.9, 0.9, 1.2)
        text = "\n".join(behind.section([{**self.TINY_RESULT, "entries": entries}]))
        assert "1 times a peer, 1 times a limit" in text

    def test_before_and_after_are_compared_within_rounds(self, tmp_path):
        store = results.Store(tmp_path)
        name = contestants.WORST["kspike_ref"][0]
        work = next(work for work in works.every_work() if work.name == name)
        entries = [
            entry_of("kspike_ref", 1.0, 2.0),
            entry_of("kspike_ref_before", 3.0, 6.0),
            entry_of("nengo_filters", 2.0, 4.0),
            entry_of("scipy_filters", 9.0, 9.0),
        ]
        store.save(name, {"work": {**work.__dict__}, "entries": entries})
        [section] = behind.before_and_after(store)
        gain = [
            "3.00 (3.00 to 3.00)",
            "Nengo, 3.00 s",
            "0.67 (0.67 to 0.67)",
            "2.00 (2.00 to 2.00)",
        ]
        assert " | ".join(gain) in section.replace("\N{MULTIPLICATION SIGN}", "")
        assert contestants.BEFORE in section

    def test_what_is_to_be_compared_is_work(self):
        names = {work.name for work in works.every_work()}
        assert names.issuperset(name for worst in contestants.WORST.values() for name in worst)


class InstantSession(contextlib.nullcontext):
    """Fake session without processes."""

    def __init__(self, *_):
        super().__init__(self)
        self.missing = {}

    def measure(self, work, rounds, seconds):
        return {"entries": [entry_of("scipy_filters", *[1.0] * rounds)], "missing": {}}


class TestCommandLine:
    def test_results_are_resumed_and_put_aside(self, tmp_path, monkeypatch, capsys):
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "digits.npz").touch()
        tiny = [works.Work("forward", "lowpass", 1, 3, 2), works.Work("forward", "alpha", 1, 3, 2)]
        monkeypatch.setattr(works, "every_work", lambda quick: tiny)
        monkeypatch.setattr(command_line, "Session", InstantSession)

        def run(*more):
            options = ["--only", "forward", "--peers", "scipy_filters", "--rounds", "1"]
            command = ["benchmarks", "run", "--folder", str(tmp_path), *options]
            monkeypatch.setattr(sys, "argv", [*command, *more])
            assert command_line.main() == 0
            return capsys.readouterr().out

        assert "2 pieces of work are left" in run("--budget", "0")
        assert "[2/2, " in run()
        assert run() == ""
        assert "[1/2, " in run("--again")
        [earlier] = (tmp_path / "results" / "earlier").iterdir()
        assert {path.stem for path in earlier.iterdir()} == {work.name for work in tiny}

    def test_a_failure_of_a_peer_counts_in_the_quick_mode_only(self):
        result = {"entries": [{"peer": "limits", "failed": "x"}], "missing": {}}
        assert command_line.failures(result, quick=True) == ["limits"]
        assert command_line.failures(result, quick=False) == []
        result = {"entries": [], "missing": {"kspike_tf": "x"}}
        assert command_line.failures(result, quick=False) == ["kspike_tf"]


def test_a_report_of_nothing_is_refused(tmp_path):
    store = results.Store(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"no results in .*empty: run the benchmarks first"):
        report.write(store, tmp_path / "docs")
    assert not (tmp_path / "docs").exists()


class TestEnvironments:
    def test_a_missing_python_is_reported_and_nothing_is_made(self, tmp_path, monkeypatch):
        monkeypatch.setattr(environments, "FOLDER", tmp_path / "bench")
        failures = environments.build(environments.Environment("old", ("x",), python="2.1"))
        assert failures == {"python": "no Python 2.1 was found on this machine"}
        assert not (tmp_path / "bench").exists()

    def test_what_is_to_be_installed_is_brought_up_to_date(self, tmp_path, monkeypatch):
        installed = []
        monkeypatch.setattr(environments, "FOLDER", tmp_path)
        monkeypatch.setattr(
            environments, "_install", lambda _, packages: installed.append(packages)
        )
        (tmp_path / "old").mkdir()
        environments.build(environments.Environment("old", ("x",)))
        environments.build(environments.Environment("old", ("x",)))
        environments.build(environments.Environment("old", ("x>=2",), apart=("y",)))
        assert installed == [("x",), ("x>=2",), ("y",)]

    def test_commands_are_what_a_person_would_type(self):
        commands = environments.ENVIRONMENTS["keras-spiking"].commands()
        assert commands == [
            "python3.10 -m venv keras-spiking",
            "keras-spiking/bin/pip install keras-spiking==0.3.0 tensorflow==2.10.1 "
            '"numpy<1.24" "protobuf<3.20"',
        ]

    def test_this_python_is_found(self):
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        assert environments.find_python(version) == sys.executable


@pytest.mark.parametrize("static", [True, False])
def test_the_unrolled_onnx_graph_is_the_textbook_model(static):
    onnxruntime = pytest.importorskip("onnxruntime")
    generator = np.random.default_rng(0)
    found = {
        "hidden_kernel": generator.normal(size=(12, 8)).astype(np.float32) * 20,
        "hidden_bias": generator.normal(size=8).astype(np.float32),
        "scores_kernel": generator.normal(size=(8, 10)).astype(np.float32),
        "scores_bias": generator.normal(size=10).astype(np.float32),
        "voltage": generator.random(8),
    }
    images = generator.random((6, 12), dtype=np.float32)
    frames = works.shown(images, 10)
    graph = onnx_runtime.unrolled(found, 10, static)
    runtime = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    scores = runtime.run(None, {"x": images if static else frames})[0]
    # Float32 against float64; with this seed no spike is close enough to a step boundary to move.
    assert np.allclose(scores, works.reference_scores(found, frames), rtol=1e-4, atol=1e-3)


def test_figures_are_drawn_again_from_what_is_published(tmp_path):
    root = pathlib.Path(__file__).parents[2]
    shutil.copy(root / "docs" / "benchmarks.json", tmp_path)
    drawn = {path.name for path in command_line.redraw(tmp_path)}
    page = (root / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert drawn == set(re.findall(r"\(figures/([^)]+)\)", page))
    for name in drawn:
        height, width = matplotlib.image.imread(tmp_path / "figures" / name).shape[:2]
        assert 700 < width < 1000  # at 200 dots per inch, letters of 10 points are legible at 360
        assert height > 300
