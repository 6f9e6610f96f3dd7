"""Tests of devices with overhead, and of devices fitted to measurements."""

import csv
import math
from itertools import combinations
from pathlib import Path

import keras
import numpy as np
import pytest

import kspike_energy
from kspike_energy import Layer, ModelEnergy, Network, fit_device
from kspike_energy.devices.measured import measured_devices

L = keras.layers
TABLES = Path(kspike_energy.__file__).parent / "devices" / "measurements"


def spotter(layers=0, copies=0):
    """Return the network of the keyword-spotter measurements, described layer by layer."""
    branches = copies if layers else 1
    found = [Layer("in", 390 * 256, 256)]
    found += [Layer(f"branch {i}", 256 * 256, 256) for i in range(branches * layers)]
    found += [Layer("join", branches * 256 * 256, 256), Layer("out", 256 * 29, 29)]
    return ModelEnergy(Network(found))


# Energies by hand ---------------------------------------------------------------------------------


def test_overheads_by_hand():
    ModelEnergy.register_device(
        "board", 2e-9, 0.0, False, energy_per_call=3e-3, energy_per_kernel=5e-4, energy_per_op=2e-9
    )
    energy = ModelEnergy(Network([Layer("a", 1000, 10), Layer("b", 500), Layer("relu", 0, 7)]))
    for batch in (1, 8):
        wanted = (3e-3 + 2 * 5e-4) / batch + 1500 * 2e-9  # two kernels: the activation is not one
        assert energy.total_energy("board", batch_size=batch) == pytest.approx(wanted)
        assert energy.energy_range("board", batch_size=batch) == pytest.approx((wanted, wanted))
        assert energy.layer_energy("a", "board", batch_size=batch) == pytest.approx(
            (5e-4 / batch + 1000 * 2e-9, 0.0)
        )
        total = energy.to_dict(["board"], batch_size=batch)["totals"]["board"]["energy"]
        assert total == pytest.approx(wanted)
    assert energy.assumptions(batch_size=8)["batch_size"] == 8


def test_overheads_beside_energies_of_events():
    ModelEnergy.register_device("chip", 1e-12, 2e-12, True, energy_per_call=1e-6)
    energy = ModelEnergy(Network([Layer("a", 1000, 10, rate=100.0)]))
    wanted = 1e-6 / 4 + 5 * (1000 * 0.1 * 1e-12 + 10 * 2e-12)
    assert energy.total_energy("chip", 5, batch_size=4) == pytest.approx(wanted)


def test_a_layer_that_is_applied_twice_is_two_kernels():
    inp = keras.Input((6,))
    dense = L.Dense(6, "relu")
    x = L.Flatten()(L.BatchNormalization()(dense(dense(inp))))
    assert ModelEnergy(keras.Model(inp, x)).network.workload().kernels == 3  # nothing is folded
    x = L.Flatten()(L.BatchNormalization()(L.Dense(6)(inp)))
    assert ModelEnergy(keras.Model(inp, x)).network.workload().kernels == 1


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True])
def test_bad_batch_sizes(batch_size):
    with pytest.raises((TypeError, ValueError), match="batch_size must be"):
        spotter().total_energy("quadro-k4000", batch_size=batch_size)


