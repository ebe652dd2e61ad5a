"""Opens public doors of holisafe on hostile inputs, in a process that may be bounded, crash or hang.

Run by `hostile.feeding`: `python doors.py DOOR MEMORY` reads one JSON object a line from standard input (`name`,
`argument`) and writes one a line to standard output: first `{"begun": name}`, then the fields of
`hostile.feeding.Outcome`. An outcome is "good", the name of a `HoliSafeError`, or "FAULT: …" for anything that a
door must not do.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

Door = Callable[[Any], object]
FREE_MIB = 400
"""Growth of the peak of memory that any input may cause beyond what its kind is allowed."""


class Fault(Exception):
    """A door gave a result that is wrong."""


def demand(condition: object, what: str) -> None:
    """Say what is wrong where a condition does not hold."""
    if not condition:
        raise Fault(what)


# ---- what gives results or raises


def open_image(path: str) -> object:
    """An RGB image within the limits; the same pixels through both doors; all by the file's real content."""
    from holisafe import images
    from holisafe.records import ImageRef

    image, digest = images.open_identified(ImageRef("hostile", path=Path(path)))
    demand(image.mode == "RGB" and 0 < image.width * image.height <= images.LIMITS.max_pixels, f"{image!r}")
    demand(digest == images.content_hash(Path(path).read_bytes()), "another file's digest")
    demand(not image.info and not image.getexif(), "metadata are left")
    demand(images.open_image(ImageRef("memory", data=Path(path).read_bytes())).tobytes() == image.tobytes(), "pixels")
    demand(images.pixels_of(ImageRef("x", path=Path(path))) == image.width * image.height, "size in the header")
    return image.size


def scan(path: str) -> object:
    """A row or an error for every item of a place, then those of a good image, which must be there."""
    from holisafe.images.sources import ImageSources
    from holisafe.records import ImageVerdict
    from holisafe.scan.stream import rows_of
    from holisafe.taxonomy import GuardLabel

    verdict = ImageVerdict(GuardLabel.SAFE, 1.0, {GuardLabel.SAFE: 1.0}, 0.5)
    sources = ImageSources([path, _good()])
    count, good, last = 0, 0, None
    for row in rows_of(sources.items(), lambda images: [verdict] * len(images)):  # millions: none is kept
        demand((row.verdict is None) == bool(row.error), f"neither or both: {row!r}"[:200])
        demand("\n" not in row.error and "root:" not in row.error, f"a message: {row.error!r}"[:200])
        row.id.encode()
        count, good, last = count + 1, good + (row.verdict is not None), row
    demand(last is not None and last.id.endswith("good.png") and last.verdict is not None, "what comes after is lost")
    return [count - 1, good - 1]


def _good() -> Path:
    """A good image in the working folder."""
    from PIL import Image

    path = Path("good.png")
    if not path.exists():
        Image.new("RGB", (3, 2), "teal").save(path)
    return path.absolute()


def read_data(path: str) -> object:
    """Good samples whose every text can be written and whose images lie in the folder; problems on one line each."""
    from holisafe import datasets
    from holisafe.records import as_json

    loaded = datasets.read(Path(path))
    ids = [sample.id for sample in loaded.samples]
    demand(len(set(ids)) == len(ids), "ids are not unique")
    for sample in loaded.samples:
        written = json.dumps(as_json.sample_to_json(sample), ensure_ascii=False, allow_nan=False)
        written.encode()
        demand(as_json.sample_from_json(json.loads(written)).id == sample.id, "does not come back")
        demand("\0" not in sample.id and "\n" not in sample.id and sample.id.strip(), f"the id {sample.id!r}")
        root = Path(path if Path(path).is_dir() else Path(path).parent).resolve()
        for image in sample.images:
            demand(image.path is None or image.path.resolve().is_relative_to(root), f"reads {image.path}")
            demand(image.digest, f"no digest of {image.key!r}")
    for problem in loaded.problems:
        demand("\n" not in str(problem), f"a problem of several lines: {str(problem)!r}"[:200])
        demand(len(str(problem)) < 3000, "an endless problem")
        str(problem).encode()
    return [len(loaded.samples), loaded.broken_records]


def score(path: str) -> object:
    """Predictions, read as `holisafe score` reads them."""
    from holisafe import datasets

    return str(type(datasets.read_predictions(path)).__name__)


