"""Records of every shape, for property tests."""

from pathlib import Path

from hypothesis import strategies as st

from holisafe.records import (
    Behaviour,
    GuardVerdict,
    ImageRef,
    ImageVerdict,
    JudgeId,
    Judgement,
    Outcome,
    RequestVerdict,
    Response,
    Role,
    Sample,
    Turn,
)
from holisafe.taxonomy import Category, Combination, GuardLabel, Subcategory

texts = st.text(max_size=20)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
shares = st.floats(0, 1)
paths = st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,2}\.png", fullmatch=True).map(Path)

image_refs = st.one_of(
    st.builds(ImageRef, key=texts, path=paths, root=st.just(Path("/data")), digest=digests),
    st.builds(ImageRef, key=texts, url=st.just("https://example.org/a.png")),
    st.builds(ImageRef, key=texts, digest=digests),
)
turns = st.builds(Turn, st.sampled_from(Role), texts, st.lists(image_refs, max_size=2).map(tuple))
tags = st.fixed_dictionaries(
    {},
    optional={
        "category": st.sampled_from([each.value for each in Category]),
        "subcategory": st.sampled_from([each.value for each in Subcategory]),
        "scenario": texts,
    },
)
samples = st.builds(
    Sample,
    id=texts,
    turns=st.lists(turns, max_size=4).map(tuple),
    expected=st.none() | st.sampled_from(Behaviour),
    combination=st.none() | st.sampled_from(Combination),
    image_labels=st.lists(st.sampled_from(GuardLabel), max_size=3).map(tuple),
    reference=st.none() | texts,
    options=st.lists(texts, max_size=3).map(tuple),
    twin=st.none() | texts,
    cluster=texts,
    tags=tags,
    source=texts,
    licence=texts,
    rejected=st.none() | texts,
)
image_verdicts = st.builds(
    ImageVerdict,
    label=st.sampled_from(GuardLabel),
    probability=shares,
    distribution=st.fixed_dictionaries(dict.fromkeys(GuardLabel, shares)),
    threshold=shares,
)
request_verdicts = st.builds(
    RequestVerdict,
    combination=st.sampled_from(Combination),
    probability=shares,
    distribution=st.fixed_dictionaries(dict.fromkeys(Combination, shares)),
    categories=st.dictionaries(st.sampled_from(Category), shares),
    threshold=shares,
)
verdicts = st.builds(GuardVerdict, st.lists(image_verdicts, max_size=2).map(tuple), st.none() | request_verdicts)
counts = st.none() | st.integers(0, 10**6)
responses = st.builds(
    Response,
    sample_id=texts,
    text=texts,
    model=texts,
    verdict=verdicts,
    finish_reason=st.none() | texts,
    refusal=st.none() | texts,
    input_tokens=counts,
    output_tokens=counts,
    error=st.none() | texts,
)


def _judgements(votes: st.SearchStrategy[tuple[Judgement, ...]]) -> st.SearchStrategy[Judgement]:
    return st.builds(
        Judgement,
        sample_id=texts,
        judge=st.builds(JudgeId, texts, texts, texts, texts),
        outcome=st.sampled_from(Outcome),
        rationale=texts,
        scores=st.dictionaries(texts, st.floats(allow_nan=False, allow_infinity=False), max_size=2),
        votes=votes,
        usage=st.dictionaries(texts, st.integers(0, 10**6), max_size=2),
    )


judgements = _judgements(st.lists(_judgements(st.just(())), max_size=2).map(tuple))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