@pytest.mark.parametrize("name", ["energy_per_call", "energy_per_kernel", "energy_per_op"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_bad_overheads(name, value):
    with pytest.raises(ValueError, match=f"{name} must not be negative"):
        ModelEnergy.register_device("x", 1.0, 1.0, False, **{name: value})


# Fits ---------------------------------------------------------------------------------------------


def rows_of(call, kernel, op, noise=lambda i: 1.0):
    points = [(k, o, b) for k in (2, 9) for o in (1e5, 3e6) for b in (1, 16)]
    return [
        {
            "kernels": k,
            "operations": o,
            "batch_size": b,
            "joules": noise(i) * ((call + kernel * k) / b + op * o),
        }
        for i, (k, o, b) in enumerate(points)
    ]


def test_a_fit_finds_the_energies_that_made_the_measurements():
    device = fit_device("mine", rows_of(1e-3, 2e-4, 3e-9), family="test networks")
    found = (device.energy_per_call, device.energy_per_kernel, device.energy_per_op)
    assert found == pytest.approx((1e-3, 2e-4, 3e-9))
    assert device.fit.worst == pytest.approx(1.0)
    ModelEnergy.devices["mine"] = device
    network = Network([Layer(f"{i}", 50_000) for i in range(2)])
    wanted = (1e-3 + 2 * 2e-4) / 4 + 3e-9 * 1e5
    assert ModelEnergy(network).total_energy("mine", batch_size=4) == pytest.approx(wanted)


def test_no_energy_is_negative_and_the_best_subset_wins():
    rows = rows_of(1e-3, 0.0, 3e-9, noise=lambda i: 1 + 0.1 * (-1) ** i)
    device = fit_device("mine", rows)
    features = np.array([[1, r["kernels"], r["operations"] * r["batch_size"]] for r in rows])
    energies = np.array([r["joules"] * r["batch_size"] for r in rows])
    ratios = features / energies[:, None]

    def error(weights):
        return np.sum((ratios @ weights - 1) ** 2)

    found = np.array([device.energy_per_call, device.energy_per_kernel, device.energy_per_op])
    assert np.all(found >= 0)
    for chosen in (list(c) for n in (1, 2, 3) for c in combinations(range(3), n)):
        weights = np.zeros(3)
        weights[chosen] = np.linalg.lstsq(ratios[:, chosen], np.ones(len(rows)), rcond=None)[0]
        assert np.any(weights < 0) or error(found) <= error(weights) * (1 + 1e-9)


def test_one_term_is_a_geometric_mean():
    rows = [{"operations": 1000, "joules": 1e-6}, {"operations": 1000, "joules": 4e-6}]
    device = fit_device("mine", rows, terms=["op"])
    assert device.energy_per_op == pytest.approx(2e-9)
    assert device.fit.factors == pytest.approx((4.0, 4.0))  # each is predicted from the other one


def test_models_give_their_own_counts():
    inp = keras.Input((20,))
    model = keras.Model(inp, L.Dense(5)(L.Dense(10, "relu")(inp)))
    rows = [{"model": model, "batch_size": b, "joules": 1e-3 / b + 1e-6} for b in (1, 2, 4, 8)]
    device = fit_device("mine", rows, terms=["call", "op"])
    assert device.energy_per_op == pytest.approx(1e-6 / 250)
    assert device.fit.kinds == ("Dense",)
    assert fit_device("mine", [{**r, "model": ModelEnergy(model)} for r in rows], terms=["op"])


def test_a_table_of_pandas():
    pandas = pytest.importorskip("pandas")
    device = fit_device("mine", pandas.DataFrame(rows_of(1e-3, 2e-4, 3e-9)))
    assert device.energy_per_call == pytest.approx(1e-3)


def test_a_table_of_pandas_with_missing_cells():
    pandas = pytest.importorskip("pandas")
    network = Network([Layer("a", 10**6)])
    frame = pandas.DataFrame(
        [{"model": network, "batch_size": b, "joules": 1e-3 / b + 2e-3} for b in (1, 8)]
        + [{"operations": 5e6, "joules": 1e-3 + 10e-3}]
    )
    device = fit_device("mine", frame)
    assert (device.energy_per_call, device.energy_per_op) == pytest.approx((1e-3, 2e-9))
    with pytest.raises(TypeError, match=r"measurements\[0\] must be a dictionary. Received: 0.003"):
        fit_device("mine", frame["joules"])
    frame.loc[1, "joules"] = math.nan
    with pytest.raises(ValueError, match=r"joules of measurements\[1\].*Received: nan"):
        fit_device("mine", frame)


def test_whole_numbers_written_as_floats():
    rows = [{**row, "batch_size": float(row["batch_size"])} for row in rows_of(1e-3, 2e-4, 3e-9)]
    rows = [{**row, "operations": np.float32(row["operations"])} for row in rows]
    assert fit_device("mine", rows).energy_per_kernel == pytest.approx(2e-4)


def test_terms_of_very_different_size():
    """Without scaled columns, least squares drops the energy per call."""
    rows = [
        {"operations": n * 10**15, "batch_size": b, "joules": 1e5 / b + 2e-9 * 1e15 * n}
        for n in (1, 2, 5)
        for b in (1, 512)
    ]
    device = fit_device("mine", rows)
    assert (device.energy_per_call, device.energy_per_op) == pytest.approx((1e5, 2e-9))
    assert device.fit.worst == pytest.approx(1.0)


GOOD = {"operations": 1000, "joules": 1e-6}
NETWORK = Network([Layer("a", 1000)])
IDLE = Network([Layer("relu", 0, 7)])


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([GOOD], ValueError, r"testing 2 terms needs at least 3 .*Received: 1 for device 'x'"),
        ([], ValueError, "fitting and testing 3 terms needs at least 4 measurements"),
        ([GOOD] * 5, ValueError, "device 'x' cannot separate the terms call, op:"),
        ([GOOD, {**GOOD, "joules": math.nan}], ValueError, r"joules of measurements\[1\]"),
        ([{**GOOD, "joules": -1}], ValueError, r"joules of measurements\[0\].*Received: -1"),
        ([{"operations": 5}], ValueError, r"joules of measurements\[0\].*Received: None"),
        ([{"joules": 1.0}], ValueError, r"measurements\[0\] must have 'model' or 'operations'"),
        ([{**GOOD, "joule": 1}], ValueError, r"has no 'joule'; did you mean 'joules'"),
        ([{**GOOD, "operations": 0}], ValueError, r"operations of measurements\[0\] must be at"),
        ([{**GOOD, "batch_size": 0}], ValueError, r"batch_size of measurements\[0\] must be at"),
        ([{**GOOD, "operations": 1.5}], TypeError, r"operations of measurements\[0\] must be a wh"),
        ([3], TypeError, r"measurements\[0\] must be a dictionary. Received: 3"),
        ([{**GOOD, "model": NETWORK}], ValueError, r"\[0\] must have either 'model' or counts"),
        ([{"model": None, "joules": 1}], TypeError, r"model of measurements\[0\]: model must be"),
        ([{"model": IDLE, "joules": 1}], ValueError, r"model of measurements\[0\] must have oper"),
        ([{**GOOD, "joules": 1e-310 * n} for n in (1, 2, 3)], ValueError, r"device 'x' are too"),
    ],
)
def test_bad_measurements(rows, error, message):
    with pytest.raises(error, match=message):
        fit_device("x", rows)


