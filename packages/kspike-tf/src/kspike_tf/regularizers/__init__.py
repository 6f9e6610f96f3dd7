"""Regularizers for the activity of spiking layers.

Firing rates are useful within a range. These regularizers penalise values outside a target range,
while those of Keras penalise every value other than zero.
"""

from kspike_tf.regularizers.ranged import L1, L1L2, L2, Percentile, RangedRegularizer
from kspike_tf.regularizers.rates import MeanRates

__all__ = ["L1", "L1L2", "L2", "MeanRates", "Percentile", "RangedRegularizer"]
