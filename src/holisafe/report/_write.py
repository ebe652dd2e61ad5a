"""The report: one HTML file that fetches nothing but the blurred images in the folder beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from holisafe.records import Run
from holisafe.report._file import make_place, put
from holisafe.report._page import render
from holisafe.report._table import judge_rows
from holisafe.report._thumbnail import Pictures


def write_report(runs: Sequence[Run], out: str | Path, *, title: str | None = None, share: bool = False) -> Path:
    """Write a page about one or more runs, safe to open in a shared room.

    The page is one file of at most 5 MB, with the figures, and every sample as text that its script searches. Images
    are blurred files in a folder beside it, named after it: "mine_images" beside "mine.html". Epochs of one run are
    one row with both kinds of spread. Runs that share samples are compared with the first. Where an image cannot be
    shown, the reason is. Of a run that was read from a disk, only files of its own folder are shown, and files whose
    content is what the run recorded.

    Args:
        runs: The runs; two of the same name are numbered.
        out: The file, put in place whole; its folder is made if missing.
        title: Heading; if not given, the names of one or two runs, or the number of more.
        share: Leave out images, questions, answers and what judges and providers said of them, and the folder: only
            figures, outcomes and names of samples are left.

    Returns:
        `out`, as a path.

    Raises:
        RunError: There is no run, one holds no judgements, or `out` cannot be written.
    """
    judged = judge_rows(runs)
    place = make_place(out)
    pictures = Pictures(place.parent / f"{place.stem}_images")
    put(place, render(judged, title, None if share else pictures))
    pictures.remove_others()
    return place
