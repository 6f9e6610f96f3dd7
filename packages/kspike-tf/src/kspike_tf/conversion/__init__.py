"""Conversion of ordinary Keras models into spiking ones."""

from kspike_tf.conversion.convert import Conversion, convert
from kspike_tf.conversion.report import ConversionReport, LayerReport

__all__ = ["Conversion", "ConversionReport", "LayerReport", "convert"]
