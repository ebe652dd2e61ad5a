"""What the ablations compare: every run differs from one reference in one thing.

No program of its own; ablations.py trains and measures these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from holisafe.taxonomy import UNSAFE_COMBINATIONS, Combination

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

    @property
    def unseen(self) -> list[Combination]:
        """Unsafe combinations that are not learned from."""
        return [] if self.combinations is None else [c for c in UNSAFE_COMBINATIONS if c not in self.combinations]


@dataclass(frozen=True, slots=True)
class Question:
    """A question that some of the runs answer.

    Attributes:
        title: Heading of its section.
        claim: What the paper (arXiv 2506.04704) says or leaves open.
        arms: Names of the arms, beside `base` and the untuned model.
        base: The arm that the others are compared with.
        expected: By arm, the rates that the paper has higher (+1) or lower (-1) than the base's.
    """

    title: str
    claim: str
    arms: tuple[str, ...]
    base: str = REFERENCE
    expected: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def _learns_from(name: str, about: str, *combinations: Combination) -> Arm:
    """An arm of these combinations, of which SSS has the share that it has among all five.

    Else a subset would hold more that is to be answered and so refuse less, whatever it covers.
    """
    unsafe = sum(not each.is_safe for each in combinations)
    return Arm(name, about, {"safe_weight": unsafe / len(UNSAFE_COMBINATIONS)}, combinations=frozenset(combinations))


def _without(left_out: Combination) -> Arm:
    rest = [each for each in Combination if each is not left_out]
    return _learns_from(f"without-{left_out.value.lower()}", f"all but {left_out.value}", *rest)


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
    Arm("lambda-0.1", "λ = 0.1", {"method_args": {"image_weight": 0.1}}),
    Arm("lambda-5", "λ = 5", {"method_args": {"image_weight": 5.0}}),
    Arm("general-25", "25 % general data", {"general_share": 0.25}),
    Arm("general-50", "50 % general data", {"general_share": 0.5}),
    Arm("sss-40", "40 % SSS instead of 20 %, no general data", {"safe_weight": 8 / 3}),
    *(_without(each) for each in (SSS, SSU, USU, UUU, SUU)),
    _learns_from("as-vlguard", "what VLGuard covers: SSS, SUU, UUU", SSS, SUU, UUU),
    _learns_from("as-spa-vl", "what SPA-VL covers: USU, UUU; and SSS", SSS, USU, UUU),
    _learns_from("as-figstep", "what FigStep and MM-SafetyBench cover: USU; and SSS", SSS, USU),
    Arm("size-10", "10 % of the training samples", size=0.1),
    Arm("size-25", "25 % of the training samples", size=0.25),
    Arm("size-50", "50 % of the training samples", size=0.5),
)
ARMS: Mapping[str, Arm] = {arm.name: arm for arm in _ARMS}

QUESTIONS: Mapping[str, Question] = {
    "module": Question(
        "Does the module make the model safer?",
        "The paper adds an image head (versions 4 and 5) or a meta token (1 and 2) and reports safer answers than with "
        "supervised tuning on the same data. The baseline is therefore *no-module*. The joint head is ours; the "
        "reference has both heads.",
        ("image-projector", "image-language", "meta-token", REFERENCE),
        base="no-module",
        expected={arm: {"masr_macro": -1} for arm in ("image-projector", "image-language", "meta-token")},
    ),
    "head": Question(
        "Do the heads' depth and width, and λ, matter?",
        "As in the released models, the reference's heads have two layers with a hidden layer of half the width, and "
        "λ = 1, which is inferred from the released configurations. Depth and width are changed in both heads.",
        ("depth-1", "depth-3", "ratio-0.25", "ratio-2", "lambda-0.1", "lambda-5"),
    ),
    "general": Question(
        "What does general data change?",
        "In the paper, with 0, 10,000 and 15,000 general samples, mASR rises (10.4, 15.4, 19.2 %) and the refusal rate "
        "falls (1.0, 0.3, 0.1 %). Here general data replace safety data, and the number of steps is the same. With "
        "25 % general data, 40 % of the samples are to be answered. The arm *sss-40* has the same share of samples to "
        "be answered, all of them SSS, and shows whether general data as such matter.",
        ("general-25", "general-50", "sss-40"),
        expected={arm: {"masr_macro": +1, "rr": -1} for arm in ("general-25", "general-50")},
    ),
    "coverage": Question(
        "Does narrow coverage leave the other combinations open?",
        "The paper says that it does. All arms have the same number of samples and, except *without-sss*, the same "
        "share of SSS, so that each unsafe combination of a subset is sampled more often. *without-sss* has no samples "
        "to be answered. Which combinations other data sets cover is our reading. VLGuard (arXiv 2402.02207) has safe "
        "and unsafe instructions on safe images, and one instruction on each unsafe image, taken as UUU. SPA-VL (arXiv "
        "2406.12030) asks easy to hard questions about images of harmful topics, taken as USU and UUU. FigStep (arXiv "
        "2311.05608) renders the request as an image beside a benign text, and MM-SafetyBench (arXiv 2311.17600) moves "
        "its key phrase into the image; both are taken as USU. SSS is added to sets with few or no samples to be "
        "answered, since a model would otherwise learn to refuse everything.",
        (
            *(f"without-{each.value.lower()}" for each in (SSS, SSU, USU, UUU, SUU)),
            "as-vlguard", "as-spa-vl", "as-figstep",
        ),
        expected={arm.name: {each.value.lower(): +1 for each in arm.unseen} for arm in _ARMS if arm.unseen},
    ),
    "size": Question(
        "How much data does it take?",
        "Not in the paper. The number of steps is the same: with less data, samples are repeated more often. A run "
        "samples fewer than half of the training samples, so *size-50* repeats few.",
        ("size-10", "size-25", "size-50"),
    ),
}  # fmt: skip


def planned(seeds: int, questions: tuple[str, ...] = tuple(QUESTIONS)) -> list[tuple[Arm, int]]:
    """Every run as arm and seed: seed by seed, so that a study that ends early has something on each question."""
    names = dict.fromkeys(
        [REFERENCE, *(name for each in questions for name in (QUESTIONS[each].base, *QUESTIONS[each].arms))]
    )
    tuned = [(ARMS[name], seed) for seed in range(seeds) for name in names]
    return [(Arm(UNTUNED, "the model before tuning"), 0), *tuned]


def run_name(arm: Arm, seed: int) -> str:
    """The name of one run."""
    return arm.name if arm.name == UNTUNED else f"{arm.name}-seed{seed}"
