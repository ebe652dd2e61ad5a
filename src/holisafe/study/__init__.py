"""Studies: many methods on the same models, data and judge, in one table that anyone can make again.

`run_study(read_plan("safety-methods"), {"pocket": "pocket"}, "study")` measures, `write_study` writes the table.
"""

from __future__ import annotations

from holisafe.study._plan import Method, StudyPlan, read_plan, study_names
from holisafe.study._run import Measured, run_study
from holisafe.study._write import naming, thing_of, write_study

__all__ = [
    "Measured",
    "Method",
    "StudyPlan",
    "naming",
    "read_plan",
    "run_study",
    "study_names",
    "thing_of",
    "write_study",
]
