"""Which pictures a report may show: those of the run, and no file of the reader's machine that a run merely names."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from holisafe.records import RUN_FOLDER, ImageRef, Run
from holisafe.report import write_report
from report_runs import draw, make_run, make_samples

PICTURES = 'class="clear"'


def run_about(image: ImageRef, folder: Path | None) -> Run:
    """A run read from `folder` (None: a log alone) that asks about one image."""
    sample = make_samples(1)[0].with_images((image,))
    return make_run(samples=(sample,), **{RUN_FOLDER: str(folder) if folder else ""})


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A picture that belongs to the reader."""
    path = tmp_path / "home" / "private.png"
    path.parent.mkdir()
    path.write_bytes(draw(3))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder with one picture of its own."""
    path = tmp_path / "run"
    (path / "images").mkdir(parents=True)
    (path / "images" / "own.png").write_bytes(draw(4))
    return path


def pictures(run: Run, tmp_path: Path) -> int:
    return write_report([run], tmp_path / "page.html").read_text(encoding="utf-8").count(PICTURES)


def test_files_of_the_run_folder_are_shown(folder: Path, tmp_path: Path) -> None:
    own = ImageRef("own", path=folder / "images" / "own.png", root=folder / "images")
    assert pictures(run_about(own, folder), tmp_path) > 0


@pytest.mark.parametrize("digest", ["", "0" * 64])
def test_a_file_elsewhere_that_the_run_only_names_is_not_shown(
    private: Path, folder: Path, tmp_path: Path, digest: str
) -> None:
    for root in (None, private.parent, Path("/")):
        named = ImageRef("named", path=private, root=root, digest=digest)
        assert pictures(run_about(named, folder), tmp_path) == 0
    assert "not shown, because" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_file_elsewhere_with_the_recorded_content_is_shown(private: Path, folder: Path, tmp_path: Path) -> None:
    known = ImageRef("known", path=private, digest=hashlib.sha256(private.read_bytes()).hexdigest())
    assert pictures(run_about(known, folder), tmp_path) > 0


def test_a_log_alone_shows_no_file_at_all(private: Path, tmp_path: Path) -> None:
    known = ImageRef("known", path=private, digest=hashlib.sha256(private.read_bytes()).hexdigest())
    assert pictures(run_about(known, None), tmp_path) == 0


@pytest.mark.parametrize("link", ["file", "folder"])
def test_a_link_out_of_the_run_folder_is_not_followed(private: Path, folder: Path, tmp_path: Path, link: str) -> None:
    images = folder / "images"
    (images / "own.png").unlink()
    if link == "file":
        (images / "own.png").symlink_to(private)
        path = images / "own.png"
    else:
        images.rmdir()
        images.symlink_to(private.parent)
        path = images / private.name
    named = ImageRef("own", path=path, root=images)
    assert pictures(run_about(named, folder), tmp_path) == 0


def test_a_run_of_this_process_shows_the_files_it_was_made_of(private: Path, tmp_path: Path) -> None:
    run = run_about(ImageRef("mine", path=private), None)
    made_here = replace(run, provenance={key: value for key, value in run.provenance.items() if key != RUN_FOLDER})
    assert pictures(made_here, tmp_path) > 0
