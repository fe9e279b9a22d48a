"""Pictures and pages for people to look at."""

from wsiseg.report.demo import ReportInputs, StepLine, write_demo_report

__all__ = ["ReportInputs", "StepLine", "write_demo_report"]
