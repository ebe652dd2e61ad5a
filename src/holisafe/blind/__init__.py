"""Blind baselines: how far a classifier gets that sees only the question, or only the image.

`blind_baselines` measures them on a data set, alone or beside a model's results; `blind_scores` and `beside` are its
two steps. A result that a blind baseline reaches says nothing about reading image and question together. scikit-learn
is imported on first use, torch only for the features of a model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holisafe._lazy import lazy
from holisafe.blind._mark import LEGEND, MARK

if TYPE_CHECKING:
    from holisafe.blind._baselines import (
        BlindBaseline,
        BlindResult,
        at_refusal_rate,
        beside,
        blind_judgements,
    )
    from holisafe.blind._features import PIXELS, ImageFeatures, model_features, pixel_features
    from holisafe.blind._measure import BlindReport, blind_baselines, run_data, scores_of_run
    from holisafe.blind._scores import IMAGE, QUESTION, BlindScores, apart_from, blind_scores, cross_validation_parts
    from holisafe.blind._sights import image_classifier, question_classifier, question_text

_OF_BASELINES = (
    "BlindBaseline",
    "BlindResult",
    "at_refusal_rate",
    "beside",
    "blind_judgements",
)

__all__ = [
    "IMAGE",
    "LEGEND",
    "MARK",
    "PIXELS",
    "QUESTION",
    "BlindBaseline",
    "BlindReport",
    "BlindResult",
    "BlindScores",
    "ImageFeatures",
    "apart_from",
    "at_refusal_rate",
    "beside",
    "blind_baselines",
    "blind_judgements",
    "blind_scores",
    "cross_validation_parts",
    "image_classifier",
    "model_features",
    "pixel_features",
    "question_classifier",
    "question_text",
    "run_data",
    "scores_of_run",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        **dict.fromkeys(_OF_BASELINES, "holisafe.blind._baselines"),
        **dict.fromkeys(("PIXELS", "ImageFeatures", "model_features", "pixel_features"), "holisafe.blind._features"),
        **dict.fromkeys(("BlindReport", "blind_baselines", "run_data", "scores_of_run"), "holisafe.blind._measure"),
        **dict.fromkeys(
            ("IMAGE", "QUESTION", "BlindScores", "apart_from", "blind_scores", "cross_validation_parts"),
            "holisafe.blind._scores",
        ),
        **dict.fromkeys(("image_classifier", "question_classifier", "question_text"), "holisafe.blind._sights"),
    },
)
