"""The page of the ablations: tables, what the tests say in words, plots and JSON, from the figures of the runs.

No program of its own; ablations.py calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from research.ablations.arms import ARMS, QUESTIONS, UNTUNED, Question
from research.ablations.figures import GUARD, LEVEL, RATES, SEEDS
from research.ablations.plots import draw_coverage, draw_question
from research.ablations.runs import write_json

SHOWN = {"rr": "RR", "ssu": "SSU", "usu": "USU", "uuu": "UUU", "suu": "SUU", "masr_macro": "mASR",
         "twin_accuracy": "twins"}  # fmt: skip
SHOWN_GUARD = {"f1": "image F1", "auroc": "image AUROC", "top1": "image top-1", "joint": "joint top-1"}


def write_page(found: Mapping[str, Any], folder: Path) -> Path:
    """Write `ablations.json`, `ablations.md` and a plot for each question that has runs.

    Returns:
        The page.
    """
    write_json(folder / "ablations.json", found)
    for name, question in QUESTIONS.items():
        arms = _present(found, question)
        if not _has_runs(found, question):
            (folder / plot_name(name)).unlink(missing_ok=True)
        elif name == "coverage":
            draw_coverage(found, arms, folder / plot_name(name))
        else:
            draw_question(found, arms, folder / plot_name(name))
    page = folder / "ablations.md"
    page.write_text(markdown(found), encoding="utf-8")
    return page


def plot_name(question: str) -> str:
    """File of a question's plot."""
    return f"ablations-{question}.png"


def _present(found: Mapping[str, Any], question: Question) -> list[str]:
    wanted = dict.fromkeys((UNTUNED, question.base, *question.arms))
    return [arm for arm in wanted if arm in found["arms"]]


def _has_runs(found: Mapping[str, Any], question: Question) -> bool:
    return any(arm in found["arms"] for arm in question.arms)


def markdown(found: Mapping[str, Any]) -> str:
    """The page."""
    lines = ["# Ablations", "", *_head(found)]
    for name, question in QUESTIONS.items():
        lines += [f"## {question.title}", "", question.claim, ""]
        if not _has_runs(found, question):
            lines += ["None of its runs are done yet.", ""]
            continue
        missing = found["questions"][name]["missing"]
        lines += _rates(found, question) + _differences(found, name, question) + _said(found, name, question)
        lines += [f"Not done yet: {', '.join(missing)}.", ""] if missing else []
        lines += [f"![{question.title}]({plot_name(name)})", ""]
    return "\n".join(lines).rstrip() + "\n"


def _head(found: Mapping[str, Any]) -> list[str]:
    settings, train, general = (found["study"][key] for key in ("settings", "train", "general"))
    missing = found["missing"]
    state = f"**{found['done']} of {found['planned']} planned runs are done.**"
    guards = ", ".join(f"{settings[f'{part}_rate']:g} ({part})" for part in ("language", "projector", "guard"))
    asked = ", ".join(f"{count} of {name}" for name, count in found["asked"].items())
    twins = max(
        (each["rates"]["twin_accuracy"] or {"n": 0})["n"] // len(each["seeds"]) for each in found["arms"].values()
    )
    return [
        "Written by `research/ablations` from the files of its runs; its docstring says how to make them.",
        "",
        state + (f" Missing: {', '.join(missing[:12])}{', ...' if len(missing) > 12 else ''}." if missing else ""),
        "",
        f"**Each run** tunes the model `{settings['model']}` for {settings['steps']} steps of {settings['batch']} "
        f"samples, sampled from {train['samples']:,} samples with {train['images']:,} images, balanced over "
        f"combinations and categories. Runs with general data use {general['samples']:,} general samples. A LoRA "
        f"adapter of rank {settings['rank']} on all layers of the language model, the projector and the guard are "
        f"trained; peak learning rates are {guards}. The vision encoder is frozen. The budget is small, and the "
        "reference still refuses many harmless requests: compare the runs with one another, not with a fully tuned "
        "model.",
        "",
        f"**Measured** on {found['slice']} held-out samples, the same for all runs: {asked}. Up to half of the SSS and "
        f"SSU samples are twins, in {twins} pairs. Decoding is greedy, with at most {settings['max_new_tokens']} new "
        f"tokens; the judge is `{found['judge']}`. Figures are means over seeds:",
        "",
        "| column | meaning |",
        "|---|---|",
        "| RR | refusal rate on SSS, in % |",
        "| SSU, USU, UUU, SUU | attack success rate (ASR) of the combination, in % |",
        "| mASR | mean of the four ASRs |",
        "| twins | twin accuracy: pairs with both samples right, in % |",
        "| discrimination | 100 − RR − mASR; 0 for a model that refuses everything, nothing or at random |",
        "| utility | change, since before tuning, of the mean log-likelihood of the reference answers to SSS samples, "
        "in nats per token |",
        "| image F1, AUROC, top-1 | image verdicts: safe or unsafe at a threshold of 0.5; the same without a "
        "threshold; accuracy on the 20 labels |",
        "| joint top-1 | accuracy of the joint head on the five combinations |",
        "",
        "Utility and the guard's figures are not tested.",
        "",
        "**Differences** are paired: same samples, same seeds. The test and its 95 % interval take clusters of samples "
        "as independent, all seeds of a cluster together; p-values are corrected for all tests of a section (Holm), "
        "intervals are not. Both cover the "
        "choice of samples, not the randomness of training. *Another seed* covers that: two equivalent arms exceed it "
        "in one of twenty comparisons; it is estimated from the variation between seeds in all arms. A difference is "
        f"*clear* if its corrected p is below {LEVEL}, there are at least {SEEDS} seeds, and it exceeds *another "
        "seed*. A difference that is not clear may still exist: with so few samples and seeds, only large ones "
        "are detected.",
        "",
    ]


