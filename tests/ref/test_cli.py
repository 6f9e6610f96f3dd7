"""Tests of the command line in this process: results, file formats, failures."""

import json
import re
import shutil
import sys
import warnings
import xml.etree.ElementTree as ET

import command_files
import numpy as np
import pytest
from archives import SPIKING, applied, archive, functional, input_layer, layer, sequential, tensor
from PIL import Image

import kspike_ref
from kspike_ref import plot
from kspike_ref.cli import app, benching, inputs, output

MODELS = command_files.GOLDEN / "models"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli")
    command_files.write(path)
    for name in ("convolutional", "recurrent", "spiking"):
        shutil.copy(MODELS / f"{name}.keras", path)
    return path


@pytest.fixture
def kspike(folder, capsys, monkeypatch):
    """Return a function that runs a command in the data folder and returns its output or error."""

    def run(*arguments, status=0):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["kspike", *map(str, arguments)])
        monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # run() sets it
        with pytest.raises(SystemExit) as ended:
            app.run()
        out, err = capsys.readouterr()
        assert ended.value.code == status, err
        assert status == 0 or not out
        return out if status == 0 else err

    return run


def predicted(folder):
    model = kspike_ref.load_model(folder / "digits.keras")
    return model.predict(np.load(folder / "x.npy"), timesteps=20)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("x.npy", ()),
        ("x.csv", ()),
        ("digits.npz:x_test", ()),
        ("x.npy", ("--threads", 1, "--batch-size", 50)),
        ("x.npy", ("--divide-by", 1)),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv"])
def test_run_writes_what_predict_returns(kspike, folder, name, options, suffix):
    kspike("run", "digits.keras", name, "-t", 20, "-o", f"scores{suffix}", *options)
    if suffix == ".csv":
        found = np.loadtxt(folder / "scores.csv", np.float32, delimiter=",")
    else:
        found = np.load(folder / f"scores{suffix}")
        found = found if suffix == ".npy" else found["scores"]
    np.testing.assert_array_equal(found, predicted(folder))
    assert not list(folder.glob(".scores*")), "a temporary file was left"


def test_run_tells_shapes_and_accuracy(kspike, folder):
    lines = kspike("run", "digits.keras", "x.npy", "-t", 20, "--labels", "y.npy").splitlines()
    accuracy = np.mean(predicted(folder).argmax(axis=1) == np.load(folder / "y.npy"))
    assert accuracy > 0.8
    assert lines == [
        "model          digits",
        "examples       297",
        "time steps     20",
        "output scores  (297, 10) float32",
        f"accuracy       {accuracy:.4g}",
    ]


@pytest.mark.parametrize("labels", ["y.npy", "y.csv", "digits.npz:y_test", "one_hot.npy"])
def test_labels_of_every_kind_give_the_same_accuracy(kspike, folder, labels):
    y = np.load(folder / "y.npy")
    np.save(folder / "one_hot.npy", np.eye(10)[y])
    out = kspike("run", "digits.keras", "x.npy", "-t", 20, "--labels", labels, "--json")
    right = predicted(folder).argmax(axis=1) == y
    assert json.loads(out)["accuracy"] == pytest.approx(np.mean(right))


def test_run_shows_classes_if_they_go_nowhere_else(kspike, folder):
    lines = kspike("run", "digits.keras", "x.npy", "-t", 20).splitlines()
    scores = predicted(folder)
    table = [line.split() for line in lines[lines.index("") + 1 :][:21]]
    assert table[0] == ["example", "class", "score"]
    for i, (example, one, score) in enumerate(table[1:]):
        assert (int(example), int(one)) == (i, scores[i].argmax())
        assert float(score) == pytest.approx(scores[i].max(), rel=1e-3)
    assert lines[-1] == "and 277 more: write all with -o, or use --json"
    result = json.loads(kspike("run", "digits.keras", "x.npy", "-t", 20, "--json"))
    assert result["classes"] == scores.argmax(axis=1).tolist()
    assert result["outputs"] == {"scores": {"shape": [297, 10], "dtype": "float32"}}


