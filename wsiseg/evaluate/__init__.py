"""Evaluation of a prediction against annotations."""
