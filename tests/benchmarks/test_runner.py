"""The side-by-side benchmarks themselves: protocol, checks, statistics, report."""

import json
import pathlib
import sys

import numpy as np
import pytest
from scipy.signal import lfilter

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from benchmarks import environments, machine, report, results, session, works
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
        # Float64 both: rounding errors of some dozens of operations.
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
        # The loss is quadratic: central differences are exact but for cancellation.
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
            return Job(lambda: x * 2, lambda y: {"mean": y.mean()}, per=4)

        def broken(work, data):
            raise RuntimeError("no such layer\nand more")

        return Worker({"spiking": {"": build, "broken": broken}}, ["numpy"], tmp_path)

    def test_hello_tells_versions_and_offers(self, worker):
        said = worker.answer({"do": "hello"})
        assert said["offers"] == {"spiking": ["", "broken"]}
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
        ghost = session.Peer("ghost", "Ghost", "empty")
        monkeypatch.setitem(session.PEERS, "ghost", ghost)
        with session.Session(["ghost", "scipy_filters"], tmp_path, here=True) as open_session:
            assert "No module named" in open_session.missing["ghost"]
            work = works.Work("forward", "lowpass", 1, 3, 2)
            result = open_session.measure(work, rounds=1, seconds=0)
        assert {entry["peer"] for entry in result["entries"]} == {"scipy_filters"}
        assert "ghost" in result["missing"]

    def test_an_environment_that_was_not_built_is_the_reason(self, tmp_path, monkeypatch):
        monkeypatch.setattr(environments, "FOLDER", tmp_path / "nothing")
        with pytest.raises(session.WorkerError, match="its environment was not built"):
            session.Process(session.PEERS["kspike_ref"], tmp_path)


@pytest.mark.skipif(not pathlib.Path("/proc/stat").exists(), reason="Linux tells, others do not")
def test_the_load_of_the_machine_and_of_a_process_grows_with_work():
    busy, own = machine.busy_seconds(), machine.process_seconds("self")
    while machine.process_seconds("self") < own + 0.1:
        sum(range(100_000))
    # Both count in ticks of 10 ms, the first over all processes.
    assert machine.busy_seconds() - busy > 0.05
    assert machine.process_seconds(2**22 + 1) == 0  # above the largest number of a process


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
    # Float32 against float64; no spike of this seed is so close to a step that it moves.
    assert np.allclose(scores, works.reference_scores(found, frames), rtol=1e-4, atol=1e-3)
