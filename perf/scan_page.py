"""The page about scans, and the estimate on paper; perf/scan.py runs these."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

LAION_IMAGES = 5_850_000_000
"""Pairs of LAION-5B (laion.ai/blog/laion-5b)."""


def paper(found: Mapping[str, Any], options: Any) -> dict[str, Any]:
    """What LAION-5B would take, from what was measured and the assumptions among the options."""
    speed = found["features"]["images_per_processor_s"]
    again = found["features"]["from_features_per_processor_s"]
    row = found["growth"]["bytes_per_row"]
    kept = found["features"]["bytes_per_row_with_features"]
    tib = LAION_IMAGES * options.kib_per_image / 2**30
    core_days = LAION_IMAGES / speed / 86400
    gpu_days = LAION_IMAGES / options.gpu_images_per_s / 86400
    decode = found["decode"]["images_per_processor_s"] if "decode" in found else None
    return {
        "images": LAION_IMAGES,
        "assumed": {
            "kib_per_image": options.kib_per_image,
            "price_per_core_hour": options.price_per_hour,
            "price_per_gib_month": options.price_per_gib_month,
            "gpu_images_per_s": options.gpu_images_per_s,
            "gpu_price_per_hour": options.gpu_price_per_hour,
        },
        "pocket_core_days": round(core_days),
        "pocket_money": round(core_days * 24 * options.price_per_hour),
        "gpu_days": round(gpu_days, 1),
        "gpu_money": round(gpu_days * 24 * options.gpu_price_per_hour),
        "decode_cores_per_gpu": None if decode is None else round(options.gpu_images_per_s / decode, 1),
        "image_tib": round(tib, 1),
        "gbit_per_s_per_gpu": round(options.gpu_images_per_s * options.kib_per_image * 1024 * 8 / 1e9, 2),
        "rows_gib": round(LAION_IMAGES * row / 2**30),
        "features_gib": round(LAION_IMAGES * kept / 2**30),
        "features_money_per_month": round(LAION_IMAGES * kept / 2**30 * options.price_per_gib_month),
        "again_core_days": round(LAION_IMAGES / again / 86400, 1),
        "again_money": round(LAION_IMAGES / again / 3600 * options.price_per_hour),
        "jobs_of_10_million": -(-LAION_IMAGES // 10_000_000),
    }


def page(found: Mapping[str, Any]) -> str:
    """The results as Markdown, by scan_page.md.j2; a section that was not run is not there."""
    template = Path(__file__).with_name("scan_page.md.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    return environment.from_string(template).render({name.replace("-", "_"): each for name, each in found.items()})
