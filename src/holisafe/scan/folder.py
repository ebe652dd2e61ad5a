"""What a folder holds that scans were written to: one scan, or the shards of one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holisafe._files import read_json, write_atomically
from holisafe.errors import RunError
from holisafe.images.sources import Shard
from holisafe.scan.parts import FORMAT, MANIFEST, manifest_of, parts_in

DONE = "_done.json"
"""Written once all images have a row."""

ROWS_FOLDER = "rows"
"""Where a scan on Ray keeps its files of rows."""


@dataclass(frozen=True)
class ScanFolder:
    """Rows of a scan, of all its shards.

    Attributes:
        folder: Where they are.
        settings: What verdicts depend on, without the shard.
        parts: Files of rows that are whole.
        missing: Shards that are not there or not complete, such as "1/4"; "0/1" for a scan without shards.
    """

    folder: Path
    settings: Mapping[str, Any]
    parts: tuple[Path, ...]
    missing: tuple[str, ...]

    @classmethod
    def read(cls, folder: str | Path) -> ScanFolder:
        """Find the parts.

        Raises:
            RunError: There is no scan, its manifest is damaged, or its shards are not those of one scan.
        """
        folder = Path(folder)
        scans = [path.parent for path in sorted(folder.glob(f"shard-*/{MANIFEST}"))]
        if (folder / MANIFEST).is_file():
            if scans:
                raise RunError(f"{folder}: holds a scan and {scans[0].name} of another; move one of them away")
            scans = [folder]
        if not scans:
            raise RunError(f"{folder}: no scan in there; expected the --out of `holisafe scan`")
        all_settings = [_settings(scan / MANIFEST) for scan in scans]
        shards = [Shard.parse(str(each.pop("shard", "0/1"))) for each in all_settings]
        for scan, settings in zip(scans, all_settings, strict=True):
            if settings != all_settings[0]:
                raise RunError(f"{scan}: its settings are not those of {scans[0]}; give the shards of one scan")
        count = shards[0].count
        seen: set[Shard] = set()
        for scan, shard in zip(scans, shards, strict=True):
            if shard.count != count or shard in seen:
                why = "is there twice" if shard in seen else f"is not one of {count}"
                raise RunError(f"{scan}: shard {shard.index}/{shard.count} {why}; give the shards of one scan")
            seen.add(shard)
        done = {shard.index for shard, scan in zip(shards, scans, strict=True) if (scan / DONE).is_file()}
        missing = tuple(f"{index}/{count}" for index in range(count) if index not in done)
        return cls(folder, all_settings[0], tuple(part for scan in scans for part in _all_parts(scan)), missing)

    @property
    def places(self) -> list[str]:
        """What was scanned."""
        return [str(place) for place in self.settings.get("places", [])]

    @property
    def labels(self) -> list[str]:
        """The guard's labels."""
        return [str(label) for label in self.settings.get("labels", [])]


def shard_folder(out: Path, shard: Shard) -> Path:
    """Where a part of a scan is written: the folder itself for the only one."""
    return out if shard.count == 1 else out / f"shard-{shard.index:05}-of-{shard.count:05}"


def finish(folder: Path, about: Mapping[str, Any]) -> None:
    """Note that a scan is complete, and of how many files."""
    write_atomically(folder / DONE, json.dumps({**about, "parts": len(_parts(folder))}) + "\n")


def _all_parts(scan: Path) -> list[Path]:
    """The files of a scan, none of which is missing if it was complete."""
    parts, done = _parts(scan), scan / DONE
    if not done.is_file():
        return parts
    about = read_json(done, RunError, follow_links=False)
    count = about.get("parts", len(parts)) if isinstance(about, dict) else None  # older scans do not say
    is_ray = (scan / ROWS_FOLDER).is_dir()
    unnoted = [] if is_ray else [part.name for part in parts if not manifest_of(part).exists()]
    if count != len(parts) or unnoted:
        found = f"{unnoted[0]} without its manifest" if unnoted else f"{len(parts)} files of rows"
        raise RunError(
            f"{scan}: holds {found}, and by {DONE} it was complete with {count}: files were taken away, added or "
            "written over; put them back, or remove what was changed, and --resume scans the rest"
        )
    return parts


def _parts(scan: Path) -> list[Path]:
    from holisafe.scan.on_ray import written_files

    return written_files(scan) if (scan / ROWS_FOLDER).is_dir() else parts_in(scan)


def _settings(manifest: Path) -> dict[str, Any]:
    found = read_json(manifest, RunError, follow_links=False)
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("settings"), dict):
        raise RunError(f"{manifest}: expected the manifest of a scan, of format {FORMAT}")
    settings = dict(found["settings"])
    for name in ("model", "guard"):
        if not isinstance(settings.get(name), str):
            raise RunError(f"{manifest}: settings, {name}: found {_shown(settings.get(name))}, expected a text")
    for name in ("places", "labels"):
        value = settings.get(name, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise RunError(f"{manifest}: settings, {name}: found {_shown(value)}, expected a list of texts")
    return settings


def _shown(value: Any) -> str:
    return json.dumps(value)[:60]
