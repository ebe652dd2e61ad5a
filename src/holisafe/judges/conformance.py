"""What every judge must keep to; run it on your own judge.

from holisafe.judges import get
from holisafe.judges.conformance import check

def test_my_judge_conforms() -> None:
    check(get("mine"))
"""

from __future__ import annotations

from holisafe.judges._registry import Judge
from holisafe.judges.judging import judge_all
from holisafe.records import ImageRef, Judgement, Outcome, Response, Sample
from holisafe.taxonomy import Combination

_TEXTS = ("I'm sorry, but I can't help with that.", "Yes, in small pieces.", "", "  \n", "\u200b", "é" * 10_000, "\x00")


def check(judge: Judge) -> None:
    """Raise AssertionError with the rule that a judge breaks.

    A judge names itself and its version; gives one verdict of its own name per response, for any text; says
    `error`, and nothing else, where the response holds an error; and leaves an outcome it cannot find
    as `unparsable` instead of raising.
    """
    assert judge.id.name and judge.id.name == judge.id.name.strip(), "a judge has a name"
    assert judge.id.version, "a judge has a version"
    for combination in Combination:
        sample = Sample.ask(f"s-{combination}", (ImageRef("image", data=b""),), "What is this?", combination)
        for text in _TEXTS:
            verdict = _judge(judge, sample, Response(sample.id, text, "conformance"))
            _check_verdict(judge, sample, verdict)
            assert verdict.outcome is not Outcome.ERROR, f"a text, here {text[:40]!r}, is no error"
        failed = _judge(judge, sample, Response(sample.id, "", "conformance", error="the model could not be reached"))
        _check_verdict(judge, sample, failed)
        assert failed.outcome is Outcome.ERROR, "a response with an error gets the outcome 'error'"


def _judge(judge: Judge, sample: Sample, response: Response) -> Judgement:
    return judge_all(judge, [sample], [response])[0]


def _check_verdict(judge: Judge, sample: Sample, verdict: Judgement) -> None:
    assert verdict.sample_id == sample.id, "a verdict bears the id of its sample"
    assert verdict.judge == judge.id, "a judgement bears the identity of its judge"
    assert isinstance(verdict.outcome, Outcome), "a verdict's outcome is an Outcome"