def test_images_become_a_batch(kspike, folder):
    names = ("digit.png", "other.png")
    options = ("-t", 20, "--divide-by", 2.55, "-o", "images.npy")
    kspike("run", "digits.keras", *names, *options)
    pixels = np.stack([np.asarray(Image.open(folder / name)).ravel() for name in names])
    model = kspike_ref.load_model(folder / "digits.keras")
    wanted = model.predict(pixels / np.float32(2.55), timesteps=20)
    np.testing.assert_array_equal(np.load(folder / "images.npy"), wanted)


def test_colour_images_have_as_many_channels_as_the_model_takes(kspike, folder):
    pixels = np.random.default_rng(0).integers(0, 255, (6, 6, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "colour.png")
    message = kspike("run", "convolutional.keras", "colour.png", status=1)
    assert "the model takes 2 channels, and images have 1, 3 or 4" in message
    archive(folder / "film.keras", sequential(input_layer(2, 6, 6, 3), layer("ReLU", "relu")), {})
    message = kspike("run", "film.keras", "colour.png", status=1)
    assert "colour.png: the model takes examples of shape (2, 6, 6, 3), not images" in message
    image = Image.open(folder / "colour.png")
    for shape, mode in (((6, 6), "L"), ((6, 6, 1), "L"), ((6, 6, 3), "RGB"), ((6, 6, 4), "RGBA")):
        config = sequential(input_layer(*shape), layer("ReLU", "relu"))
        archive(folder / "pixels.keras", config, {"layers/re_lu": []})
        kspike("run", "pixels.keras", "colour.png", "-o", "pixels.npy")
        wanted = np.asarray(image.convert(mode)).reshape(1, *shape)
        np.testing.assert_array_equal(np.load(folder / "pixels.npy"), wanted)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((8, 8), 30000, np.uint16), "more than 8 bits a pixel (mode I;16)"),
        (np.full((8, 8), 300, np.int32), "more than 8 bits a pixel (mode I)"),
        (np.full((8, 8), 0.5, np.float32), "more than 8 bits a pixel (mode F)"),
        (np.full((8, 8, 4), 254, np.uint8), "transparent pixels"),
    ],
)  # fmt: skip
def test_images_that_would_lose_values_are_refused(kspike, folder, pixels, message):
    Image.fromarray(pixels).save(folder / "deep.tiff")
    told = kspike("run", "digits.keras", "deep.tiff", "-t", 2, status=1)
    assert told.startswith("kspike: deep.tiff: cannot be read: ")
    assert message in told


def test_images_of_several_frames_are_refused(kspike, folder):
    frame = Image.new("L", (8, 8))
    frame.save(folder / "film.gif", save_all=True, append_images=[Image.new("L", (8, 8), 9)])
    told = kspike("run", "digits.keras", "film.gif", "-t", 2, status=1)
    assert "film.gif: cannot be read: it holds 2 frames" in told


def test_opaque_alpha_changes_nothing(kspike, folder):
    image = Image.open(folder / "digit.png")
    opaque = image.convert("RGBA")
    opaque.save(folder / "opaque.png")
    for name in ("digit", "opaque"):
        kspike("run", "digits.keras", f"{name}.png", "-t", 20, "-o", f"{name}.npy")
    same = np.load(folder / "digit.npy"), np.load(folder / "opaque.npy")
    np.testing.assert_array_equal(*same)


def test_several_outputs_go_to_one_archive(kspike, folder):
    x = np.random.default_rng(0).random((3, 6, 6, 2), np.float32)
    np.save(folder / "pictures.npy", x)
    kspike("run", "convolutional.keras", "pictures.npy", "-o", "both.npz")
    model = kspike_ref.load_model(folder / "convolutional.keras")
    with np.load(folder / "both.npz") as found:
        assert found.files == list(model.outputs)
        for name, wanted in zip(found.files, model.predict(x), strict=True):
            np.testing.assert_array_equal(found[name], wanted)