def test_unknown_terms():
    with pytest.raises(ValueError, match=r"terms must be among .*'ops'; did you mean 'op'"):
        fit_device("x", [GOOD] * 3, terms=["ops"])
    with pytest.raises(ValueError, match=r"terms must name at least one of"):
        fit_device("x", [GOOD] * 3, terms=[])
    for terms in ("op", 3):
        with pytest.raises(TypeError, match=r"terms must be a list of names. Received: terms="):
            fit_device("x", [GOOD] * 3, terms=terms)


@pytest.mark.parametrize("rows", [3, "rows", GOOD])
def test_measurements_that_are_no_rows(rows):
    with pytest.raises(TypeError, match=r"measurements must be a list of rows. Received: "):
        fit_device("x", rows)


# Shipped devices ----------------------------------------------------------------------------------

AIMS = {"spotter": (1.06, 1.35, None), "tiny": (1.2, None, 1.75)}


@pytest.mark.parametrize("kind", AIMS)
def test_left_out_measurements_are_predicted_as_the_guide_says(kind):
    boards = [d for d in measured_devices() if ("MLPerf" in d.source) == (kind == "tiny")]
    factors = np.array([factor for device in boards for factor in device.fit.factors])
    median, within, worst = AIMS[kind]
    assert len(factors) > 40
    assert np.median(factors) <= median
    assert within is None or np.quantile(factors, 0.9) <= within
    assert worst is None or factors.max() <= worst


