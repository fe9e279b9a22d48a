"""The demonstration: the whole way on synthetic slides, through the commands that a user types."""

from wsiseg.demo.plan import DemoOptions, Step, plan_steps
from wsiseg.demo.runner import DemoResult, run_demo

__all__ = ["DemoOptions", "DemoResult", "Step", "plan_steps", "run_demo"]
