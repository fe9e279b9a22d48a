"""Annotations in and out: one polygon model, and for each viewer's format a reader, a writer, a check."""

from wsiseg.annotation.asap_writer import write_asap
from wsiseg.annotation.check_asap import check_asap
from wsiseg.annotation.check_dsa import check_dsa
from wsiseg.annotation.check_imagescope import check_imagescope
from wsiseg.annotation.check_qupath import check_qupath
from wsiseg.annotation.classmap import Classified, classify
from wsiseg.annotation.dsa_writer import write_dsa
from wsiseg.annotation.imagescope_writer import write_imagescope
from wsiseg.annotation.model import Annotation, AnnotationFile, ImportReport, Problem
from wsiseg.annotation.painting import in_paint_order
from wsiseg.annotation.qupath_writer import write_qupath
from wsiseg.annotation.reader import find_beside, read_annotations
from wsiseg.annotation.writing import WriteReport

__all__ = [
    "Annotation",
    "AnnotationFile",
    "Classified",
    "ImportReport",
    "Problem",
    "WriteReport",
    "check_asap",
    "check_dsa",
    "check_imagescope",
    "check_qupath",
    "classify",
    "find_beside",
    "in_paint_order",
    "read_annotations",
    "write_asap",
    "write_dsa",
    "write_imagescope",
    "write_qupath",
]
