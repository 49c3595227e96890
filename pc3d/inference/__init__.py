"""Labelling points with a trained network: any cloud, of any size."""

from pc3d.inference.loading import find_weights, load, shipped_weights
from pc3d.inference.predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor", "find_weights", "load", "shipped_weights"]
