"""Data to learn from, out of a user's own pictures: labels, requests, answers, checks, splits and twins, step by step.

`build` does all steps and resumes, `plan_build` says what it would ask; `holisafe.building.review` gives the result to
people and reads what they say. Each step is a file of rows in `steps/`; what goes wrong is a row with the reason.
"""

from __future__ import annotations

from holisafe.building._asking import Writer
from holisafe.building._build import BuildSettings, Built, build
from holisafe.building._edits import Editor
from holisafe.building._plan import plan_build
from holisafe.building._steps import Row, Status, StepCounts
from holisafe.building.review import Review, export_review, import_review

__all__ = [
    "BuildSettings",
    "Built",
    "Editor",
    "Review",
    "Row",
    "Status",
    "StepCounts",
    "Writer",
    "build",
    "export_review",
    "import_review",
    "plan_build",
]
