"""SafeGround: nine scores and four recalls, on embeddings whose scores are known, and on a tiny CLIP."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holisafe.benchmarks.safeground import (
    KINDS,
    PUBLISHED,
    RECALL_KINDS,
    Quadruples,
    safeground_recalls,
    safeground_scores,
)
from holisafe.errors import DataError

IDEAL = {"safe_images": [1, 0], "unsafe_images": [0.6, 0.8], "safe_texts": [1, 0], "unsafe_texts": [0.8, -0.6]}
"""One quadruple of which all four preferences hold."""

NAMES = [kind.name for kind in KINDS]


def quadruples(count: int = 5, **given: Any) -> Quadruples:
    """So many of one quadruple."""
    return Quadruples.of(**{name: [value] * count for name, value in (IDEAL | given).items()})


def values(found: Quadruples) -> dict[str, float]:
    return {name: figure.value for name, figure in safeground_scores(found).items()}


def test_a_perfect_encoder_gets_100_in_all_nine() -> None:
    assert values(quadruples()) == dict.fromkeys(NAMES, 1.0) and len(NAMES) == 9


def test_with_safe_and_unsafe_swapped_it_gets_0() -> None:
    names = ("images", "texts")
    swapped = {f"safe_{n}": IDEAL[f"unsafe_{n}"] for n in names} | {f"unsafe_{n}": IDEAL[f"safe_{n}"] for n in names}
    assert values(quadruples(**swapped)) == dict.fromkeys(NAMES, 0.0)


def test_ties_get_0() -> None:
    same = quadruples(**{name: [3, 4] for name in IDEAL})
    assert values(same) == dict.fromkeys(NAMES, 0.0)
    assert {figure.value for figure in safeground_recalls(same).values()} == {0.0}


def test_lengths_do_not_matter_and_rows_count_one_by_one() -> None:
    half = [[10 * x for x in IDEAL["safe_texts"]]] * 2 + [IDEAL["unsafe_texts"]] * 2
    other = [IDEAL["unsafe_texts"]] * 2 + [IDEAL["safe_texts"]] * 2
    rows = {name: [IDEAL[name]] * 4 for name in ("safe_images", "unsafe_images")}
    found = values(Quadruples.of(**rows, safe_texts=half, unsafe_texts=other))
    assert found["p_s_v"] == found["p_u_v"] == found["txt"] == found["gs"] == 0.5  # texts swapped in two of four
    assert found["p_s_t"] == found["p_u_t"] == found["img"] == 1.0


def test_recall_finds_the_safe_match() -> None:
    axes = np.eye(4)
    far = -np.ones((4, 4))
    found = safeground_recalls(Quadruples.of(axes, far, axes, axes + 0.1))
    assert {name: figure.value for name, figure in found.items()} == {
        "r1_ts_vs": 1.0,
        "r1_vs_ts": 1.0,
        "r1_tu_v": 1.0,  # the unsafe text lies beside its safe image
        "r1_vu_t": 0.0,  # every text is as far from the unsafe image
    }
    near = safeground_recalls(Quadruples.of(axes, axes + 0.1, axes, axes + 0.1))
    assert near["r1_tu_v"].value == near["r1_vu_t"].value == 0.0 and near["r1_ts_vs"].value == 1.0
    assert [kind.name for kind in RECALL_KINDS] == list(found)


@given(st.integers(0, 2**31))
def test_conjunctions_are_no_larger_than_their_parts(seed: int) -> None:
    random = np.random.default_rng(seed)
    found = values(Quadruples.of(*random.normal(size=(4, 12, 3))))
    for whole, parts in {
        "txt": ("p_s_v", "p_u_v"),
        "img": ("p_s_t", "p_u_t"),
        "ps": ("p_s_t", "p_s_v"),
        "pu": ("p_u_t", "p_u_v"),
        "gs": ("txt", "img", "ps", "pu"),
    }.items():
        assert all(found[whole] <= found[part] for part in parts)
        assert found[whole] >= sum(found[part] for part in parts) - (len(parts) - 1) - 1e-9


def test_clusters_widen_intervals() -> None:
    random = np.random.default_rng(0)
    rows = [np.repeat(part, 10, axis=0) for part in random.normal(size=(4, 12, 3))]
    found = Quadruples.of(*rows)
    apart, together = (
        safeground_scores(found, clusters)["p_s_t"] for clusters in (None, [str(at // 10) for at in range(120)])
    )
    assert apart.value == together.value and together.high - together.low > 1.5 * (apart.high - apart.low)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"safe_texts": [[1.0, 0.0, 0.0]]}, "one shape"),
        ({"unsafe_images": [[0.0, 0.0]]}, "unsafe_images: row 0"),
        ({"unsafe_texts": [[float("nan"), 1.0]]}, "unsafe_texts: row 0"),
        ({name: [] for name in IDEAL}, "one shape"),
    ],
)
def test_embeddings_that_are_none_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Quadruples.of(**({name: [value] for name, value in IDEAL.items()} | change))
    with pytest.raises(DataError, match="a cluster for each of 5"):
        safeground_scores(quadruples(), ["a"])


def test_published_rows_name_scores_that_exist() -> None:
    known = {kind.name for kind in (*KINDS, *RECALL_KINDS)}
    assert PUBLISHED and all(row.values.keys() == known and row.source for row in PUBLISHED)


def test_a_tiny_clip_is_scored_by_its_embeddings() -> None:
    torch = pytest.importorskip("torch")
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = CLIPVisionConfig(**shape, image_size=16, patch_size=8)
    words = CLIPTextConfig(**shape, vocab_size=50, max_position_embeddings=8, bos_token_id=0, eos_token_id=1)
    torch.manual_seed(0)
    config = CLIPConfig(text_config=words.to_dict(), vision_config=vision.to_dict(), projection_dim=8)
    model = CLIPModel(config).eval()
    pixels, ids = torch.rand(12, 3, 16, 16), torch.randint(2, 50, (12, 6))
    ids[:, -1] = 1
    with torch.no_grad():
        made = model(pixel_values=pixels, input_ids=ids)
    images, texts = made.image_embeds.numpy(), made.text_embeds.numpy()  # (12, 8) each
    found = Quadruples.of(images[:6], images[6:], texts[:6], texts[6:])
    scores = safeground_scores(found)
    similarity = texts @ images.T  # (12, 12)
    at = np.arange(6)
    assert scores["p_s_t"].value == np.mean(similarity[at, at] > similarity[at, at + 6])
    assert scores["p_u_v"].value == np.mean(similarity[at, at + 6] > similarity[at + 6, at + 6])
    assert all(figure.n == 6 for figure in (*scores.values(), *safeground_recalls(found).values()))
