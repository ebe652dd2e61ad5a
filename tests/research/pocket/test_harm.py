"""Safe Pocket's first stage: what its tower is shown, and that it learns from it."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from research.holisafe_open.further import ICONS, bare_name
from research.holisafe_open.kinds import load_kinds
from research.holisafe_open.more import COLLECTIONS, EMOJI, ONLY_FOR_TRAINING, is_for_training
from research.pocket.augment import Augment
from research.pocket.cutouts import GROUND, HELD_OUT, SIDE, choose, cutout, grounds, read_cutouts
from research.pocket.harm import (
    IGNORED,
    KINDS,
    Learner,
    Seen,
    cutouts_of,
    first_half,
    held_out,
    read_pictures,
    rendered,
    resting_half,
    second_half,
    train,
)
from research.pocket.names import shown

from holisafe.datasets import load
from holisafe.models.pocket._load import load_pocket
from holisafe.taxonomy import HEAD_ORDER, GuardLabel
from research.holisafe_open.art import load_art, split_of
from research.pocket import harm

pytestmark = pytest.mark.slow

ART = Path(__file__).parents[2] / "research" / "holisafe_open" / "art"
SAFE = HEAD_ORDER.index(GuardLabel.SAFE)


@pytest.fixture(scope="module")
def art_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests' art, with copies of it in place of the collections that are not in the repository."""
    folder = tmp_path_factory.mktemp("art")
    shutil.copytree(ART, folder, dirs_exist_ok=True)
    for name in (*ONLY_FOR_TRAINING, *ICONS):
        shutil.copytree(ART / "fluent-emoji-flat", folder / name)
    return folder


@pytest.fixture(scope="module")
def chosen(art_dir: Path) -> list[Any]:
    return choose(load_art(art_dir, COLLECTIONS))


