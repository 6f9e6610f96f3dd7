"""Tests of text and HTML summaries: shapes, weights, dynamics with units, escaped names."""

import html.parser

import numpy as np
import pytest
from archives import applied, dense, functional, input_layer, layer, sequential, tensor
from unsaved import unsaved

from kspike_ref.tables import seconds


@pytest.fixture
def model():
    return unsaved(
        sequential(
            input_layer(None, 4),
            dense("hidden", 6),
            layer("SpikingActivation", "spikes", "kspike_tf", activation="relu", dt=0.005, seed=3),
            layer("Lowpass", "filtered", "kspike_tf", dt=0.005, return_sequences=False),
            dense("last", 3),
            name="small",
        )
    )


def test_summary_prints_a_table(model, capsys):
    assert model.summary() is None
    printed = capsys.readouterr().out
    assert printed == f"{model}\n"
    lines = printed.splitlines()
    assert lines[0] == 'Model: "small"'
    assert len({len(line) for line in lines[1:-1]}) == 1  # the border is straight
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines[4:-2]]
    assert rows[2] == ["spikes (SpikingActivation)", "(?, ?, 6)", "0", "relu, dt = 5 ms, seed 3"]
    assert rows[4] == ["last (Dense)", "(?, 3)", "21", ""]
    counts = [int(row[2]) for row in rows]
    assert sum(counts) == 4 * 6 + 6 + 2 * 6 + 6 * 3 + 3
    assert lines[-1] == f"{sum(counts)} weights, {4 * sum(counts)} B"
    taken = []
    model.summary(print_fn=taken.append)
    assert taken == [str(model)]


def test_time_constants_are_those_of_the_weights(model):
    lowpass = model.layers[3]
    low, high = lowpass.weights["layer/cell/tau"].min(), lowpass.weights["layer/cell/tau"].max()
    assert f"τ = {seconds(low)} to {seconds(high)}, dt = 5 ms" in str(model)
    assert repr(lowpass) == (
        f"<Lowpass 'filtered', τ = {seconds(low)} to {seconds(high)}, dt = 5 ms, 12 weights>"
    )


def test_weights_of_a_layer_that_is_applied_twice_are_counted_once():
    layers = [
        applied(input_layer(4, name="input"), []),
        applied(dense("twice", 4), [tensor("input")], [tensor("twice")]),
    ]
    model = unsaved(functional(layers, [["input", 0, 0]], [["twice", 1, 0]]))
    assert "twice (Dense), use 2 │ (?, 4)       │       0 │" in str(model)
    assert str(model).endswith("20 weights, 80 B")
    assert "Dynamics" not in str(model)


def test_repr_of_model_and_layers(model):
    assert repr(model) == ("<kspike_ref.Model 'small': 5 layers, 63 weights, (?, ?, 4) → (?, 3)>")
    assert repr(model.layers[2]) == "<SpikingActivation 'spikes', relu, dt = 5 ms, seed 3>"
    assert repr(model.layers[1]) == "<Dense 'hidden', 30 weights>"


class Reader(html.parser.HTMLParser):
    """Parser that collects the text of a page, and checks that every element is closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.texts, self.tags = [], [], set()
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_html_holds_the_same(model):
    texts = Reader(model._repr_html_()).texts
    for text in ('Model: "small"', "Weights", "spikes (SpikingActivation)", "63 weights, 252 B"):
        assert text in texts
    assert "(4, 6)" in Reader(model.layers[1]._repr_html_()).texts
    # A layer without weights has no table of them.
    assert Reader(model.layers[2]._repr_html_()).texts == [
        "SpikingActivation 'spikes'", "relu, dt = 5 ms, seed 3",
    ]  # fmt: skip


def test_names_are_shown_and_never_executed():
    name = "<script>alert(1)</script>\x1b[2J"
    model = unsaved(sequential(input_layer(4), dense(name, 2), name=name))
    for shown in (model, model.layers[1]):
        page = Reader(shown._repr_html_())
        assert "script" not in page.tags
        assert any(r"<script>alert(1)</script>\x1b[2J" in text for text in page.texts)
        assert "\x1b" not in str(shown) + repr(shown) + shown._repr_html_()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *[(2, "2 s"), (0.99999, "1 s"), (0.1, "100 ms"), (np.float32(0.005), "5 ms")],
        *[(2.5e-5, "25 µs"), (1e-8, "10 ns")],
    ],
)
def test_times_have_units(value, text):
    assert seconds(value) == text