def test_formats_that_cannot_hold_the_outputs_are_refused_before_the_run(kspike, folder):
    config = sequential(input_layer(6, 6, 2), layer("ReLU", "relu"))
    archive(folder / "images.keras", config, {"layers/re_lu": []})
    message = kspike("run", "convolutional.keras", "none.npy", "-o", "both.npy", status=1)
    assert "both.npy: 2 arrays need a .npz file" in message
    message = kspike("run", "images.keras", "none.npy", "-o", "deep.csv", status=1)
    assert "deep.csv: an array of 4 axes needs a .npy or .npz file" in message


@pytest.mark.parametrize("name", ["../up", "/root", "a/../../b", "..\\up", "C:/root"])
def test_names_of_layers_cannot_lead_out_of_an_archive(kspike, folder, name):
    config = sequential(input_layer(2), layer("ReLU", name))
    archive(folder / "hostile.keras", config, {"layers/re_lu": []})
    np.save(folder / "two.npy", np.ones((1, 2), np.float32))
    for command in ("run", "activity"):
        told = kspike(command, "hostile.keras", "two.npy", "-o", "out.npz", status=1)
        assert f"must stay inside its folder. Received: {name!r}" in told
        assert not (folder / "out.npz").exists()


def test_names_in_files_cannot_write_to_the_terminal_in_messages(kspike, folder):
    np.savez(folder / "hostile.npz", **{"a\x1b[2J": np.ones(2), "b\rkspike: fine": np.ones(2)})
    for name in ("hostile.npz", "hostile.npz:x"):
        told = kspike("run", "digits.keras", name, status=1)
        assert told.rstrip("\n").isprintable()
        assert r"a\x1b[2J, b\rkspike: fine" in told


def test_dt_replaces_that_of_the_model(kspike, folder):
    kspike("run", "digits.keras", "x.npy", "-t", 20, "--dt", 0.01, "-o", "coarse.npy")
    model = kspike_ref.load_model(folder / "digits.keras", dt=0.01)
    wanted = model.predict(np.load(folder / "x.npy"), timesteps=20)
    np.testing.assert_array_equal(np.load(folder / "coarse.npy"), wanted)
    assert (wanted != predicted(folder)).any()


def test_rate_scale_multiplies_firing_rates(kspike, folder):
    options = ("digits.keras", "x.npy", "-t", 20, "--rate-scale", 3)
    kspike("run", *options, "-o", "scaled.npy")
    model = kspike_ref.load_model(folder / "digits.keras", rate_scale=3)
    wanted = model.predict(np.load(folder / "x.npy"), timesteps=20)
    np.testing.assert_array_equal(np.load(folder / "scaled.npy"), wanted)
    assert (wanted != predicted(folder)).any()
    usual, scaled = (
        json.loads(kspike("activity", *arguments, "-l", "spikes", "--json"))["layers"][0]
        for arguments in (options[:4], options)
    )
    assert scaled["nonzero"] > 2 * usual["nonzero"]
    told = kspike("run", *options[:-1], 0, status=1)
    assert "rate_scale must be a positive number" in told


def test_a_time_step_in_milliseconds_gives_a_warning(kspike):
    with pytest.warns(UserWarning, match=r"Received: dt=5; for 5 ms pass dt=0.005"):
        kspike("run", "digits.keras", "x.npy", "-t", 20, "--dt", 5)


def test_run_warns_of_nan_and_gives_it_no_class(kspike, folder):
    x = np.load(folder / "x.npy")[:3].copy()
    x[1] = np.nan
    np.save(folder / "nan.npy", x)
    with pytest.warns(UserWarning, match="output scores is NaN for 1 of 3 examples"):
        result = json.loads(kspike("run", "digits.keras", "nan.npy", "-t", 20, "--json"))
    right = predicted(folder)[:3].argmax(axis=1)
    assert result["classes"] == [right[0], None, right[2]]
    with pytest.warns(UserWarning, match="is NaN"):
        lines = kspike("run", "digits.keras", "nan.npy", "-t", 20).splitlines()
    assert lines[-2].split() == ["1", "-", "-"]


