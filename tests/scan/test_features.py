from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import tiny_models
from holisafe.errors import GuardError, RunError
from holisafe.guard import GuardConfig, attach_guard, save_guard
from holisafe.scan import PartsFolder, Scanner, Units, scan_here
from holisafe.scan.features import check_same_vision, rescan
from holisafe.scan.folder import ScanFolder
from holisafe.scan.rows import row_schema
from scan.corpus import guarded, pack, png


def scanned(scanner: Scanner, place: Path, out: Path) -> ScanFolder:
    schema = row_schema(scanner.labels(), key=True, features=scanner.features)
    parts = PartsFolder(out, scanner.labels(), scanner.settings() | {"places": [str(place)]}, schema=schema)
    with parts.open():
        assert list(scan_here(Units([str(place)]), scanner, parts))
    return ScanFolder.read(out)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return guarded(tmp_path_factory.mktemp("model"), pooling="attention")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    files = [(f"{place}.png", png(37 * place, (20 + place, 20))) for place in range(12)]
    pack(folder / "x.tar", [*files, ("bad.png", b"<html>")])
    return folder


def new_guard(model: str, folder: Path, seed: int = 1, **config: object) -> str:
    """Another guard of a saved model."""
    from holisafe.models import load

    loaded, _ = load(model)
    torch.manual_seed(seed)
    attach_guard(loaded, GuardConfig.paper(**({"features": "projector"} | config)))  # type: ignore[arg-type]
    save_guard(loaded, folder)
    return str(folder)


def test_another_guard_says_of_features_what_it_says_of_images(model: str, corpus: Path, tmp_path: Path) -> None:
    kept = scanned(Scanner(model, features=True), corpus, tmp_path / "kept")
    new = Scanner(model, new_guard(model, tmp_path / "new"))
    check_same_vision(kept, new)
    again = PartsFolder(tmp_path / "again", new.labels(), {}, schema=row_schema(new.labels(), key=True))
    with again.open():
        assert sum(table.num_rows for table in rescan(kept, new, again)) == 13
    direct = pq.read_table(scanned(new, corpus, tmp_path / "direct").parts[0])
    found = pq.read_table(again.parts()[0])
    for column in ("image", "digest", "key", "error", "label", "flagged", "calibrated", "threshold"):
        assert found[column].to_pylist() == direct[column].to_pylist(), column
    for column in ("unsafe", "probability"):
        assert np.allclose(found[column].to_pylist()[:12], direct[column].to_pylist()[:12], atol=2e-3)
    assert found["distribution"].to_pylist()[0].keys() == direct["distribution"].to_pylist()[0].keys()
    assert found["distribution"].to_pylist()[12] is None or found["error"].to_pylist()[12]


def test_features_of_another_vision_side_are_refused(model: str, corpus: Path, tmp_path: Path) -> None:
    kept = scanned(Scanner(model, features=True), corpus, tmp_path / "kept")
    other = tiny_models.llava()
    with torch.no_grad():
        next(iter(other.model.model.multi_modal_projector.parameters())).add_(0.01)
    tiny_models.save(other, tmp_path / "other")
    attach_guard(other.model, GuardConfig.paper(features="projector"))
    save_guard(other.model, tmp_path / "other/guard")
    with pytest.raises(GuardError, match=r"vision encoder and projector .* differ"):
        check_same_vision(kept, Scanner(str(tmp_path / "other")))


def test_guards_that_the_mean_does_not_suffice_are_refused(model: str, corpus: Path, tmp_path: Path) -> None:
    kept = scanned(Scanner(model, features=True), corpus, tmp_path / "kept")
    with pytest.raises(GuardError, match='pooling="attention"'):
        check_same_vision(kept, Scanner(model))
    language = new_guard(model, tmp_path / "language", features="language")
    with pytest.raises(GuardError, match='reads features="language"'):
        check_same_vision(kept, Scanner(model, language))
    with pytest.raises(GuardError, match='reads features="language"'):
        Scanner(model, language, features=True).loaded()
    plain = scanned(Scanner(model), corpus, tmp_path / "plain")
    with pytest.raises(RunError, match="--keep features"):
        check_same_vision(plain, Scanner(model, new_guard(model, tmp_path / "new")))


def test_judging_again_resumes_at_the_next_part(model: str, tmp_path: Path) -> None:
    for shard in range(3):
        pack(tmp_path / f"set/{shard}.tar", [(f"{shard}{place}.png", png(shard * 7 + place)) for place in range(4)])
    first = Scanner(model, features=True)
    schema = row_schema(first.labels(), key=True, features=True)
    parts = PartsFolder(tmp_path / "kept", first.labels(), first.settings(), schema=schema)
    with parts.open():
        for count, _ in enumerate(scan_here(Units([str(tmp_path / "set")]), first, parts), 1):
            if count % 4 == 0:
                parts.flush()
    kept = ScanFolder.read(tmp_path / "kept")
    new = Scanner(model, new_guard(model, tmp_path / "new"))
    schema = row_schema(new.labels(), key=True)
    with PartsFolder(tmp_path / "out", new.labels(), {}, schema=schema).open() as out:
        next(rescan(kept, new, out))
    with PartsFolder(tmp_path / "out", new.labels(), {}, schema=schema).open(resume=True) as out:
        assert [table.num_rows for table in rescan(kept, new, out)] == [4, 4]
        assert out.rows == 12
