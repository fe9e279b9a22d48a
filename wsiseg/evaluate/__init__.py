"""Evaluation of predictions against annotations: pixels, objects, outlines, and where it goes wrong."""

from wsiseg.evaluate.evaluation import Evaluation, SlideEvaluation, evaluate
from wsiseg.evaluate.inputs import Case
from wsiseg.evaluate.places import ERROR_COLORS, WorstPlace, error_map, save_error_map
from wsiseg.evaluate.results import to_json

__all__ = [
    "ERROR_COLORS",
    "Case",
    "Evaluation",
    "SlideEvaluation",
    "WorstPlace",
    "error_map",
    "evaluate",
    "save_error_map",
    "to_json",
]