@pytest.fixture(scope="module")
def cutouts(chosen: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every tenth cutout, those held out, and the grounds."""
    few = [each for i, each in enumerate(chosen) if i % 10 == 0 or each[1] == HELD_OUT]
    rows = [row for row in map(cutout, few) if row is not None]
    path = tmp_path_factory.mktemp("cutouts") / "cutouts.parquet"
    pq.write_table(pa.Table.from_pylist([*rows, *grounds()]), path)
    return path


@pytest.fixture(scope="module")
def seen(cutouts: Path) -> Seen:
    rows, pixels = read_cutouts(cutouts, "train")
    samples = load("open", "calibration")[:60]
    return Seen(
        pictures=read_pictures(samples, {}, SIDE),
        cutouts=cutouts_of(rows, torch.from_numpy(pixels), torch.device("cpu")),
        has_one_colour=torch.tensor([row["has_one_colour"] for row in rows]),
        grounds=torch.from_numpy(read_cutouts(cutouts, GROUND)[1])[:, :3],
    )


def test_a_cutout_is_of_its_kind_or_of_a_harm_and_of_training_or_held_out(art_dir: Path, chosen: list[Any]) -> None:
    kinds, art = load_kinds(EMOJI), load_art(art_dir, COLLECTIONS)
    assert {artwork.collection for artwork, *_ in chosen} >= {"game-icons", "emojione", *ICONS}
    assert {label for _, _, label, kind in chosen if not kind} >= {"drug_related_hazards", "terrorism"}
    for artwork, split, label, kind in chosen:
        assert (label == "safe") is (kind != "")
        if kind and artwork.id not in kinds[kind].artworks:
            assert bare_name(artwork) in (kind, *kinds[kind].synonyms)
        assert is_for_training(artwork, art) if split == "train" else split_of(artwork) == split


def test_cutouts_are_read_as_they_were_drawn(cutouts: Path) -> None:
    for split, least in (("train", 20), (GROUND, 50)):
        rows, pixels = read_cutouts(cutouts, split)
        assert len(rows) == len(pixels) >= least and pixels.shape[1:] == (4, SIDE, SIDE)
        assert pixels[:, 3].max() == 255
    assert (read_cutouts(cutouts, GROUND)[1][:, 3] == 255).all()


def test_a_placed_cutout_is_seen_before_a_ground_and_otherwise_each_time(seen: Seen) -> None:
    few = seen.cutouts.pixels[:1].repeat(8, 1, 1, 1)
    one_colour = torch.zeros(8, dtype=torch.bool)
    placed = Augment(seen.grounds, 0).place(few, one_colour)
    assert placed.shape == (8, 3, SIDE, SIDE) and placed.min() >= 0 and placed.max() <= 255
    assert torch.equal(placed, Augment(seen.grounds, 0).place(few, one_colour))
    assert not torch.equal(placed, Augment(seen.grounds, 1).place(few, one_colour))
    nothing = Augment(seen.grounds, 0).place(torch.zeros_like(few), one_colour)
    assert ((placed - nothing).abs().amax(1) > 20).float().mean((1, 2)).min() > 0.02


def test_a_batch_is_half_pictures_half_cutouts_with_their_labels(seen: Seen) -> None:
    pixels, labels, kinds = rendered(seen, Augment(seen.grounds, 0), 32, torch.Generator().manual_seed(0))
    assert pixels.shape == (32, 3, SIDE, SIDE)
    assert set(kinds[:16].tolist()) == {IGNORED}  # no artwork was named for these pictures
    of_cutouts = {(int(a), int(b)) for a, b in zip(seen.cutouts.labels, seen.cutouts.kinds, strict=True)}
    assert {(int(a), int(b)) for a, b in zip(labels[16:], kinds[16:], strict=True)} <= of_cutouts
    assert (kinds[labels != SAFE] == IGNORED).all()  # harm is no everyday thing


def test_pictures_know_the_kind_of_the_artwork_they_show_alone() -> None:
    samples = [sample for sample in load("open", "calibration") if sample.image_labels[0] == "safe"]
    artwork = (samples[0].source or "").removeprefix("HoliSafe-Open: ")
    pictures = read_pictures(samples, {artwork: "carrot"}, 32)
    assert set(pictures.kinds.tolist()) == {IGNORED, KINDS.index("carrot")}
    assert len(pictures.labels) == len({sample.images[0].key for sample in samples})


def test_both_halves_together_are_the_tower(seen: Seen) -> None:
    tower = load_pocket()[0].model.vision_tower
    pixels = seen.pictures.pixels[:4].float()
    with torch.inference_mode():
        found = second_half(tower, first_half(resting_half(tower), pixels))
        expected = tower((pixels - 127) / 128).last_hidden_state
    assert (found - expected).abs().mean() < 0.1 * expected.abs().mean()


class Cut(Exception):
    """The power went."""


def test_it_learns_near_what_it_said_and_goes_on_to_the_same_weights(
    seen: Seen, cutouts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"start": "pocket", "steps": 4, "batch": 8, "rate": 1e-3, "seed": 0}

    def learned(name: str) -> tuple[Learner, list[dict[str, float]]]:
        torch.manual_seed(0)
        learner = Learner(load_pocket()[0].model.vision_tower, len(KINDS))
        return train(learner, seen, tmp_path / name, settings, every=2)

    def failing(seen: Seen, augment: Augment, count: int, generator: torch.Generator) -> Any:
        if (tmp_path / "parts.pt").exists():
            raise Cut
        return rendered(seen, augment, count, generator)

    whole, history = learned("whole.pt")
    with monkeypatch.context() as patch:
        patch.setattr(harm, "rendered", failing)
        with pytest.raises(Cut):
            learned("parts.pt")
    again, same = learned("parts.pt")
    assert same == history and [each["step"] for each in history] == [2, 4]
    assert all(torch.equal(each, again.state_dict()[name]) for name, each in whole.state_dict().items())
    before = load_pocket()[0].model.vision_tower.state_dict()
    moved = {name for name, each in whole.tower.state_dict().items() if not torch.equal(each, before[name])}
    assert moved and all(not name.startswith(("_conv_stem", "_blocks.0.", "_blocks.7.")) for name in moved)
    found = held_out(whole, cutouts, seen.grounds, renderings=1)
    assert set(found) == {f"{what}: {figure}" for what in ("cutouts", "pictures")
                          for figure in ("kinds right", "labels right", "F1")}  # fmt: skip
    with pytest.raises(SystemExit, match="was made with"):
        train(whole, seen, tmp_path / "whole.pt", {**settings, "rate": 1e-4})


def test_the_projector_is_shown_what_the_tower_now_says_and_what_was_said_before(seen: Seen) -> None:
    before, now = load_pocket()[0], load_pocket()[0]
    with torch.no_grad():
        now.model.vision_tower._bn1.bias += 1.0
    projector = now.model.multi_modal_projector
    views = shown(seen, before.model.vision_tower, now.model.vision_tower, projector, 6, 0)
    drawn = rendered(seen, Augment(seen.grounds, 0), 6, torch.Generator().manual_seed(0))
    with torch.inference_mode():
        maps = first_half(resting_half(before.model.vision_tower), drawn[0])
        kept = projector(second_half(before.model.vision_tower, maps))
    for name, label, kind in zip(views.names.tolist(), drawn[1].tolist(), drawn[2].tolist(), strict=True):
        assert name == (kind if kind >= 0 else len(KINDS) + label if label != SAFE else IGNORED)
    torch.testing.assert_close(views.kept.float(), kept, atol=0.02, rtol=0.01)
    said = second_half(now.model.vision_tower, maps)
    torch.testing.assert_close(views.tokens.float(), said, atol=0.02, rtol=0.01)
    assert not torch.allclose(said, second_half(before.model.vision_tower, maps), atol=0.1)
