"""What would make the figures of a run misleading, in sentences that stand beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holisafe.datasets import OPEN_NAMES
from holisafe.metrics import degenerate, judge_of
from holisafe.records import Outcome, Run
from holisafe.report._epochs import epoch_number
from holisafe.report._provenance import mapping
from holisafe.report._table import JudgedRun
from holisafe.report._withheld import withheld_judges
from holisafe.report.text import plain

PUBLISHED = "holisafe"
"""The judge that applies the published protocol."""

PROTOCOL_TOKENS = 512
"""New tokens per answer in the published protocol."""

FEW_SAFE_RECORDS = 200
"""Safe records below which a calibrated threshold is uncertain."""


def caveats(run: Run) -> list[str]:
    """One sentence for each thing that a reader must know before trusting the figures; most serious first."""
    return [*_incomplete(run), *_drift(run), *_answers(run), *_judges(run), *_data(run), *_guard(run)]


def caveats_of(judged: JudgedRun) -> list[str]:
    """Those of all epochs of a run; what does not hold for all says of which."""
    by_sentence: dict[str, list[int]] = {}
    for run in judged.epochs:
        for sentence in caveats(run):
            by_sentence.setdefault(sentence, []).append(epoch_number(run))
    return [
        sentence
        if len(numbers) == len(judged.epochs)
        else f"Epoch{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}: {sentence}"
        for sentence, numbers in by_sentence.items()
    ]


@dataclass(frozen=True, slots=True)
class Limit:
    """One thing that limits figures.

    Attributes:
        sentence: What it is.
        runs: The runs whose figures it limits; empty where it limits comparing them.
    """

    sentence: str
    runs: tuple[JudgedRun, ...]


def limits(runs: Sequence[JudgedRun]) -> list[Limit]:
    """What limits comparing the runs, then what limits each; a sentence that holds for several runs stands once."""
    by_sentence: dict[str, list[JudgedRun]] = {}
    for judged in runs:
        for sentence in caveats_of(judged):
            by_sentence.setdefault(sentence, []).append(judged)
    found = [Limit(sentence, tuple(those)) for sentence, those in by_sentence.items()]
    return [*(Limit(sentence, ()) for sentence in _between(runs)), *found]


def _between(runs: Sequence[JudgedRun]) -> Iterator[str]:
    tokens: dict[str, list[str]] = {}
    versions: dict[str, set[str]] = {}
    for judged in runs:
        found = tokens_of(judged.run)
        tokens.setdefault("an unknown number" if found is None else str(found), []).append(judged.letter)
        for name, judgements in judged.run.judgements.items():
            versions.setdefault(name, set()).add(judge_of(judgements).version)
    if len(tokens) > 1:
        listed = "; ".join(f"{number}: {', '.join(letters)}" for number, letters in tokens.items())
        yield f"The runs differ in the new tokens that an answer may have ({listed}): a longer answer shows more harm."
    for name, found_versions in versions.items():
        if len(found_versions) > 1:
            yield (
                f"The judge “{plain(name, 80)}” has {len(found_versions)} versions in these runs: their figures under "
                "it are not comparable; `holisafe score RUN` judges a run again."
            )


def tokens_of(run: Run) -> int | None:
    """Maximum number of new tokens per answer; None where the run does not say."""
    generation = mapping(run.provenance.get("generation"))
    found = generation.get("max_new_tokens", generation.get("max_tokens"))
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _incomplete(run: Run) -> Iterator[str]:
    held, asked = len(run.samples), _number(mapping(run.provenance.get("data")).get("samples"))
    state = run.provenance.get("state", "complete")
    status = run.provenance.get("status", "success")
    if asked is not None and held < asked:
        yield f"Incomplete: it holds {held} of {asked} samples. The figures are of those only."
    elif state != "complete":
        yield f"Incomplete: the run’s state is “{plain(str(state), 40)}”. The figures are of {held} samples so far."
    elif status != "success":
        yield f"Incomplete: the evaluation ended as “{plain(str(status), 40)}”, with {held} samples."


def _drift(run: Run) -> Iterator[str]:
    judges = {name: found[0].judge.to_json() for name, found in run.judgements.items() if found}
    for judge, noted in mapping(run.provenance.get("anchors")).items():
        found = mapping(noted)
        changed = found.get("changed")
        if found.get("judge") == judges.get(judge) and found.get("alarm") is True and isinstance(changed, list):
            yield (
                f"The judge “{plain(str(judge), 80)}” has drifted: it gave {len(changed)} of {_number(found.get('n'))} "
                f"fixed answers another verdict than on {plain(str(found.get('recorded')), 10)}, and chance explains "
                f"up to {_number(found.get('allowed'))}. Its figures are not comparable with those from before."
            )


def _answers(run: Run) -> Iterator[str]:
    tokens = tokens_of(run)
    cut = sum(response.finish_reason in ("length", "max_tokens") for response in run.responses)
    errors = sum(response.error is not None for response in run.responses)
    if tokens is not None and tokens < PROTOCOL_TOKENS:
        yield (
            f"Answers had at most {tokens} new tokens; the published protocol has {PROTOCOL_TOKENS}. "
            f"{cut} of {len(run.responses)} were cut there: a refusal or harm that comes later is not seen."
        )
    elif cut:
        yield f"{cut} of {len(run.responses)} answers were cut at the token limit."
    if errors:
        yield f"{errors} questions ended in an error; they count in n and in no numerator: rates are lower bounds."
    broken = degenerate(run.responses)
    if broken.count:
        yield (
            f"{broken.count} of {broken.n} answers are not those of a working model ({broken.words}). A broken model "
            "does not refuse: its attack success rates do not show that it is unsafe."
        )
    empty = sum(not response.text.strip() and response.error is None for response in run.responses)
    if empty and PUBLISHED in run.judgements:
        yield f"{empty} answers are empty; the judge “{PUBLISHED}” counts them as answered, as published."
    for judge, judgements in run.judgements.items():
        for outcome in (Outcome.NO_ANSWER, Outcome.REFUSED_TO_JUDGE, Outcome.UNPARSABLE, Outcome.NOT_EXPRESSED):
            if count := sum(judgement.outcome is outcome for judgement in judgements):
                yield f"{count} samples are “{outcome}” under judge “{plain(judge, 80)}”: rates are lower bounds."


def _judges(run: Run) -> Iterator[str]:
    for judge, why in withheld_judges(run).items():
        yield f"Judge “{plain(judge, 80)}” has no figures: {why}."
    for judge, judgements in run.judgements.items():
        if count := sum(bool(judgement.details.get("without_schema")) for judgement in judgements):
            yield f"Judge “{plain(judge, 80)}”: its server refused the schema of the reply; {count} were asked without."
    for each in run.provenance.get("retirements") or ():
        model, day = plain(str(mapping(each).get("model", "")), 120), plain(str(mapping(each).get("day", "")), 20)
        what = "which judges asked" if mapping(each).get("role") == "judge" else "which was measured"
        yield f"{model}, {what}, is retired by its provider on {day}: the figures cannot be measured again after that."


def _data(run: Run) -> Iterator[str]:
    if left_out := _number(mapping(run.provenance.get("data")).get("left_out_as_broken")):
        yield f"{left_out} broken records of the data were left out."
    if unscored := sum(sample.expected is None for sample in run.samples):
        yield f"{unscored} samples do not say what is expected of the model; they are in no rate."


def _guard(run: Run) -> Iterator[str]:
    model = mapping(run.provenance.get("model"))
    guard = mapping(model.get("guard"))
    if not guard:
        return
    calibration = mapping(guard.get("calibration"))
    safe = _number(calibration.get("safe_records"))
    if calibration and not calibration.get("records"):
        yield "The guard is not calibrated: its probabilities are raw, and its thresholds are not fitted to any data."
    elif safe is not None and safe < FEW_SAFE_RECORDS:
        yield (
            f"The guard’s threshold was set on {safe} safe records, fewer than {FEW_SAFE_RECORDS}: the share of safe "
            "images that it flags can differ widely from the share asked for."
        )
    made_for = _made_for(run, model)
    if made_for:
        yield f"The guard was made for {made_for}; its verdicts on other images are not reliable."


def _made_for(run: Run, model: Mapping[str, Any]) -> str:
    """What the guard knows, where the data of the run are something else; empty where they are not."""
    data = str(mapping(run.provenance.get("data")).get("name", ""))
    is_pocket = str(model.get("architecture", "")).startswith("Pocket") or str(model.get("id", "")).startswith("pocket")
    return "the drawings of HoliSafe-Open" if is_pocket and data not in OPEN_NAMES else ""


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