def test_estimates_of_the_measured_networks_agree_with_the_wattmeter():
    names = {"cpu": "xeon-e5-2630", "gpu": "quadro-k4000", "jetson": "jetson-tx1",
             "movidius": "movidius-ncs"}  # fmt: skip
    seen = 0
    for row in csv.DictReader((TABLES / "keyword_spotter.csv").open()):
        if row["device"] not in names:
            continue
        name = names[row["device"]]
        energy = spotter(int(row["extra_layers"]), int(row["copies"]))
        got = energy.total_energy(name, batch_size=int(row["batch_size"]))
        measured = float(row["dynamic_j_per_inference"])
        worst = ModelEnergy.devices[name].fit.worst
        assert max(got / measured, measured / got) <= worst, row["run"]
        seen += 1
    assert seen == 28


def test_every_fitted_device_says_where_it_comes_from():
    for device in measured_devices():
        assert "20" in device.source
        assert str(device.fit.points) in device.description or "one" in device.description
        assert not device.needs_rates
    assert [d.name for d in measured_devices()][:5] == [
        "xeon-e5-2630", "quadro-k4000", "jetson-tx1", "movidius-ncs", "loihi-measured",
    ]  # fmt: skip


def test_a_board_of_mlperf_tiny_has_one_energy_per_operation():
    device = ModelEnergy.devices["nucleo-l4r5zi-v0.7"]
    joules = {"ad": 431.211, "ic": 12298.289, "kws": 4635.681, "vww": 12293.282}  # microjoules
    operations = {"ad": 264192, "ic": 12501632, "kws": 2656768, "vww": 7489664}
    mean = math.exp(np.mean([math.log(joules[n] * 1e-6 / operations[n]) for n in joules]))
    assert device.energy_per_op == pytest.approx(mean)
    assert device.energy_per_call == device.energy_per_kernel == 0


# Reports ------------------------------------------------------------------------------------------


def test_reports_say_whether_they_interpolate():
    text = spotter().summary_string(("name", "energy quadro-k4000"), line_length=400)
    assert "interpolated from 9 measurements of dense networks" in text
    assert "leave-one-out error: a factor of 1.07 (median), 1.57 (worst)" in text
    assert "Only arithmetic is estimated" not in text
    low, high = spotter().energy_range("quadro-k4000")
    total = spotter().total_energy("quadro-k4000")
    within = ModelEnergy.devices["quadro-k4000"].fit.within
    assert (low, high) == pytest.approx((total / within, total * within))


def test_a_network_without_operations_is_an_extrapolation():
    text = ModelEnergy(Network([Layer("relu", 0, 7)])).summary_string(
        ("name", "energy quadro-k4000"), line_length=400
    )
    assert "extrapolated: no operations, unlike every measured network; no layers, unlike" in text


def test_reports_say_that_they_extrapolate():
    large = ModelEnergy(Network([Layer("a", 40 * 7_316_736 + 1_000_000, 10)]))
    text = large.summary_string(("name", "energy quadro-k4000"), line_length=400)
    assert "extrapolated: " in text
    assert "times more operations than any measured network" in text
    low, high = large.energy_range("quadro-k4000")
    total = large.total_energy("quadro-k4000")
    assert high / total == pytest.approx(total / low)
    assert high / total > 30 * ModelEnergy.devices["quadro-k4000"].fit.worst  # the range widens
    many = spotter()
    text = many.summary_string(("energy quadro-k4000",), batch_size=256, line_length=400)
    assert "4 times more examples per batch" in text


