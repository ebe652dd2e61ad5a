"""Verdicts from features that a scan kept: another guard judges a corpus without its images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from holisafe.errors import GuardError, RunError
from holisafe.scan.folder import ScanFolder
from holisafe.scan.kept import check_part, readable
from holisafe.scan.parts import PartsFolder
from holisafe.scan.scanner import Scanner

_COPIED = ("image", "digest", "key")


def check_same_vision(scan: ScanFolder, scanner: Scanner) -> None:
    """Refuse a guard that the features of a scan do not serve.

    Raises:
        RunError: The scan kept no features.
        GuardError: They come from another vision encoder or projector than the guard's model has, or the guard needs
            more than their mean.
    """
    from holisafe.guard.vectors import check_reads_vectors, vision_digest

    kept = scan.settings.get("vision_sha256")
    if not scan.settings.get("features") or not kept:
        raise RunError(f"{scan.folder}: holds no features; scan the images with --keep features")
    model, processor = scanner.loaded()
    check_reads_vectors(model)
    found = vision_digest(model, processor)
    if found != kept:
        raise GuardError(
            f"{scan.folder}: its features come from the vision encoder and projector of {scan.settings.get('model')} "
            f"(sha256 {str(kept)[:12]}…), and those of {scanner.model} differ (sha256 {found[:12]}…) in weights, dtype "
            "or settings of the image processor; give the --model and --dtype of that scan, or scan the images again"
        )


def rescan(
    scan: ScanFolder, scanner: Scanner, out: PartsFolder, is_ending: Callable[[], object] = lambda: False
) -> Iterator[pa.Table]:
    """Judge what a scan kept; one part is written per part of the scan. Lazy.

    Args:
        scan: A scan with features.
        scanner: The model with the new guard.
        out: Where rows are kept; open. Parts that it has are not judged again.
        is_ending: Asked after each part; once true, it ends there.

    Yields:
        The rows of each part, once they are kept.

    Raises:
        RunError: A part is damaged, not as it was written, or its features are not those of one projector.
    """
    labels, about = scanner.labels(), scanner.about()
    for part in scan.parts[len(out.parts()) :]:
        check_part(part, ["image", "digest", "error", "features"])
        with readable(part):
            table = pq.read_table(part, columns=[*_there(part, _COPIED), "error", "features"])
            vectors = _vectors(table["features"].combine_chunks())
        judged = _judged(table, vectors, scanner, labels, about, out.schema)
        out.add_table(judged)
        yield judged
        if is_ending():
            return


def _there(part: Any, columns: Sequence[str]) -> list[str]:
    names = pq.read_schema(part).names
    return [column for column in columns if column in names]


def _judged(
    table: pa.Table,
    vectors: npt.NDArray[np.float16],
    scanner: Scanner,
    labels: Sequence[str],
    about: dict[str, Any],
    schema: pa.Schema,
) -> pa.Table:
    from holisafe.guard import calibration_of
    from holisafe.guard.vectors import vector_probabilities

    is_kept = np.asarray(table["features"].combine_chunks().is_valid())
    model, _ = scanner.loaded()
    probabilities = vector_probabilities(model, vectors)  # (kept rows, labels)
    is_finite = np.isfinite(probabilities).all(-1)
    is_judged = is_kept.copy()
    is_judged[is_kept] = is_finite
    columns = _verdicts(probabilities[is_finite], labels, calibration_of(model).threshold, about)
    place = np.cumsum(is_judged) - 1
    picked = pa.array(place, mask=~is_judged)
    found = {name: column.take(picked) for name, column in columns.items()}
    found |= {name: table[name] for name in _COPIED if name in table.column_names}
    found["error"] = _errors(table["error"].to_pylist(), is_judged)
    rows = table.num_rows
    return pa.table({field.name: found.get(field.name, pa.nulls(rows, field.type)) for field in schema}, schema=schema)


def _vectors(features: Any) -> npt.NDArray[np.float16]:
    """The features that were kept, (kept rows, width)."""
    lengths = pc.unique(pc.list_value_length(features).drop_null()).to_pylist()
    if len(lengths) > 1:
        raise ValueError(f"features of {' and '.join(map(str, sorted(lengths)))} numbers in one part")
    flat = np.asarray(features.flatten().to_numpy(zero_copy_only=False), dtype=np.float16)
    return flat.reshape(-1, lengths[0]) if lengths and lengths[0] else np.zeros((0, 0), np.float16)


def _verdicts(
    probabilities: npt.NDArray[np.float64], labels: Sequence[str], threshold: float, about: dict[str, Any]
) -> dict[str, pa.Array]:
    """The columns of `ImageVerdict.to_json`, for rows of probabilities (images, labels)."""
    rows = len(probabilities)
    best = probabilities.argmax(-1) if rows else np.zeros(0, dtype=np.int64)
    safe = labels.index("safe")
    unsafe = 1.0 - probabilities[:, safe]
    return {
        "label": pa.array(np.asarray(labels, dtype=object)[best], pa.string()),
        "probability": pa.array(probabilities[np.arange(rows), best]),
        "distribution": pa.StructArray.from_arrays(
            [pa.array(probabilities[:, place]) for place in range(len(labels))], names=list(labels)
        ),
        "unsafe": pa.array(unsafe),
        "threshold": pa.array(np.full(rows, threshold)),
        "flagged": pa.array(unsafe >= threshold),
        "calibrated": pa.array(np.full(rows, bool(about["calibrated"]))),
        "made_for": pa.array([about.get("made_for")] * rows, pa.string()),
    }


def _errors(errors: Sequence[str | None], is_judged: npt.NDArray[np.bool_]) -> pa.Array:
    unkept = "no features were kept of this image, which are beyond float16 or not finite; scan the image itself"
    return pa.array(
        [None if judged else error or unkept for error, judged in zip(errors, is_judged, strict=True)], pa.string()
    )
