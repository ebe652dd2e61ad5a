"""The two classifiers, and what of a sample each of them sees."""

from __future__ import annotations

from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler

from holisafe.records import Sample

LONGEST = 4_000
"""Characters of a question that are seen."""

_ITERATIONS = 5_000


def question_text(sample: Sample) -> str:
    """What a question-alone classifier sees: the text of all turns, at most 4,000 characters."""
    return "\n".join(turn.text for turn in sample.turns)[:LONGEST]


def question_classifier() -> Any:
    """TF-IDF of words (one, two) and of characters (two to four, within words), then logistic regression.

    Returns:
        An unfitted scikit-learn pipeline over texts.
    """
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    return make_pipeline(make_union(words, characters), LogisticRegression(C=10.0, max_iter=_ITERATIONS))


def image_classifier() -> Any:
    """Standardised features, then logistic regression.

    Returns:
        An unfitted scikit-learn pipeline over features (images, width).
    """
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=_ITERATIONS))