def test_every_kind_of_report_says_whether_it_interpolates(tmp_path):
    board = "quadro-k4000"
    inside, outside = spotter(), ModelEnergy(Network([Layer("a", 100_000, 10)]))
    for energy, wanted in (
        (inside, "interpolated from 9 measurements of dense networks"),
        (outside, "extrapolated: 1.73 times fewer operations than any measured network"),
    ):
        energy.to_html(tmp_path / "report.html", [board])
        comparison = energy.compare(["cpu", board])
        texts = [
            energy.summary_string(("name", f"energy {board}")),
            energy.to_markdown([board]),
            energy.to_latex([board]),
            (tmp_path / "report.html").read_text(encoding="utf-8"),
            str(comparison),
            comparison._repr_html_(),
        ]
        for text in texts:
            assert wanted in " ".join(text.split())
        assert comparison.devices[1].scope.startswith(wanted)
        assert comparison.devices[0].scope is None
        assert energy.to_dict(["cpu"])["totals"]["cpu"]["scope"] is None
        assert energy.to_dict([board])["totals"][board]["scope"].startswith(wanted)
    two = str(inside.compare(["xeon-e5-2630", board]))
    assert "xeon-e5-2630, quadro-k4000: interpolated from 9 measurements" in " ".join(two.split())


def test_measurements_without_kernels_say_nothing_about_them():
    rows = [{**row} for row in rows_of(1e-3, 0.0, 3e-9)]
    for row in rows:
        del row["kernels"]
    ModelEnergy.devices["mine"] = device = fit_device("mine", rows)
    assert device.fit.kernels is None
    network = Network([Layer(f"{i}", 50_000) for i in range(20)])
    text = ModelEnergy(network).summary_string(("energy mine",), line_length=300)
    assert "interpolated from 8 measurements of networks" in text
    with pytest.raises(ValueError, match=r"kernels of measurements\[0\] must be stated to fit"):
        fit_device("mine", rows, terms=["call", "kernel", "op"])


def test_layers_of_another_type_are_an_extrapolation():
    model = keras.Sequential([keras.Input((16, 16, 3)), L.Conv2D(16, 3), L.Flatten(), L.Dense(10)])
    text = ModelEnergy(model).summary_string(("name", "energy quadro-k4000"), line_length=400)
    assert "layers of other types (Conv2D)" in text


@pytest.mark.parametrize("counts", [0, 1])
def test_types_of_layers_are_compared_only_if_every_measurement_states_them(counts):
    rows = [
        {"model": Network([Layer("a", 1000 * n, type_name="Dense")]), "joules": 1e-6 * n}
        for n in (1, 2, 5)
    ]
    device = fit_device("mine", rows + [GOOD] * counts, terms=["op"])
    assert device.fit.kinds == (() if counts else ("Dense",))
    ModelEnergy.devices["mine"] = device
    energy = ModelEnergy(Network([Layer("b", 2000, type_name="Conv2D")]))
    wanted = "interpolated" if counts else "extrapolated: layers of other types (Conv2D)"
    assert energy.compare(["mine"]).devices[0].scope.startswith(wanted)


def test_in_a_comparison():
    energy = spotter()
    comparison = energy.compare(["cpu", "xeon-e5-2630", "loihi-measured"], batch_size=16)
    energies = {device.device: device.energy for device in comparison.devices}
    assert energies["xeon-e5-2630"] == energy.total_energy("xeon-e5-2630", batch_size=16)
    assert not comparison.layers  # no device here depends on rates


def test_columns_and_the_call_add_up():
    energy = spotter()
    device = ModelEnergy.devices["xeon-e5-2630"]
    layers = sum(sum(energy.layer_energy(x, "xeon-e5-2630")) for x in energy.network.layers)
    total = energy.total_energy("xeon-e5-2630")
    assert total == pytest.approx(layers + device.energy_per_call)
