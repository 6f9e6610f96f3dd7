"""Tests that sweeps give the numbers of single runs, in one pass, in every way of running."""

import functools
import json
import types
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from matplotlib.figure import Figure

import kspike_tf
from kspike_tf.sweeping import activity

layers = keras.layers
RNG = np.random.default_rng(0)
X = RNG.uniform(0, 1, (70, 6)).astype("float32")  # in two batches
Y = RNG.integers(0, 3, 70)


def model_of(readout="last", seed=0):
    """Return a model of 12 and 5 neurons, with filters."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((None, 6))
    x = layers.Dense(12)(layers.Rescaling(300.0)(inputs))
    x = kspike_tf.SpikingActivation("relu", seed=seed, name="first")(x)
    x = layers.Dense(5)(kspike_tf.Lowpass(0.01)(x))
    x = kspike_tf.SpikingActivation("relu", seed=seed and seed + 1, name="second")(x)
    x = kspike_tf.Lowpass(0.01, return_sequences=readout != "last")(x)
    if readout == "mean":
        x = keras.ops.mean(x, axis=1)
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(x))


def correct(y, outputs):
    return float(np.mean(outputs.reshape(len(y), -1)[:, -3:].argmax(axis=1) == y))


@pytest.mark.parametrize("readout", ["last", "mean", "sequence"])
def test_one_pass_gives_what_single_runs_give(readout):
    model = model_of(readout)
    found = kspike_tf.sweep(model, X, Y, timesteps=[30, 4, 17], devices=["loihi", "cpu"])
    assert [p.timesteps for p in found] == [4, 17, 30]
    spiking = keras.Model(model.inputs, [model.get_layer(n).output for n in ("first", "second")])
    for point in found:
        shown = np.repeat(X[:, None], point.timesteps, axis=1)
        assert point.score == correct(Y, model.predict(shown, verbose=0))
        spikes = [s.sum(axis=(1, 2)).mean() * 0.001 for s in spiking.predict(shown, verbose=0)]
        assert point.spikes == pytest.approx(sum(spikes), rel=1e-6)
        seconds = point.timesteps * 0.001
        assert point.latency == pytest.approx(seconds)
        assert point.rate == pytest.approx(sum(spikes) / 17 / seconds)
        assert point.rates["second"] == pytest.approx(spikes[1] / 5 / seconds)
        energy = kspike_tf.ModelEnergy(model, shown, input_coding="events")
        if readout == "sequence":  # after a readout, the sweep counts incoming spikes
            for device, joules in point.energy.items():
                assert joules == pytest.approx(energy.total_energy(device), rel=1e-6)


def test_spikes_and_outputs_come_from_one_run(monkeypatch):
    made = []
    sequence = kspike_tf.SpikingActivationCell.call_sequence

    def seen(cell, x, *args, **options):
        if tf.executing_eagerly():
            made.append(tuple(x.shape))
        return sequence(cell, x, *args, **options)

    monkeypatch.setattr(kspike_tf.SpikingActivationCell, "call_sequence", seen)
    kspike_tf.sweep(model_of("mean"), X, Y, timesteps=[4, 17], workers=1)
    assert sorted(made) == [(6, 17, 5), (6, 17, 12), (64, 17, 5), (64, 17, 12)]


@pytest.mark.parametrize("as_dict", [True, False])
def test_inputs_of_any_order(as_dict):
    """The deeper input is not the first one."""
    short, deep = keras.Input((None, 2), name="a"), keras.Input((None, 2, 3), name="b")
    x = layers.Concatenate()([short, layers.Reshape((-1, 6))(deep)])
    x = kspike_tf.SpikingActivation("relu", seed=0)(layers.Rescaling(300.0)(x))
    x = layers.Dense(3)(kspike_tf.Lowpass(0.01, return_sequences=False)(x))
    inputs, data = [short, deep], [X[:, :2], X.reshape(-1, 2, 3)]
    if as_dict:
        inputs, data = dict(zip("ab", inputs, strict=True)), dict(zip("ab", data, strict=True))
    found = kspike_tf.sweep(keras.Model(inputs, x), data, Y, timesteps=10)
    assert found.points[0].spikes > 0
    with pytest.raises(ValueError, match="x must have the shapes of the model's inputs"):
        kspike_tf.sweep(keras.Model(inputs, x), [X[:, :2], X], Y, timesteps=10)


def test_signals_in_bfloat16_have_rates():
    inputs = keras.Input((None, 6))
    x = kspike_tf.SpikingActivation("relu", seed=0)(layers.Rescaling(300.0)(inputs))
    x = layers.Activation("linear", dtype="mixed_bfloat16")(x)
    x = kspike_tf.Lowpass(0.01, return_sequences=False)(layers.Dense(3)(x))
    found = kspike_tf.sweep(keras.Model(inputs, x), X, Y, timesteps=10, devices=["loihi"])
    assert found.points[0].energy["loihi"] > 0


def test_steps_of_presented_sequences():
    x = np.random.default_rng(1).uniform(0, 1, (20, 30, 6)).astype("float32")
    model = model_of()
    found = kspike_tf.sweep(model, x, Y[:20], timesteps=[5, 20])
    for point in found:
        scores = model.predict(x[:, : point.timesteps], verbose=0)
        assert point.score == correct(Y[:20], scores)
    with pytest.raises(ValueError, match="timesteps must be at most the number of steps in x, 30"):
        kspike_tf.sweep(model, x, Y[:20], timesteps=31)


def test_layers_that_look_ahead_run_anew():
    """A layer that runs backwards sees the end of the presentation first."""
    inputs = keras.Input((None, 6))
    x = layers.Dense(4, kernel_initializer="ones")(inputs)
    x = kspike_tf.SpikingActivation("relu", dt=0.01, seed=0, name="spikes")(x)
    x = layers.Bidirectional(layers.SimpleRNN(4, return_sequences=True))(x)
    model = keras.Model(inputs, layers.GlobalAveragePooling1D()(x))
    rising = np.linspace(0, 30, 9)[:, None] * X[:, None]
    seen = []

    def kept(y, outputs):
        seen.append(outputs)
        return 0.0

    kspike_tf.sweep(model, rising, Y, timesteps=[3, 9], metric=kept)
    expected = [model.predict(rising[:, :steps], verbose=0) for steps in (3, 9)]
    assert np.abs(expected[0] - expected[1]).max() > 0.1
    for found, wanted in zip(seen, expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def highest(y, outputs):
    return outputs.max()


def lowest(y, outputs):
    return outputs.min()


def closure(factor):
    def scaled(y, outputs):
        return factor * outputs.max()

    return scaled


def test_time_step_and_scale():
    model = model_of()
    found = kspike_tf.sweep(model, X, Y, timesteps=40, dt=[0.001, 0.002], scale=[1, 2])
    assert [(p.dt, p.scale) for p in found] == [(0.001, 1), (0.001, 2), (0.002, 1), (0.002, 2)]
    once, twice, long, _ = found
    assert twice.spikes == pytest.approx(2 * once.spikes, rel=0.1)
    assert long.spikes == pytest.approx(2 * once.spikes, rel=0.1)
    assert twice.energy["loihi"] > once.energy["loihi"]
    assert twice.energy["cpu"] == once.energy["cpu"]  # it runs the ordinary network once
    assert long.latency == pytest.approx(0.08)
    kspike_tf.config.set_dt(model, 0.002)
    (own,) = kspike_tf.sweep(model, X, Y, timesteps=40)
    assert own == long
    for name in ("first", "second"):  # a longer step of the neurons alone doubles rates
        model.get_layer(name).dt = 0.004
    shown = np.repeat(X[:, None], 40, axis=1)
    assert found.points[3].score == correct(Y, model.predict(shown, verbose=0))


def test_same_numbers_however_many_workers():
    unseeded = model_of(seed=None)
    weights = unseeded.get_weights()
    runs = [kspike_tf.sweep(unseeded, X, Y, timesteps=[5, 20], workers=n) for n in (1, 2)]
    assert runs[0] == runs[1]
    assert unseeded.get_layer("first").seed is None  # the model itself does not change
    assert all(np.array_equal(a, b) for a, b in zip(weights, unseeded.get_weights(), strict=True))


def test_finished_points_are_not_computed_again(tmp_path, monkeypatch):
    model, path = model_of(), tmp_path / "points.jsonl"
    options = {"scale": [1, 2], "resume": path}
    first = kspike_tf.sweep(model, X, Y, timesteps=[5, 9], **options)
    lines = path.read_text().splitlines()
    assert len(lines) == 4
    path.write_text("\n".join(lines[:3]) + "\n" + lines[3][:40])  # as if killed while writing
    passes = []
    scored = kspike_tf.sweeping.study.Study.points

    def points(self, dt, scale, timesteps, *others):
        passes.append((scale, timesteps))
        return scored(self, dt, scale, timesteps, *others)

    monkeypatch.setattr(kspike_tf.sweeping.study.Study, "points", points)
    assert kspike_tf.sweep(model, X, Y, timesteps=[5, 9], **options) == first
    assert passes == [(2.0, [9])]
    assert kspike_tf.sweep(model, X, Y, timesteps=[5, 9], **options) == first
    assert len(passes) == 1
    other = X.copy()
    other[3, 2] += 0.5
    kspike_tf.sweep(model, other, Y, timesteps=9, resume=path)  # other data
    kspike_tf.sweep(model, X, Y, timesteps=9, resume=path, devices="cpu")  # other options
    kspike_tf.sweep(model, X, Y, timesteps=9, resume=path, metric=highest)
    model.layers[2].set_weights([2 * w for w in model.layers[2].get_weights()])
    kspike_tf.sweep(model, X, Y, timesteps=9, resume=path)  # other weights
    assert len(passes) == 5
    assert all(json.loads(line) for line in path.read_text().splitlines() if line != lines[3][:40])


def test_points_belong_to_a_metric_and_a_version(tmp_path, monkeypatch):
    model, path = model_of(), tmp_path / "points.jsonl"

    def score(metric):
        options = {"timesteps": 5, "devices": (), "resume": path}
        return kspike_tf.sweep(model, X, Y, metric=metric, **options).points[0].score

    first = score(highest)
    other = types.FunctionType(lowest.__code__, globals(), "highest")  # as if edited
    other.__qualname__ = "highest"
    monkeypatch.setitem(globals(), "highest", other)
    assert score(other) < first
    assert len(path.read_text().splitlines()) == 2
    assert score(other) < first
    assert len(path.read_text().splitlines()) == 2
    upgraded = [SimpleNamespace(name="kspike-tf", version="9.9.9")]
    monkeypatch.setattr("importlib.metadata.distributions", lambda: upgraded)
    score(other)
    assert len(path.read_text().splitlines()) == 3


@pytest.mark.parametrize("text", ["steps,accuracy\n5,0.9\n", "a note", '{"key": "a"}\n', "[1]\n"])
def test_other_files_are_no_journals(tmp_path, text):
    path = tmp_path / "results.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match="resume must be a file written by sweep"):
        kspike_tf.sweep(model_of(), X, Y, timesteps=5, resume=path)
    assert path.read_text() == text
    with pytest.raises(FileNotFoundError):
        kspike_tf.sweep(model_of(), X, Y, timesteps=5, resume=tmp_path / "none" / "x")


def test_points_of_another_version_are_computed_again(tmp_path):
    path = tmp_path / "points.jsonl"
    options = {"timesteps": 5, "devices": (), "resume": path}
    first = kspike_tf.sweep(model_of(), X, Y, **options)
    entry = json.loads(path.read_text())
    entry["point"]["latency"] = entry["point"].pop("rate")
    path.write_text(json.dumps(entry) + "\n")
    assert kspike_tf.sweep(model_of(), X, Y, **options) == first
    assert len(path.read_text().splitlines()) == 2


def test_conversions_and_other_objects(tmp_path):
    plain = keras.Sequential(
        [keras.Input((6,)), layers.Dense(5, "relu"), layers.Dense(3, "softmax")]
    )
    conversion = kspike_tf.convert(plain, calibration_data=X)
    found = kspike_tf.sweep(conversion, X, Y, timesteps=5, devices="cpu")
    assert found == kspike_tf.sweep(conversion.model, X, Y, timesteps=5, devices="cpu")
    assert repr(found) == "<Sweep of 1 point: accuracy, cpu>"
    for resume in (None, tmp_path / "points.jsonl"):
        with pytest.raises(TypeError, match=r"must be a Keras model, a Conversion, .*'a\.keras'"):
            kspike_tf.sweep("a.keras", X, Y, timesteps=5, resume=resume)


def test_neurons_of_ones_own_are_told_of():
    cell = kspike_tf.SpikingActivationCell(6, activation="relu", dt=0.001, seed=0)
    inputs = keras.Input((None, 6))
    x = layers.RNN(cell, return_sequences=True, name="others")(inputs)
    x = kspike_tf.SpikingActivation("relu", seed=0, name="counted")(x)
    model = keras.Model(inputs, layers.GlobalAveragePooling1D()(kspike_tf.Lowpass(0.01)(x)))
    with pytest.warns(UserWarning, match="others: neurons other than") as told:
        found = kspike_tf.sweep(model, X, Y, timesteps=5, scale=[1, 2], devices=())
    assert sum("others" in str(each.message) for each in told) == 1
    assert set(found.points[0].rates) == {"counted"}


def test_workers_fit_the_memory(monkeypatch):
    pages = {"SC_PHYS_PAGES": 3 * 2**19, "SC_PAGE_SIZE": 4096}  # 6 GiB
    monkeypatch.setattr(activity.os, "sched_getaffinity", lambda _: range(64), raising=False)
    monkeypatch.setattr(activity.os, "sysconf_names", pages, raising=False)
    monkeypatch.setattr(activity.os, "sysconf", pages.get, raising=False)
    assert activity.usable_workers() == 4
    pages["SC_PHYS_PAGES"] = 2**30
    assert activity.usable_workers() == 64
    pages.clear()
    assert activity.usable_workers() == 8


def test_presentation(capsys):
    found = kspike_tf.sweep(
        model_of(), X, Y, timesteps=[2, 40], scale=[1, 3], devices=["loihi", "cpu"], progress=True
    )
    assert "140/140" in capsys.readouterr().out
    frame = found.to_frame()
    assert list(frame["timesteps"]) == [2, 40, 2, 40]
    assert {"accuracy", "spikes", "latency_s", "energy_loihi_j", "rate_first_hz"} <= set(frame)
    assert str(found).count("\n") == 4
    assert "<td>3</td>" in found._repr_html_()
    assert "accuracy at 4 operating points" in found._repr_html_()
    axes = Figure().add_subplot()
    assert found.plot("loihi", axes) is axes
    assert axes.get_xlabel().startswith("energy per example on loihi (J)")
    assert axes.get_ylabel() == "accuracy"
    assert len(axes.get_lines()) == 3  # two scales and the front
    assert found.plot().figure is not axes.figure


def test_pareto_front():
    point = kspike_tf.sweep(model_of(), X, Y, timesteps=1, devices="cpu").points[0]

    def of(score, joules):
        made = {**vars(point), "score": score, "energy": {"cpu": joules}}
        return type(point)(**made)

    points = of(0.5, 3.0), of(0.9, 5.0), of(0.4, 4.0), of(0.5, 2.0), of(0.9, 6.0), of(0.8, 5.0)
    sweep = kspike_tf.Sweep(points, "accuracy", ("cpu",))
    assert sweep.pareto() == (points[3], points[1])
    with pytest.raises(ValueError, match=r"one of the sweep's: cpu\. Received: device='loihi'"):
        sweep.pareto("loihi")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timesteps": 0}, "timesteps must be a positive integer"),
        ({"timesteps": []}, "timesteps must hold at least one"),
        ({"dt": [0.0]}, "dt must be positive"),
        ({"scale": -1}, "scale must be positive"),
        ({"workers": 0}, "workers must be a positive"),
        ({"devices": ["lohi"]}, "loihi"),
        ({"metric": "f1"}, "metric must be 'accuracy' or a function"),
        ({"x": X[:3]}, "the same number of examples"),
        ({"x": X[:, :, None, None]}, "x must have .* with or without the time axis"),
        ({"y": np.zeros((len(X), 2, 2))}, "accuracy needs one class per example"),
        ({"metric": lambda y, outputs: 0.0, "resume": "points.jsonl"}, "with resume=, metric must"),
        ({"metric": functools.partial(highest, y=0), "resume": "points.jsonl"}, "with def"),
        ({"metric": closure(1), "resume": "points.jsonl"}, "outside of functions"),
    ],
)
def test_wrong_arguments(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        kspike_tf.sweep(**{"model": model_of(), "x": X, "y": Y, "timesteps": 3, **options})
    assert not list(tmp_path.iterdir())


def test_timed_and_static_inputs_together():
    timed, still = (keras.Input((None, 2)) for _ in range(2))
    spikes = kspike_tf.SpikingActivation("relu")(layers.Add()([timed, still]))
    model = keras.Model([timed, still], layers.GlobalAveragePooling1D()(spikes))
    x = [np.zeros((2, 5, 2)), np.zeros((2, 2))]
    with pytest.raises(ValueError, match=r"a time axis for all inputs or for none: repeat the"):
        kspike_tf.sweep(model, x, [0, 1], timesteps=5)


def test_models_that_cannot_be_swept():
    plain = keras.Sequential([keras.Input((None, 6)), layers.Dense(3)])
    with pytest.raises(ValueError, match="must have a SpikingActivation"):
        kspike_tf.sweep(plain, X, Y, timesteps=3)
    last = kspike_tf.SpikingActivation("relu", return_sequences=False)
    with pytest.raises(ValueError, match="must return sequences"):
        kspike_tf.sweep(keras.Sequential([keras.Input((None, 6)), last]), X, Y, timesteps=3)
    one = model_of()
    two = keras.Model(one.inputs, [one.outputs[0], one.outputs[0]])
    with pytest.raises(TypeError, match="a function for models with several outputs"):
        kspike_tf.sweep(two, X, Y, timesteps=3)
    still = keras.Sequential([keras.Input((6,)), layers.Dense(3)])
    with pytest.raises(ValueError, match="inputs with a time axis of unknown length"):
        kspike_tf.sweep(still, X, Y, timesteps=3)