FAILURES = {
    "model": (("run", "none.keras", "x.npy"), "no model file at 'none.keras'"),
    "damaged model": (("info", "x.npy"), "x.npy: not a .keras file"),
    "missing file": (("run", "digits.keras", "no.npy"), "no.npy: No such file or directory"),
    "missing archive": (("run", "digits.keras", "no.npz"), "no.npz: No such file or directory"),
    "missing table": (("run", "digits.keras", "no.csv"), "no.csv: No such file or directory"),
    "missing image": (("run", "digits.keras", "no.png"), "no.png: No such file or directory"),
    "damaged array": (("run", "digits.keras", "bad.npy"), "bad.npy: cannot be read: it is not a"),
    "cut array": (("run", "digits.keras", "cut.npy"), "cut.npy: cannot be read: "),
    "objects": (("run", "digits.keras", "objects.npy"), "objects.npy: cannot be read: "),
    "damaged archive": (("run", "digits.keras", "bad.npz"), "bad.npz: cannot be read: "),
    "damaged block": (("run", "digits.keras", "inflate.npz"), "inflate.npz: cannot be read: "),
    "encrypted": (("run", "digits.keras", "secret.npz"), "secret.npz: cannot be read: "),
    "damaged table": (
        ("run", "digits.keras", "bad.csv"),
        "bad.csv: cannot be read: line 2, column 2 must be a number. Received: 'x'",
    ),
    "empty table": (
        ("run", "digits.keras", "empty.csv"), "empty.csv: cannot be read: it holds no numbers",
    ),
    "names alone": (
        ("run", "digits.keras", "names.csv"), "names.csv: cannot be read: it holds no numbers",
    ),
    "two lines of names": (
        ("run", "digits.keras", "two.csv"), "line 2, column 1 must be a number. Received: 'Hz'",
    ),
    "ragged table": (
        ("run", "digits.keras", "ragged.csv"),
        "ragged.csv: cannot be read: line 4 must have 2 columns, as before. Received: 3",
    ),
    "hole in a table": (
        ("run", "digits.keras", "hole.csv"),
        "hole.csv: cannot be read: line 1, column 2 must be a number. Received: nothing"
        "; a line of names must hold no numbers",
    ),
    "number that loadtxt does not know": (
        ("run", "digits.keras", "underscore.csv"),
        "underscore.csv: cannot be read: line 2, column 1 must be a number. Received: '1_0'",
    ),
    "other bytes behind a fault": (
        ("run", "digits.keras", "later.csv"),
        "later.csv: cannot be read: line 2, column 1 must be a number. Received: '1_0'",
    ),
    "blank line in a table": (
        ("run", "digits.keras", "blank.csv"),
        "blank.csv: cannot be read: line 2, column 1 must be a number. Received: nothing",
    ),
    "table with semicolons": (
        ("run", "digits.keras", "semicolons.csv"),
        "Received: '3;4'; columns are separated by commas",
    ),
    "table of bytes": (("run", "digits.keras", "bytes.csv"), "it is not text in UTF-8"),
    "damaged image": (
        ("run", "digits.keras", "bad.png", "-t", 2),
        "bad.png: cannot be read: Pillow does not recognise it as an image",
    ),
    "several arrays": (
        ("run", "digits.keras", "digits.npz"),
        "holds x_test, y_test: name one of them, as digits.npz:x_test",
    ),
    "unknown array": (
        ("run", "digits.keras", "digits.npz:x"),
        "digits.npz: cannot be read: no array 'x'; it holds x_test, y_test",
    ),
    "other kind": (("run", "digits.keras", "digits.keras"), "digits.keras: not an array"),
    "number of files": (("run", "digits.keras", "x.npy", "y.npy"), "takes 1 file, one per input"),
    "shape": (("run", "digits.keras", "x.npy"), "(pass --timesteps N for inputs"),
    "width of a table": (("run", "digits.keras", "y.csv", "-t", 2), "every line must hold"),
    "folder of the output": (("run", "digits.keras", "x.npy", "-o", "no/y.npy"), "no: no such"),
    "kind of the output": (("run", "digits.keras", "x.npy", "-o", "y.txt"), "must end with .npy"),
    "labels": (
        ("run", "digits.keras", "digit.png", "-t", 2, "--labels", "y.npy"),
        "labels must have one entry per example (1)",
    ),
    "layer": (("activity", "digits.keras", "x.npy", "-t", 2, "-l", "spike"), "spikes"),
    "example": (
        ("plot", "raster", "digits.keras", "x.npy", "-t", 2, "--example", 400, "-o", "a.svg"),
        "--example must be below 297, the number of examples. Received: 400",
    ),
    "nothing spikes": (
        ("plot", "rates", "convolutional.keras", "x.npy", "-o", "a.svg"), "no spiking layers",
    ),
    "no spikes to draw": (
        ("plot", "raster", "digits.keras", "x.npy", "-t", 2, "-l", "hidden", "-o", "a.svg"),
        "--layer must be among the spiking layers spikes. Received: hidden",
    ),
    "no voltages to draw": (
        ("plot", "voltage", "digits.keras", "x.npy", "-t", 2, "-l", "filtered", "-o", "a.svg"),
        "--layer must be among the spiking layers spikes. Received: filtered",
    ),
    "no rates to draw": (
        ("plot", "rates", "digits.keras", "x.npy", "-t", 2, "-l", "hidden", "-o", "a.svg"),
        "--layer must be among the spiking layers spikes",
    ),
    "divisor": (("run", "digits.keras", "x.npy", "-t", 2, "--divide-by", 0), "must be finite and"),
    "device": (("energy", "digits.keras", "-d", "loihi3"), "loihi3"),
    "rates of a device": (("energy", "digits.keras", "-d", "loihi"), "with --data FILE"),
}  # fmt: skip


