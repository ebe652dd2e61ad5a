import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from holisafe.datasets import load
from holisafe.datasets.open import load_kinds
from holisafe.datasets.open._more import COLLECTIONS, EMOJI, ONLY_FOR_TRAINING, is_for_training
from holisafe.datasets.open.art import load_art
from holisafe.models.pocket._load import load_pocket
from holisafe.models.pocket.training.drawings import ICONS, artworks_of_kinds
from holisafe.models.pocket.training.harm import paint_kinds, read_pictures, shown, store
from holisafe.taxonomy import HEAD_ORDER, GuardLabel

ART = Path(__file__).parents[2] / "datasets" / "open" / "art"
SAFE = HEAD_ORDER.index(GuardLabel.SAFE)


@pytest.fixture(scope="module")
def art_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests' art, with copies of it in place of the collections that are not in the repository."""
    folder = tmp_path_factory.mktemp("art")
    shutil.copytree(ART, folder, dirs_exist_ok=True)
    for name in ONLY_FOR_TRAINING:
        shutil.copytree(ART / "fluent-emoji-flat", folder / name)
    for name in ICONS:
        shutil.copytree(ART / "game-icons", folder / name)
    return folder


def test_further_drawings_are_named_like_a_kind_and_belong_to_training_alone(art_dir: Path) -> None:
    kinds = load_kinds(EMOJI)
    listed = {artwork for kind in kinds.values() for artwork in kind.artworks}
    art = load_art(art_dir, COLLECTIONS)
    found = artworks_of_kinds(art_dir)
    assert {artwork.collection for artwork, _ in found} >= set(ICONS)
    for artwork, kind in found:
        assert artwork.name in (kind, *kinds[kind].synonyms)
        assert artwork.id not in listed
        assert artwork.collection in ICONS or is_for_training(artwork, art)


def test_paintings_are_harmless_of_their_kind_and_the_same_each_time(art_dir: Path) -> None:
    pictures, again = paint_kinds(art_dir, 2), paint_kinds(art_dir, 2)
    found = artworks_of_kinds(art_dir)
    assert len(pictures.images) == 2 * len(found)
    assert set(pictures.labels.tolist()) == {SAFE}
    names = list(load_kinds(EMOJI))
    assert [names[i] for i in pictures.kinds[::2]] == [kind for _, kind in found]
    first, second = pictures.pixels(0, 64), pictures.pixels(1, 64)
    assert first.shape == (64, 64, 3) and not np.array_equal(first, second)
    assert np.array_equal(again.pixels(0, 64), first)


def test_pictures_of_a_set_and_paintings_go_together(art_dir: Path) -> None:
    drawn, painted = read_pictures(load("open", "calibration")), paint_kinds(art_dir, 1)
    both = drawn + painted
    assert len(both.images) == len(both.labels) == len(both.kinds) == len(drawn.images) + len(painted.images)
    assert both.pixels(0, 32).shape == both.pixels(len(drawn.images), 32).shape == (32, 32, 3)
    assert set(drawn.labels.tolist()) > {SAFE}
    assert (drawn.kinds[drawn.labels != SAFE] < 0).all()  # harm is no everyday thing


def test_what_was_stored_of_other_pictures_is_refused(art_dir: Path, tmp_path: Path) -> None:
    for name in ("maps.npy", "tokens.npy"):
        np.save(tmp_path / name, np.zeros((2, 1), np.float16))
    with pytest.raises(SystemExit, match=r"maps\.npy is of 1 pictures, expected \d+; take another --out"):
        store(load_pocket()[0].model.vision_tower, paint_kinds(art_dir, 1), tmp_path)


def test_what_the_tower_says_goes_with_the_name_of_what_it_was_shown(art_dir: Path, tmp_path: Path) -> None:
    tower, pictures = load_pocket()[0].model.vision_tower, paint_kinds(art_dir, 1)
    stored = store(tower, pictures, tmp_path)
    pictures.kinds[0] = -100  # as of several things: it comes last, without a name
    tokens, names = shown(tower.train(), pictures, stored)
    kinds, order = list(load_kinds(EMOJI)), [*range(1, len(pictures.images)), 0]
    assert names == [*(kinds[kind] for kind in pictures.kinds[1:]), None]
    expected = torch.from_numpy(stored.tokens[order].astype(np.float32))
    assert (tokens.float() - expected).abs().mean() < 0.1 * expected.abs().mean()
