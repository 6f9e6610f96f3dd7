"""Regularizers for the activity of spiking layers.

Firing rates have a range in which they are useful: these regularizers penalise values outside
a target range, where those of Keras penalise every value other than zero.
"""

from kspike_tf.regularizers.ranged import L1, L1L2, L2, Percentile, RangedRegularizer
from kspike_tf.regularizers.rates import MeanRates

__all__ = ["L1", "L1L2", "L2", "MeanRates", "Percentile", "RangedRegularizer"]