def test_a_figure_without_matplotlib_is_refused_before_the_model_is_read(kspike, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    told = kspike("plot", "raster", "bad.npy", "x.npy", "-o", "a.svg", status=1)
    assert "kspike_ref.plot needs Matplotlib: install kspike-ref[plot]" in told


def damage_archives(folder):
    """Write inflate.npz, with wrong compressed bytes, and secret.npz, with a password."""
    np.savez_compressed(folder / "inflate.npz", x=np.zeros((2, 64)))
    data = bytearray((folder / "inflate.npz").read_bytes())
    start = 30 + int.from_bytes(data[26:28], "little") + int.from_bytes(data[28:30], "little")
    data[start] = 0xFF  # a block type that does not exist
    (folder / "inflate.npz").write_bytes(data)
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (folder / "secret.npz").write_bytes(data)


@pytest.mark.parametrize("case", FAILURES)
def test_failure_is_one_line_and_exits_with_1(kspike, folder, case):
    (folder / "bad.npy").write_bytes(b"hello")
    (folder / "bad.npz").write_bytes(b"PK hello")
    damage_archives(folder)
    (folder / "bad.png").write_bytes(b"hello")
    (folder / "bad.csv").write_text("1,2\n3,x\n")
    (folder / "underscore.csv").write_text("1,2\n1_0,2\n3,4,5\n")
    (folder / "later.csv").write_bytes(b"1,2\n1_0,2\n" + b"1,2\n" * 20_000 + b"\xff,2\n")
    (folder / "blank.csv").write_text("1,2\n  \n3,4\n")
    tables = {
        "empty": "", "names": "a,b\n", "two": "a,b\nHz,Hz\n1,2\n", "ragged": "a,b\n1,2\n\n3,4,5\n",
        "hole": "1,,2\n3,4,5\n", "semicolons": "1;2\n3;4\n",
    }  # fmt: skip
    for name, text in tables.items():
        (folder / f"{name}.csv").write_text(text)
    (folder / "bytes.csv").write_bytes(b"\xff\xfe1,2")
    (folder / "cut.npy").write_bytes((folder / "x.npy").read_bytes()[:-100])
    np.save(folder / "objects.npy", np.array([{}], object), allow_pickle=True)
    arguments, message = FAILURES[case]
    told = kspike(*arguments, status=1)
    assert told.startswith("kspike: ")
    assert message in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",), ("run", "digits.keras"), ("run", "digits.keras", "x.npy", "--batch", "1"),
        ("run", "digits.keras", "x.npy", "-t", "0"), ("dance",), ("plot", "pie", "digits.keras"),
        ("bench", "digits.keras", "--seconds", "none"),
        ("energy", "digits.keras", "--json", "--latex"),
        ("energy", "digits.keras", "--json", "--markdown"),
        ("energy", "digits.keras", "--latex", "--markdown"),
    ],
)  # fmt: skip
def test_wrong_use_exits_with_2(kspike, arguments):
    told = kspike(*arguments, status=2)
    assert "Usage: kspike" in told
    assert "Error: " in told


