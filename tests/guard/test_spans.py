"""Which positions belong to which image."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from holisafe.errors import GuardError
from holisafe.families import Family
from holisafe.guard._spans import find_images, last_columns, pooling_weights, slots

IMAGE, OPEN, LAST = 9, 8, 7
RUNS = Family("runs", grouping="runs")
FEATURES = Family("features", grouping="features")
TILED = Family("tiled", grouping="boundaries")

images_of_rows = st.lists(st.lists(st.integers(1, 5), max_size=3), min_size=1, max_size=4)
"""Visual tokens of each image of each row."""


def prompts(rows: list[list[int]], gap: int) -> torch.Tensor:
    """Rows of images with `gap` other tokens after each, padded on the left."""
    made = [[0, *(token for count in row for token in [IMAGE] * count + [1] * gap), 2] for row in rows]
    width = max(map(len, made))
    return torch.tensor([[0] * (width - len(row)) + row for row in made])


@given(images_of_rows, st.integers(0, 2))
def test_features_tell_even_adjacent_images_apart(rows: list[list[int]], gap: int) -> None:
    ids = prompts(rows, gap)
    lengths = [count for row in rows for count in row]
    found = find_images(ids, IMAGE, FEATURES, ((), ()), lengths, last_columns(None, *ids.shape[::-1]))
    assert found.counts.tolist() == lengths
    assert found.rows.tolist() == [place for place, row in enumerate(rows) for _ in row]
    assert slots(found).tolist() == [place for row in rows for place in range(len(row))]


@given(images_of_rows, st.integers(1, 2))
def test_unbroken_runs_are_images(rows: list[list[int]], gap: int) -> None:
    ids = prompts(rows, gap)
    found = find_images(ids, IMAGE, RUNS, ((), ()), None, last_columns(None, *ids.shape[::-1]))
    assert found.counts.tolist() == [count for row in rows for count in row]


@given(images_of_rows, st.integers(1, 9))
def test_weights_of_chunks_are_those_of_the_whole_cut_up(rows: list[list[int]], size: int) -> None:
    ids = prompts(rows, 1)
    found = find_images(ids, IMAGE, RUNS, ((), ()), None, last_columns(None, *ids.shape[::-1]))
    whole = pooling_weights(found, 0, found.width, len(rows))
    chunks = [
        pooling_weights(found, start, min(start + size, found.width), len(rows))
        for start in range(0, found.width, size)
    ]
    assert torch.equal(torch.cat(chunks, -1), whole)
    assert torch.equal(whole.sum(1) > 0, ids == IMAGE)
    assert whole.sum(-1)[found.rows, slots(found)].tolist() == found.counts.tolist()


def test_tiles_between_boundaries_are_one_image() -> None:
    row = [0, OPEN, IMAGE, IMAGE, 5, IMAGE, IMAGE, LAST, IMAGE, 3, OPEN, IMAGE, 5, IMAGE, LAST, IMAGE, 2]
    ids = torch.tensor([row])
    found = find_images(ids, IMAGE, TILED, ((OPEN,), (LAST,)), None, torch.tensor([len(row) - 1]))
    assert found.counts.tolist() == [5, 3]


def test_an_image_of_one_tile_closes_by_itself() -> None:
    row = [0, LAST, IMAGE, IMAGE, LAST, IMAGE, 2]
    found = find_images(torch.tensor([row]), IMAGE, TILED, ((OPEN,), (LAST,)), None, torch.tensor([6]))
    assert found.counts.tolist() == [2, 1]


def test_features_that_do_not_fit_the_placeholders_are_refused() -> None:
    ids = torch.tensor([[1, IMAGE, IMAGE, 2]])
    with pytest.raises(GuardError, match="2 image placeholders in the prompts, but 3 visual tokens"):
        find_images(ids, IMAGE, FEATURES, ((), ()), [3], torch.tensor([3]))


def test_an_image_over_two_prompts_is_refused() -> None:
    ids = torch.tensor([[1, IMAGE], [IMAGE, 2]])
    with pytest.raises(GuardError, match="lie in several prompts"):
        find_images(ids, IMAGE, FEATURES, ((), ()), [2], torch.tensor([1, 1]))


@pytest.mark.parametrize(
    ("mask", "ends"),
    [
        (None, [3, 3]),
        (torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]]), [3, 3]),
        (torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]]), [1, 3]),
        (torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]]), [2, 3]),  # two columns are in the cache
        (torch.ones(2, 1, 4, 4), [3, 3]),
        ({"full_attention": torch.ones(2, 1, 4, 4)}, [3, 3]),  # as `generate` makes them for a static cache
    ],
)
def test_a_prompt_ends_where_its_mask_does(mask: object, ends: list[int]) -> None:
    assert last_columns(mask, 4, 2).tolist() == ends
