"""Prediction: tiles to class probabilities, to a whole-slide mask, to polygons and files."""
