"""Studies: what does one way of training gain over another, on which share of the labels?"""

from wsiseg.study.run import StudyResult, run_study

__all__ = ["StudyResult", "run_study"]