def test_ctrl_c_exits_with_130(kspike, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(inputs, "open_model", interrupted)
    assert not kspike("info", "digits.keras", status=130)


def test_a_file_that_cannot_be_written_stays_as_it_was(kspike, folder, monkeypatch):
    (folder / "kept.npy").write_bytes(b"before")

    def fail(path, *_, **__):
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", fail)
    told = kspike("run", "digits.keras", "x.npy", "-t", 2, "-o", "kept.npy", status=1)
    assert told == "kspike: kept.npy: cannot be written: No space left on device\n"
    assert (folder / "kept.npy").read_bytes() == b"before"
    assert not list(folder.glob(".kept*"))


def test_activity_tells_rates_and_writes_outputs(kspike, folder):
    arguments = ("activity", "digits.keras", "x.npy", "-t", 20, "-o", "layers.npz")
    result = json.loads(kspike(*arguments, "--json"))
    model = kspike_ref.load_model(folder / "digits.keras")
    wanted = model.activity(np.load(folder / "x.npy"), timesteps=20)
    with np.load(folder / "layers.npz") as found:
        for name, values in wanted.items():
            np.testing.assert_array_equal(found[name], values)
    by_name = {one["layer"]: one for one in result["layers"]}
    assert by_name.keys() == wanted.keys()
    assert by_name["spikes"]["spiking"]
    assert not by_name["filtered"]["spiking"]
    assert by_name["spikes"]["mean"] == pytest.approx(np.mean(wanted["spikes"]))
    row = next(line for line in kspike(*arguments).splitlines() if line.startswith("spikes"))
    assert f"{np.mean(wanted['spikes']):.4g}  Hz" in row


def test_activity_of_one_layer(kspike):
    out = kspike("activity", "digits.keras", "x.npy", "-t", 2, "--layer", "spikes", "--json")
    assert [one["layer"] for one in json.loads(out)["layers"]] == ["spikes"]


def test_info_tells_layers_and_time_steps(kspike, folder):
    result = json.loads(kspike("info", "digits.keras", "--json"))
    assert result["inputs"] == {"pixels": {"shape": [None, None, 64], "dtype": "float32"}}
    assert result["outputs"] == {"scores": [None, 10]}
    assert result["step_by_step"]
    by_name = {layer["name"]: layer for layer in result["layers"]}
    assert by_name["hidden"]["weights"] == {"kernel": [64, 32], "bias": [32]}
    assert (by_name["spikes"]["dt"], by_name["spikes"]["seed"]) == (0.005, 0)
    assert by_name["spikes"]["tau"] is by_name["filtered"]["seed"] is None
    layer = next(one for one in kspike_ref.load_model(folder / "digits.keras").layers
                 if one.name == "filtered")  # fmt: skip
    assert by_name["filtered"]["tau"] == pytest.approx(np.mean(layer.cell.weights["tau"]))
    text = kspike("info", "digits.keras")
    assert "SpikingActivation" in text
    assert "runs step by step  yes" in text
    assert re.search(r"runs step by step +no", kspike("info", "convolutional.keras"))


@pytest.mark.parametrize("kind", ["raster", "rates", "voltage"])
@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_plot_writes_a_figure(kspike, folder, kind, suffix):
    file = f"{kind}{suffix}"
    out = kspike("plot", kind, "digits.keras", "x.npy", "-t", 20, "-o", file, "--json")
    assert json.loads(out) == {"file": file, "layers": ["spikes"]}
    content = (folder / file).read_bytes()
    assert content.startswith({".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF"}[suffix])
    if suffix == ".svg":
        assert ET.fromstring(content).tag.endswith("svg")
        kspike("plot", kind, "digits.keras", "x.npy", "-t", 20, "-o", file)
        assert (folder / file).read_bytes() == content


@pytest.mark.parametrize("kind", ["raster", "voltage"])
def test_the_example_that_is_drawn_runs_alone(kspike, folder, monkeypatch, kind):
    drawn, sizes = [], []
    method = "activity" if kind == "raster" else "record"
    record, original = kspike_ref.Model.record, getattr(kspike_ref.Model, method)

    def watched(model, x, *rest, **named):
        sizes.append(len(x))
        return original(model, x, *rest, **named)

    monkeypatch.setattr(kspike_ref.Model, method, watched)
    monkeypatch.setattr(f"kspike_ref.plot.{kind}", lambda *arrays, **_: drawn.append(arrays))
    options = ("-t", 20, "--example", 3, "-o", "a.svg")
    kspike("plot", kind, "digits.keras", "x.npy", *options)
    assert sizes == [1]
    model = kspike_ref.load_model(folder / "digits.keras")
    all_of_them = record(model, np.load(folder / "x.npy"), timesteps=20)
    np.testing.assert_array_equal(drawn[0][-1], all_of_them.spikes["spikes"][3])
    if kind == "voltage":
        np.testing.assert_array_equal(drawn[0][0], all_of_them.voltages["spikes"][3])


@pytest.mark.parametrize("layers", [(), ("-l", "spikes")])
def test_filtered_output_is_drawn_below_voltages(kspike, folder, monkeypatch, layers):
    drawn = []
    original = plot.voltage
    monkeypatch.setattr(plot, "voltage", lambda *a, **k: drawn.append(original(*a, **k)))
    options = ("-t", 20, "--example", 3, "-u", 4, "-u", 9, "-o", "a.svg", *layers)
    kspike("plot", "voltage", "digits.keras", "x.npy", *options)
    ((_, below),) = drawn
    model = kspike_ref.load_model(folder / "digits.keras")
    recorded = model.record(np.load(folder / "x.npy")[3:4], timesteps=20)
    lines = np.array([line.get_ydata() for line in below.lines])
    np.testing.assert_array_equal(lines, recorded.levels["filtered"][0, :, [4, 9]])
    assert below.get_ylabel() == "filtered (Hz)"
    assert len({axis.get_xlim() for axis in drawn[0]}) == 1


def test_both_uses_of_a_layer_are_drawn(kspike, folder):
    spikes = applied(
        layer("SpikingActivation", "spikes", "kspike_tf", **SPIKING),
        [tensor("input")], [tensor("spikes")],
    )  # fmt: skip
    config = functional(
        [applied(input_layer(None, 3)), spikes], [["input", 0, 0]], [["spikes", 1, 0]]
    )
    archive(folder / "twice.keras", config, {"layers/spiking_activation": []})
    np.save(folder / "three.npy", np.full((2, 9, 3), 50, np.float32))
    for kind in ("raster", "rates", "voltage"):
        arguments = ("plot", kind, "twice.keras", "three.npy", "-o", "a.svg", "--json")
        assert json.loads(kspike(*arguments))["layers"] == ["spikes", "spikes:1"]
        assert json.loads(kspike(*arguments, "-l", "spikes:1"))["layers"] == ["spikes:1"]


def test_energy_prints_what_kspike_energy_computes(kspike, folder):
    from kspike_energy import ModelEnergy

    x = np.broadcast_to(np.load(folder / "x.npy")[:, None], (297, 20, 64))
    model = kspike_ref.load_model(folder / "digits.keras")
    energy = ModelEnergy(model, x)
    arguments = ("energy", "digits.keras", "--data", "x.npy", "-t", 20)
    result = json.loads(kspike(*arguments, "--json"))
    for device in ("cpu", "loihi"):
        assert result["totals"][device]["energy"] == pytest.approx(energy.total_energy(device))
    assert str(energy.compare(timesteps=20)) in kspike(*arguments)
    latex = kspike(*arguments, "--device", "loihi", "--latex")
    assert latex == energy.to_latex(["loihi"], 20) + "\n"
    assert kspike(*arguments, "--device", "cpu", "--markdown").startswith("|")


def test_energy_writes_a_report(kspike, folder):
    out = kspike("energy", "digits.keras", "--html", "report.html", "--json")
    assert set(json.loads(out)["totals"]) == {"cpu", "gpu", "arm"}
    report = (folder / "report.html").read_text()
    assert report.startswith("<!doctype html>")
    assert "spikes" in report


def test_energy_without_data_leaves_spiking_devices_out(kspike):
    out = kspike("energy", "digits.keras")
    assert "loihi" not in out
    assert "Spiking devices need firing rates: measure them with --data FILE." in out


def test_energy_says_what_is_missing(kspike, monkeypatch):
    monkeypatch.setattr("kspike_ref.cli.energies.find_spec", lambda _: None)
    told = kspike("energy", "digits.keras", status=1)
    assert told == "kspike: kspike energy needs kspike-energy: pip install kspike-energy\n"


def test_bench_measures_every_way_to_run(kspike):
    out = kspike("bench", "digits.keras", "--seconds", 0.01, "-b", 8, "--json")
    calls = {one["call"]: one for one in json.loads(out)["measurements"]}
    assert set(calls) == {"predict, 1 example", "predict, 8 examples", "step, 1 example"}
    for one in calls.values():
        assert one["calls"] >= 5
        assert 0 < one["median_ms"] <= one["p90_ms"]
    text = kspike("bench", "digits.keras", "--seconds", 0.01, "-t", 7)
    assert re.search("time steps +7", text)
    for name in ("convolutional", "recurrent"):
        assert "step" not in kspike("bench", f"{name}.keras", "--seconds", 0.01)


def test_random_inputs_have_the_shapes_of_the_model(folder):
    model = kspike_ref.load_model(folder / "digits.keras")
    assert benching.random_inputs(model, 3, 7).shape == (3, 7, 64)
    x = benching.random_inputs(kspike_ref.load_model(folder / "recurrent.keras"), 2, 7)
    assert (x.shape, x.dtype.kind) == ((2, 5), "i")


def test_warm_up_compiles_what_a_model_needs(kspike):
    result = json.loads(kspike("warm-up", "digits.keras", "--json"))
    assert result["models"] == 1
    assert result["kernels"] > 0


def test_doctor_tells_versions_and_compiled_kernels(kspike):
    kspike("warm-up", "digits.keras")
    result = json.loads(kspike("doctor", "--json"))
    assert result["versions"]["numpy"] == np.__version__
    assert "time.spike_loop" in result["kernels"]
    assert "no problems found" in kspike("doctor")


def test_doctor_finds_a_cache_that_cannot_be_written(kspike, monkeypatch):
    monkeypatch.setattr("kspike_ref.kernels.folders.writable_folder", lambda: None)
    assert "see kspike doctor" in kspike("warm-up", status=1)
    kspike("doctor")  # compiled kernels can still be read
    monkeypatch.setattr("kspike_ref.kernels.folders.readable_folders", list)
    monkeypatch.setattr(sys, "argv", ["kspike", "doctor"])
    with pytest.raises(SystemExit) as ended:
        app.run()
    assert ended.value.code == 1


def test_names_in_files_cannot_write_to_the_terminal():
    table = output.Table(("layer [s]",), [("[red]x\x1b[2J",)])
    assert output.shown("a\x1b[2Jb") == r"a\x1b[2Jb"
    assert "\x1b" not in output._drawn(table)
    assert "layer [s]" in output._drawn(table)
    assert "[red]x" in output._drawn(table)


def test_json_has_no_numbers_that_json_lacks(capsys):
    output.show({"a": [float("nan"), 1.5], "b": (float("inf"),)}, True)
    assert json.loads(capsys.readouterr().out) == {"a": [None, 1.5], "b": [None]}
