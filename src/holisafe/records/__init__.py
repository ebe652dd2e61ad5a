"""The records that flow through the house: Sample, Response, Judgement; and a Run that holds all three.

Small, frozen, almost without behaviour. Every room reads and writes these and nothing else; `holisafe.records.as_json`
writes them as JSON values.
"""

from holisafe.records._answer_verdict import CHECK_EVERY, AnswerCheck, AnswerVerdict
from holisafe.records._guard_reading import GuardModelRun, GuardModelVerdict, GuardReading
from holisafe.records._judge_id import JudgeId
from holisafe.records._run import MAX_UNJUDGED, NOT_SCORED, RUN_FOLDER, AnswerCost, Judgement, Outcome, Response, Run
from holisafe.records._sample import CATEGORY_TAG, SUBCATEGORY_TAG, Behaviour, ImageRef, Role, Sample, Turn
from holisafe.records._verdict import GuardVerdict, ImageVerdict, RequestVerdict

__all__ = [
    "CATEGORY_TAG",
    "CHECK_EVERY",
    "MAX_UNJUDGED",
    "NOT_SCORED",
    "RUN_FOLDER",
    "SUBCATEGORY_TAG",
    "AnswerCheck",
    "AnswerCost",
    "AnswerVerdict",
    "Behaviour",
    "GuardModelRun",
    "GuardModelVerdict",
    "GuardReading",
    "GuardVerdict",
    "ImageRef",
    "ImageVerdict",
    "JudgeId",
    "Judgement",
    "Outcome",
    "RequestVerdict",
    "Response",
    "Role",
    "Run",
    "Sample",
    "Turn",
]