def read_run(path: str) -> object:
    """A run whose parts fit together, and of whose pictures those can be read that lie in its folder."""
    from holisafe.bench import read_run as read
    from holisafe.errors import ImageError
    from holisafe.images import read_bytes

    run = read(path)
    ids = [sample.id for sample in run.samples]
    demand(ids and len(set(ids)) == len(ids), "ids")
    demand([each.sample_id for each in run.responses] == ids, "answers that are not those of the samples")
    for judgements in run.judgements.values():
        demand([each.sample_id for each in judgements] == ids, "judgements that are not those of the samples")
    for sample in run.samples:
        for image in sample.images:
            try:
                read_bytes(image)
            except ImageError:
                continue
            inside = image.path is not None and image.path.resolve().is_relative_to(Path(path).resolve())
            demand(inside, f"a picture from elsewhere: {image.path}")
    return len(ids)


def command(arguments: list[str]) -> object:
    """A command: exit code 0, 1 or 2, in the last case one line that says why, and never a traceback."""
    from typer.testing import CliRunner

    from holisafe.cli import app

    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    demand(result.exit_code in (0, 1, 2), f"exit code {result.exit_code}")
    demand(len(errors) == (result.exit_code == 2), f"exit code {result.exit_code}, errors {errors}")
    demand("Traceback" not in result.output, result.output[-500:])
    return result.exit_code


# ---- models


_MODELS: dict[str, Any] = {}


def load_guard(argument: list[str]) -> object:
    """A guard for a tiny model, which is as it was where the guard is refused."""
    import torch
    from transformers import LlavaForConditionalGeneration

    from holisafe import guard
    from holisafe.errors import GuardError

    base, folder = argument
    if base not in _MODELS:
        _MODELS[base] = LlavaForConditionalGeneration.from_pretrained(base).eval()
    model = _MODELS[base]
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    try:
        guard.load_guard(model, Path(folder))
    except GuardError:
        after = model.state_dict()
        demand(after.keys() == before.keys(), "the refused guard is still there")
        demand(all(torch.equal(after[key], before[key]) for key in before), "weights were changed")
        raise
    weights = list(guard.guard_of(model).state_dict().values())
    guard.detach_guard(model)
    demand(all(bool(each.isfinite().all()) for each in weights), "weights that are not finite")
    return len(weights)


def load_tuned(folder: str) -> object:
    """A tuned model and its guard, with finite weights."""
    from holisafe.checkpoints.tuned import hash_weights
    from holisafe.models import load

    made = load(folder, device="cpu", guard="own")
    finite = all(bool(each.isfinite().all()) for each in made.model.parameters())
    demand(finite, "weights that are not finite")
    return hash_weights(made.model)


DOORS: dict[str, Door] = {
    door.__name__: door for door in (open_image, scan, read_data, score, read_run, command, load_guard, load_tuned)
}


def answer(door: Door, argument: Any) -> tuple[str, str]:
    """How a door takes an input."""
    from holisafe.errors import HoliSafeError

    try:
        return "good", json.dumps(door(argument))
    except HoliSafeError as error:
        message = str(error)
        if not message.strip() or len(message) > 5000:
            return "FAULT: a message", repr(message)[:200]
        return type(error).__name__, message.encode("utf-8", "backslashreplace").decode()[:500]
    except Fault as error:
        return "FAULT: " + str(error).encode("utf-8", "backslashreplace").decode()[:500], ""
    except BaseException as error:
        return f"FAULT: {type(error).__name__}", "".join(traceback.format_exception(error))[-3000:]


def peak_mib() -> int:
    """Largest memory of this process or of a child of it, in MiB."""
    # its own ru_maxrss begins with that of the process that started it
    status = Path("/proc/self/status").read_text()
    own = int(status.partition("VmHWM:")[2].split()[0])
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) // 1024


def main() -> None:
    """Take inputs until there are no more."""
    door = DOORS[sys.argv[1]]
    warnings.simplefilter("ignore")
    out = sys.stdout
    sys.stdout = sys.stderr
    if sys.argv[1] in ("open_image", "scan", "read_data", "score"):
        import numpy  # noqa: F401  its memory is nobody's fault

        limit_memory(int(sys.argv[2]))
    for line in sys.stdin:
        given = json.loads(line)
        print(json.dumps({"begun": given["name"]}), file=out, flush=True)
        begun = time.monotonic()
        outcome, detail = answer(door, given["argument"])
        seconds = time.monotonic() - begun
        told = {"name": given["name"], "outcome": outcome, "detail": detail, "peak": peak_mib(), "seconds": seconds}
        print(json.dumps(told), file=out, flush=True)


def limit_memory(allowed: int) -> None:
    """Bound the address space to what is in use now and `allowed` bytes more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + allowed
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main()
