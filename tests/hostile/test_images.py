"""Hostile images through the one door and a scan: an RGB image or a typed error, in bounded memory and time."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from hostile import doors, images
from hostile.feeding import content_of, feed

SEED = 28


def test_deliberate_images_open_or_are_refused(tmp_path: Path) -> None:
    made = list(images.deliberate())
    wanted = {image.name: image.is_good for image in made}
    paths = images.write(iter(made), tmp_path / "images")
    assert len(paths) == len(wanted) > 200
    found = feed(doors.open_image, [(name, str(path)) for name, path in paths.items()], tmp_path, seed=SEED)
    wrong = [each for name, each in found.items() if wanted[name] not in (None, each.is_good)]
    assert not wrong, wrong


def test_images_damaged_at_random_open_or_are_refused(tmp_path: Path) -> None:
    damaged = (images.damaged_image(SEED, index) for index in range(400))
    paths = images.write(damaged, tmp_path / "images")
    found = feed(doors.open_image, [(name, str(path)) for name, path in paths.items()], tmp_path, seed=SEED)
    assert {each.outcome for each in found.values()} == {"good", "ImageError"}


@pytest.mark.bulk
@pytest.mark.parametrize("seed", range(5))
def test_thousands_of_images_damaged_at_random_open_or_are_refused(seed: int, tmp_path: Path) -> None:
    paths = images.write((images.damaged_image(seed, index) for index in range(2000)), tmp_path / "images")
    feed(doors.open_image, [(name, str(path)) for name, path in paths.items()], tmp_path, seed=seed, seconds=500)


def test_a_scan_gives_a_row_for_every_hostile_image_of_a_folder(tmp_path: Path) -> None:
    some = islice(images.corpus(SEED, 200), 0, None, 6)
    paths = images.write(some, tmp_path / "images")
    before = content_of(tmp_path / "images")
    found = feed(doors.scan, [("all", str(tmp_path / "images"))], tmp_path, seed=SEED)
    rows, good = map(int, found["all"].detail.strip("[]").split(","))
    assert rows == len(paths) and 0 < good < rows
    assert content_of(tmp_path / "images") == before
