"""The local model's provider: what tells a checkpoint from another."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from holisafe.bench._provider import LocalVLM


def test_any_file_of_a_checkpoint_tells_it_from_another(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLISAFE_CACHE", str(tmp_path / "cache"))
    copy = Path(shutil.copytree(checkpoint, tmp_path / "copy"))

    def kept(folder: Path, **options: object) -> int:
        model = LocalVLM(str(folder), device="cpu", **options)
        assert model.engine.reuse.way == "prefix"
        model.close()
        return len(list((tmp_path / "cache" / "reuse").iterdir()))

    assert [kept(checkpoint), kept(copy)] == [1, 1]
    template = copy / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    assert kept(copy) == 2
    assert kept(copy, trust_remote_code=True) == 2