def _rates(found: Mapping[str, Any], question: Question) -> list[str]:
    columns = ["run", "seeds", *SHOWN.values(), "discrimination", "mASR by seed", "utility", *SHOWN_GUARD.values()]
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    before = found["arms"].get(UNTUNED, {}).get("log_likelihood")
    arms = _present(found, question)
    for arm in arms:
        each = found["arms"][arm]
        utility = None if before is None or each["log_likelihood"] is None else each["log_likelihood"] - before
        cells = [_named(arm), str(len(each["seeds"]))]
        cells += [_percent(None if each["rates"][rate] is None else each["rates"][rate]["value"]) for rate in RATES]
        cells += [_percent(each["told_apart"]), ", ".join(_percent(seed["masr_macro"]) for seed in each["by_seed"])]
        cells += ["–" if utility is None else f"{utility:+.2f}"]
        cells += [_percent(each["guard"][figure]) for figure in GUARD]
        lines.append(f"| {' | '.join(cells)} |")
    for judge in found["arms"][arms[0]]["other_judges"]:
        rates = [(arm, found["arms"][arm]["other_judges"][judge]) for arm in arms]
        by_it = [f"{arm} {_percent(_value(of['rr']))}, {_percent(_value(of['masr_macro']))}" for arm, of in rates]
        lines += ["", f"RR and mASR by judge `{judge}`: {'; '.join(by_it)}."]
    return [*lines, ""]


def _value(figure: Mapping[str, Any] | None) -> float | None:
    return None if figure is None else float(figure["value"])


def _differences(found: Mapping[str, Any], name: str, question: Question) -> list[str]:
    compared = found["questions"][name]["compared"]
    if not compared:
        return []
    lines = [f"Differences to *{question.base}* in points, with corrected p-values; clear ones in bold:", ""]
    lines += [f"| run | seeds | {' | '.join(SHOWN.values())} |", f"|{'---|' * (len(SHOWN) + 2)}"]
    for arm, each in compared.items():
        cells = [_difference_cell(each["differences"][rate]) for rate in RATES]
        lines.append(f"| {_named(arm)} | {len(each['seeds'])} | {' | '.join(cells)} |")
    chance = found["training_chance"]
    others = [f"±{100 * chance[rate]['another_seed']:.1f}" if rate in chance else "–" for rate in RATES]
    return [*lines, f"| *another seed* | | {' | '.join(others)} |", ""]


def _named(arm: str) -> str:
    return "before tuning" if arm == UNTUNED else f"*{arm}*: {ARMS[arm].about}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _difference_cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "–"
    value = _signed(row["value"])
    return f"{f'**{value}**' if row['clear'] else value} {_interval(row)} p={row['p_holm']:.2g}"


def _interval(row: Mapping[str, Any]) -> str:
    return f"[{_signed(row['low'])}, {_signed(row['high'])}]"


def _signed(share: float) -> str:
    return f"{round(100 * share, 1) + 0.0:+.1f}"  # nothing has a sign of its own


def _said(found: Mapping[str, Any], name: str, question: Question) -> list[str]:
    """What the tests say, in words made from the figures."""
    compared = found["questions"][name]["compared"]
    if not compared:
        return [f"Nothing can be compared yet: runs of {question.base} with the same seeds are missing.", ""]
    lines = [f"Clear differences to *{question.base}*:", ""]
    for arm, each in compared.items():
        if len(each["seeds"]) < SEEDS:
            lines.append(f"- *{arm}*: {len(each['seeds'])} of {SEEDS} seeds are done; no result yet.")
            continue
        rows = {rate: row for rate, row in each["differences"].items() if row is not None}
        lines.append(f"- *{arm}*: {_clear(rows)}.{_claimed(rows, question.expected.get(arm, {}))}")
    return [*lines, ""]


def _clear(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The clear differences."""
    clear = {rate: row["value"] for rate, row in rows.items() if row["clear"]}
    said = ", ".join(f"{SHOWN[rate]} {_points(value)}" for rate, value in clear.items())
    if clear.get("rr", 0) * clear.get("masr_macro", 0) < 0:
        said += f"; it refuses {'more' if clear['rr'] > 0 else 'fewer'} requests, safe and unsafe ones"
    return said or "none"


def _points(value: float) -> str:
    return f"{100 * abs(value):.1f} points {'higher' if value > 0 else 'lower'}"


def _claimed(rows: Mapping[str, Mapping[str, Any]], expected: Mapping[str, int]) -> str:
    """Whether the differences that the paper reports are found."""
    said: dict[str, list[str]] = {}
    for rate, sign in expected.items():
        row = rows.get(rate)
        if row is None:
            continue
        name = f"{SHOWN[rate]} {'higher' if sign > 0 else 'lower'}"
        if not row["clear"]:
            said.setdefault("undecided", []).append(f"{name} ({_signed(row['value'])} {_interval(row)})")
        else:
            said.setdefault("confirmed" if row["value"] * sign > 0 else "contradicted", []).append(name)
    found = "; ".join(f"{', '.join(names)}: {how}" for how, names in said.items())
    return f" Reported in the paper: {found}." if found else ""
