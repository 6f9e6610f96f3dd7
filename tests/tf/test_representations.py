"""Tests of the text and HTML of layers, regularizers and reports: units, escaped names."""

import html.parser

import keras
import numpy as np
import pytest
import tensorflow as tf

import kspike_tf
from kspike_tf import regularizers


class Reader(html.parser.HTMLParser):
    """Parser that collects the text of a page, and checks that every element is closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.texts = [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_spiking_layers_tell_activation_step_and_seed():
    layer = kspike_tf.SpikingActivation("relu", dt=0.005, seed=3, name="spikes")
    start = "<SpikingActivation name=spikes, activation=relu, dt=5 ms, seed=3, built="
    assert repr(layer) == f"{start}False>"
    layer.build((None, None, 2))
    assert repr(layer) == f"{start}True>"
    assert repr(layer.layer.cell).startswith("<SpikingActivationCell name=cell, activation=relu")
    texts = Reader(layer._repr_html_()).texts
    assert texts[0] == "SpikingActivation 'spikes'"
    assert texts[texts.index("dt") + 1] == "5 ms"
    own = kspike_tf.SpikingActivation(keras.layers.LeakyReLU(), name="leaky")
    assert "activation=LeakyReLU, dt=1 ms, built=False" in repr(own)


def test_filters_tell_the_time_constants_that_they_have_now():
    layer = kspike_tf.Alpha([0.01, 0.05], dt=tf.Variable(0.002), name="smooth")
    assert repr(layer) == "<Alpha name=smooth, dt=2 ms, built=False>"
    layer.build((None, None, 2))
    assert repr(layer) == "<Alpha name=smooth, tau=10 ms to 50 ms, dt=2 ms, built=True>"
    layer.layer.cell.tau.assign([[0.02, 0.02]])
    assert repr(layer) == "<Alpha name=smooth, tau=20 ms, dt=2 ms, built=True>"
    texts = Reader(layer._repr_html_()).texts
    assert texts[texts.index("weights tau") + 1] == "(1, 2)"


def test_representations_within_a_graph():
    layer = kspike_tf.Lowpass(0.01, dt=tf.Variable(0.002), name="filtered")
    seen = []

    @tf.function
    def run(x):
        y = layer(x)
        seen.append(repr(layer))
        return y

    run(tf.zeros([1, 3, 2]))
    assert seen[0].startswith("<Lowpass name=filtered")


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (regularizers.L2(0.5, target=(0, 2)), "L2(l2=0.5, target=(0, 2))"),
        (regularizers.L1(), "L1(target=0)"),
        (
            regularizers.MeanRates(target=(5, 20), l2=1e-3),
            "MeanRates(target=(5, 20), l2=0.001)",
        ),
        (
            regularizers.Percentile(90, axis=(0, 1), target=5, l1=0.1),
            "Percentile(percentile=90, axis=(0, 1), target=5, l1=0.1)",
        ),
        (
            regularizers.RangedRegularizer((5, 10), keras.regularizers.L1(0.5)),
            "RangedRegularizer(target=(5, 10), regularizer=L1(l1=0.5))",
        ),
    ],
)
def test_regularizers_are_shown_as_they_are_made(made, text):
    assert repr(made) == text
    texts = Reader(made._repr_html_()).texts
    assert texts[0].startswith(f"{type(made).__name__}: ")
    assert f"target={texts[texts.index('target') + 1]}" in text
    if "regularizer" not in text:
        again = eval(text, vars(regularizers))
        assert again.get_config() == made.get_config()


@pytest.fixture(scope="module")
def conversion():
    name = "a>b"  # TensorFlow allows no "<"
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(8, activation="relu", name=name),
            keras.layers.Dense(3, name="last"),
        ]
    )
    data = np.random.default_rng(0).uniform(0, 1, (32, 4)).astype("float32")
    return kspike_tf.convert(model, calibration_data=data, dt=0.005), data


def test_conversions_are_one_line_and_a_table(conversion):
    made, _ = conversion
    report = made.report
    assert repr(report).startswith("<ConversionReport of 1 spiking layer: after ")
    assert f"outputs off by {report.output_error:.1%}" in repr(report)
    assert repr(made) == f"<Conversion model={made.model.name!r}, report={report!r}>"
    page = Reader(made._repr_html_())
    assert "a>b" in page.texts
    assert "a&gt;b" in made._repr_html_()
    assert any(text.startswith("the error grows most in") for text in page.texts)
    assert f"{report.layers[0].mean_rate:.1f} Hz" in page.texts


def test_rate_reports_are_one_line_and_a_table(conversion):
    made, data = conversion
    report = kspike_tf.rate_report(made.model, data, timesteps=20)
    rate = report.layers[0].mean_rate
    name = report.layers[0].name
    assert repr(report) == f"<RateReport of 32 examples, 20 steps: {name} {rate:.3g} Hz>"
    page = Reader(report._repr_html_())
    assert report.layers[0].verdict in page.texts
    assert f"{rate:.1f} Hz" in page.texts
