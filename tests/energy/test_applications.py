"""Tests of `keras.applications` models against published counts of multiply-adds.

Published counts cover convolutions and dense layers, padded positions included. The sources:

- ResNet-50: 3.8·10⁹, He et al., "Deep residual learning for image recognition", CVPR 2016, table 1
  and section 4.1 (arXiv 1512.03385; FLOPs there are multiply-adds). The variant with strides in the
  3 × 3 convolutions, which other libraries build, has 4.1·10⁹.
- MobileNetV2: 300 M, Sandler et al., CVPR 2018, table 4; also the docstring of
  ``keras.applications.mobilenet_v2``
- MobileNetV3: 56 M and 219 M, Howard et al., "Searching for MobileNetV3", ICCV 2019, table 3 (arXiv
  1905.02244v5). Keras' documentation has the 66 M of an earlier version of the small model, which
    had 2.9 M weights; the model that Keras builds has the 2.5 M of the published one.
- EfficientNet-B0: 0.39 B, Tan and Le, "EfficientNet", ICML 2019, table 2 (arXiv 1905.11946)
- ConvNeXt-T: 4.5 G, Liu et al., "A ConvNet for the 2020s", CVPR 2022, table 1 (arXiv 2201.03545);
  also the table in the README of the authors' code

They are rounded, so a count may differ by 2.5 %.
"""

import time
import warnings

import keras
import pytest

from kspike_energy import ModelEnergy

PUBLISHED = [
    ("MobileNetV2", 300e6),
    ("MobileNetV3Small", 56e6),
    ("MobileNetV3Large", 219e6),
    ("ResNet50", 3.8e9),
    ("EfficientNetB0", 0.39e9),
    ("ConvNeXtTiny", 4.5e9),
]
COUNTED = ("Conv2D", "DepthwiseConv2D", "Dense")


@pytest.mark.parametrize(("name", "published"), PUBLISHED)
def test_full_report_with_the_published_count(name, published):
    model = getattr(keras.applications, name)(weights=None)
    before = [len(layer._inbound_nodes) for layer in model.layers]
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # turns the warning about an unknown layer into an error
        energy = ModelEnergy(model, padding="counted", input_shape=(None, 224, 224, 3))
        report = energy.summary_string()
    assert time.process_time() - start < 10  # processor time: other processes may use the machine
    assert not energy.network.gaps
    assert "?" not in report
    layers = energy.network.layers
    counted = sum(layer.connections for layer in layers if layer.type_name in COUNTED)
    assert counted == pytest.approx(published, rel=0.025)
    # The publications leave out little: pooling, merges, normalisations that are not folded.
    assert energy.network.connections == pytest.approx(published, rel=0.03)
    assert sum(layer.params for layer in layers) == model.count_params()
    assert [len(layer._inbound_nodes) for layer in model.layers] == before


def test_padding_alone_makes_the_difference():
    model = keras.applications.MobileNetV2(weights=None)
    counted = ModelEnergy(model, padding="counted").network.connections
    real = ModelEnergy(model).network.connections
    assert 0.99 < real / counted < 1


def test_shapes_that_a_model_leaves_open(rng):
    model = keras.applications.MobileNetV3Small(weights=None)  # (None, None, None, 3)
    with pytest.warns(UserWarning, match=r"undefined shape .*input_shape= or example_data"):
        open_ended = ModelEnergy(model)
    assert open_ended.network.gaps
    images = rng.random((1, 96, 96, 3), dtype="float32")
    by_data = ModelEnergy(model, images).network
    by_shape = ModelEnergy(model, input_shape=(None, 96, 96, 3)).network
    assert not by_data.gaps
    assert by_data.connections == by_shape.connections
