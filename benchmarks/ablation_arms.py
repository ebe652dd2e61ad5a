"""What the ablations compare: every run differs from one reference in one thing.

No program of its own; ablations.py trains and measures these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from holisafe.taxonomy import Combination

REFERENCE = "reference"
UNTUNED = "untuned"
SSS, SSU, USU, UUU, SUU = (Combination(name) for name in ("SSS", "SSU", "USU", "UUU", "SUU"))


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of tuning.

    Attributes:
        name: Its name, also that of its files.
        about: What it is, for the tables.
        settings: What differs from the study's settings, by field of `TuneConfig`.
        guard: Fields of `GuardConfig` that differ from its defaults: an image head and a joint head, which read the
            language model.
        combinations: What is learned from; None for all five.
        size: Share of the training samples that can be drawn, in (0, 1].
    """

    name: str
    about: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    guard: Mapping[str, Any] = field(default_factory=dict)
    combinations: frozenset[Combination] | None = None
    size: float = 1.0

    @property
    def general_share(self) -> float:
        """Share of general data, in [0, 1)."""
        return float(self.settings.get("general_share", 0.0))


@dataclass(frozen=True, slots=True)
class Question:
    """A question that some of the runs answer.

    Attributes:
        title: Heading of its section.
        claim: What the paper (arXiv 2506.04704) says or leaves open.
        arms: Names of the arms, beside the reference and the untuned model.
    """

    title: str
    claim: str
    arms: tuple[str, ...]


def _only(*combinations: Combination) -> frozenset[Combination]:
    return frozenset(combinations)


def _without(left_out: Combination) -> Arm:
    rest = frozenset(Combination) - {left_out}
    return Arm(f"without-{left_out.value.lower()}", f"all but {left_out.value}", combinations=rest)


_ARMS = (
    Arm(REFERENCE, "image head and joint head on language features; all five combinations, no general data"),
    Arm("no-module", "no module (supervised tuning alone)", {"method": "sft"}),
    Arm("image-projector", "image head on projector features", guard={"features": "projector", "joint_head": False}),
    Arm("image-language", "image head on language features", guard={"joint_head": False}),
    Arm("meta-token", "image head on a meta token", {"method": "meta-token"}, guard={"joint_head": False}),
    Arm("depth-1", "heads of one layer", guard={"depth": 1}),
    Arm("depth-3", "heads of three layers", guard={"depth": 3}),
    Arm("ratio-0.25", "hidden layers of 0.25 of the width", guard={"hidden_ratio": 0.25}),
    Arm("ratio-2", "hidden layers of twice the width", guard={"hidden_ratio": 2.0}),
    Arm("lambda-0.1", "λ = 0.1", {"image_weight": 0.1}),
    Arm("lambda-5", "λ = 5", {"image_weight": 5.0}),
    Arm("general-25", "25 % general data", {"general_share": 0.25}),
    Arm("general-50", "50 % general data", {"general_share": 0.5}),
    *(_without(each) for each in (SSS, SSU, USU, UUU, SUU)),
    Arm("as-vlguard", "what VLGuard covers: SSS, SUU, UUU", combinations=_only(SSS, SUU, UUU)),
    Arm("as-spa-vl", "what SPA-VL covers: USU, UUU; and SSS", combinations=_only(SSS, USU, UUU)),
    Arm("as-figstep", "what FigStep and MM-SafetyBench cover: USU; and SSS", combinations=_only(SSS, USU)),
    Arm("size-25", "25 % of the training samples", size=0.25),
    Arm("size-50", "50 % of the training samples", size=0.5),
)
ARMS: Mapping[str, Arm] = {arm.name: arm for arm in _ARMS}

QUESTIONS: Mapping[str, Question] = {
    "module": Question(
        "Does the module make the model safer?",
        "The paper adds the image head (versions 4 and 5) or the meta token (1 and 2) and reports safer answers than "
        "from tuning on the same data alone. The joint head is ours. The reference has both heads.",
        ("no-module", "image-projector", "image-language", "meta-token"),
    ),
    "head": Question(
        "Do the heads' depth and width, and λ, matter?",
        "Released heads have two layers and hidden layers of half the width; λ = 1 is inferred from the released "
        "configurations. These are the reference's; its joint head changes depth and width with the image head.",
        ("depth-1", "depth-3", "ratio-0.25", "ratio-2", "lambda-0.1", "lambda-5"),
    ),
    "general": Question(
        "What does general data change?",
        "The paper: with 0, 10,000 and 15,000 general samples mASR rises (10.4, 15.4, 19.2 %) and the refusal rate "
        "falls (1.0, 0.3, 0.1 %). Here the share takes the place of safety data: the number of steps is the same.",
        ("general-25", "general-50"),
    ),
    "coverage": Question(
        "Does narrow coverage leave the other combinations open?",
        "The paper says that it does. Subsets get the same number of samples as all five together, so that each of "
        "their combinations is seen more often. VLGuard has benign and unsafe instructions on safe images and one "
        "instruction on each unsafe image (arXiv 2402.02207). SPA-VL's questions, from easy to hard, are about "
        "pictures of harmful topics (arXiv 2406.12030); that these are USU and UUU is our reading. FigStep renders "
        "the request as a picture beside a benign text (arXiv 2311.05608), MM-SafetyBench moves its key phrase into "
        "the picture (arXiv 2311.17600). SSS is added to the last two arms, whose sets hold little or nothing to be "
        "answered: without it refusing everything would be learned.",
        (
            *(f"without-{each.value.lower()}" for each in (SSS, SSU, USU, UUU, SUU)),
            "as-vlguard", "as-spa-vl", "as-figstep",
        ),
    ),
    "size": Question(
        "How much data does it take?",
        "Not in the paper. The number of steps is the same: with less data, samples come back more often.",
        ("size-25", "size-50"),
    ),
}  # fmt: skip


def planned(seeds: int, questions: tuple[str, ...] = tuple(QUESTIONS)) -> list[tuple[Arm, int]]:
    """Every run as arm and seed: seed by seed, so that a study that ends early has something on each question."""
    names = dict.fromkeys([REFERENCE, *(name for each in questions for name in QUESTIONS[each].arms)])
    tuned = [(ARMS[name], seed) for seed in range(seeds) for name in names]
    return [(Arm(UNTUNED, "the model before tuning"), 0), *tuned]


def run_name(arm: Arm, seed: int) -> str:
    """The name of one run."""
    return arm.name if arm.name == UNTUNED else f"{arm.name}-seed{seed}"
