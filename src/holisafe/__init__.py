"""holisafe: measure, guard and tune vision-language models against harm in image, text, or only the two together.

    import holisafe

    model, processor = holisafe.load("pocket-safe", guard="own")
    run = holisafe.measure("pocket-safe", data="open", limit=200)

Importing the package loads neither torch nor Inspect: names that need them are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holisafe._lazy import lazy
from holisafe._version import __version__
from holisafe.errors import HoliSafeError
from holisafe.records import (
    Behaviour,
    GuardVerdict,
    ImageRef,
    ImageVerdict,
    JudgeId,
    Judgement,
    Outcome,
    RequestVerdict,
    Response,
    Role,
    Run,
    Sample,
    Turn,
)
from holisafe.taxonomy import UNSAFE_COMBINATIONS, Category, Combination, GuardLabel, Subcategory

if TYPE_CHECKING:
    from holisafe.bench import measure, read_run
    from holisafe.blind import blind_baselines
    from holisafe.calibration import calibrate
    from holisafe.guard import (
        DecideBy,
        GuardConfig,
        Policy,
        attach_guard,
        classify_images,
        detach_guard,
        guarded_generate,
        load_guard,
        save_guard,
    )
    from holisafe.models import ModelSpec, load
    from holisafe.report import write_report
    from holisafe.tuning import TuneConfig, tune

__all__ = [
    "UNSAFE_COMBINATIONS",
    "Behaviour",
    "Category",
    "Combination",
    "DecideBy",
    "GuardConfig",
    "GuardLabel",
    "GuardVerdict",
    "HoliSafeError",
    "ImageRef",
    "ImageVerdict",
    "JudgeId",
    "Judgement",
    "ModelSpec",
    "Outcome",
    "Policy",
    "RequestVerdict",
    "Response",
    "Role",
    "Run",
    "Sample",
    "Subcategory",
    "TuneConfig",
    "Turn",
    "__version__",
    "attach_guard",
    "blind_baselines",
    "calibrate",
    "classify_images",
    "detach_guard",
    "guarded_generate",
    "load",
    "load_guard",
    "measure",
    "read_run",
    "save_guard",
    "tune",
    "write_report",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "DecideBy": "holisafe.guard",
        "GuardConfig": "holisafe.guard",
        "ModelSpec": "holisafe.models",
        "Policy": "holisafe.guard",
        "TuneConfig": "holisafe.tuning",
        "attach_guard": "holisafe.guard",
        "blind_baselines": "holisafe.blind",
        "calibrate": "holisafe.calibration",
        "classify_images": "holisafe.guard",
        "detach_guard": "holisafe.guard",
        "guarded_generate": "holisafe.guard",
        "load": "holisafe.models",
        "load_guard": "holisafe.guard",
        "measure": "holisafe.bench",
        "read_run": "holisafe.bench",
        "save_guard": "holisafe.guard",
        "tune": "holisafe.tuning",
        "write_report": "holisafe.report",
    },
)
