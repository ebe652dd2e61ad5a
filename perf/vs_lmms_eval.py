"""How much longer lmms-eval takes than `holisafe bench` for the same checkpoint, records and tokens, whole processes.

    python perf/vs_lmms_eval.py --lmms PYTHON [--checkpoint DIR] [--pairs 3] [--out docs/results]

PYTHON is the interpreter of an environment with lmms-eval 0.7.3 (and decord, filelock < 4) and the same torch and
transformers; without it, the script says so and ends. Both load the checkpoint from its folder in float32 on the CPU
with one thread and answer greedily; each process is timed from its start to its end, in turn, and the answers are
compared. holisafe runs twice, with an empty cache folder and again: the first run of a checkpoint tries out image
reuse, later ones know the result. Time is CPU time, which other work on the machine changes little, and by the clock.
lmms-eval's `llava_hf` answers one prompt at a time, which is all that it does for LLaVA.

Without --checkpoint, a LLaVA is put together: the language model of Pocket (SmolLM2-135M) and a CLIP tower with random
weights that makes 196 visual tokens of an image, about as many as small released models have.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from holisafe import datasets
from holisafe.bench import read_run
from holisafe.datasets.export import export_parquet
from holisafe.models import load
from holisafe.records import Sample

TASK = "vs_holisafe"

TASK_YAML = """task: {task}
dataset_path: parquet
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.doc_to_visual
doc_to_text: !function utils.doc_to_text
doc_to_target: "{{{{type}}}}"
process_results: !function utils.process_results
generation_kwargs:
  max_new_tokens: {tokens}
  temperature: 0.0
  do_sample: false
metric_list:
  - metric: answered
    aggregation: mean
    higher_is_better: true
metadata:
  version: 0.0
"""

TASK_CODE = '''"""The task of lmms-eval over a Parquet export of holisafe."""


def doc_to_visual(doc):
    return [doc["image"].convert("RGB")]


def doc_to_text(doc, lmms_eval_specific_kwargs=None):
    return doc["query"]


def process_results(doc, results):
    return {"answered": float(bool(results[0].strip()))}
'''


PAGE = """# Speed beside lmms-eval

`perf/vs_lmms_eval.py` wrote this page. It runs lmms-eval and `holisafe bench` as whole processes, in turn, on the same
checkpoint, records and number of tokens, and compares the answers.

```console
$ python perf/vs_lmms_eval.py --lmms PYTHON --pairs {pairs} --out docs/results
```

Measured {times}: {machine}, float32, torch {torch}, transformers {transformers}, lmms-eval {lmms_eval} (`llava_hf`,
one prompt at a time, which is all that it does for LLaVA); {checkpoint}, questions of HoliSafe-Open. CPU time is user
and system time of the process, start-up and loading included. The first run of a checkpoint tries out which image reuse
is right for it; later ones know.

{rows}

[All numbers](vs-lmms-eval.json). Where three questions share an image, reading it once for all of them saves less than
two thirds of the tokens. With start-up and loading, which stay, a ratio of 3 is out of reach there.
`perf/image_reuse.py` measures answering alone.
"""

HEADS = ("case", "samples", "images", "tokens at most", "same answers", "first run, CPU", "later run, CPU",
         "lmms-eval, CPU", "ratio, first", "ratio, later", "aim")  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        name: Its name.
        images: Number of images.
        questions: Questions about each image.
        tokens: Maximum number of new tokens.
        aim: The ratio that is aimed at.
    """

    name: str
    images: int
    questions: int
    tokens: int
    aim: float


@dataclass(frozen=True)
class Times:
    """Seconds of a process: of the CPU, user and system, and by the clock."""

    cpu: float
    clock: float


FIRST, LATER, THEIRS = "holisafe, first run", "holisafe", "lmms-eval"

CASES = (Case("usual", 8, 3, 16, 1.5), Case("shared images, short answers", 16, 3, 4, 3.0))


def main() -> None:
    options = _options()
    if options.lmms is None or not _has_lmms_eval(options.lmms):
        print("skipped: name the Python of an environment with lmms-eval as --lmms; pip install lmms-eval decord")
        return
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        checkpoint = options.checkpoint or _checkpoint(place / "checkpoint")
        found = [_compared(case, checkpoint, options, place / str(at)) for at, case in enumerate(CASES)]
    result = {
        "machine": f"{platform.machine()}, {options.threads} thread",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "lmms_eval": _version(options.lmms),
        "checkpoint": "as --checkpoint names" if options.checkpoint else "SmolLM2-135M with a random CLIP tower",
        "cases": found,
    }
    print(json.dumps(result, indent=1))
    if options.out is not None:
        (options.out / "vs-lmms-eval.json").write_text(json.dumps(result, indent=1) + "\n")
        (options.out / "vs-lmms-eval.md").write_text(_page(result))


def _compared(case: Case, checkpoint: Path, options: Any, place: Path) -> dict[str, Any]:
    samples = _samples(case)
    place.mkdir()
    data = export_parquet(samples, place, "test")
    (place / "tasks" / TASK).mkdir(parents=True)
    (place / "tasks" / TASK / f"{TASK}.yaml").write_text(TASK_YAML.format(task=TASK, data=data, tokens=case.tokens))
    (place / "tasks" / TASK / "utils.py").write_text(TASK_CODE)
    times: dict[str, list[Times]] = {FIRST: [], LATER: [], THEIRS: []}
    for pair in range(options.pairs):
        commands = {
            FIRST: _ours(checkpoint, data, case, place / f"first-{pair}"),
            LATER: _ours(checkpoint, data, case, place / f"ours-{pair}"),
            THEIRS: _theirs(options.lmms, checkpoint, case, place, place / f"theirs-{pair}"),
        }
        for name in (FIRST, LATER, THEIRS) if pair % 2 == 0 else (THEIRS, FIRST, LATER):
            times[name].append(found := _timed(commands[name], options.threads, place / f"cache-{pair}"))
            print(f"{case.name}, pair {pair + 1}: {name} {found.cpu:.1f} s CPU, {found.clock:.1f} s", flush=True)
    return {
        "case": case.name,
        "samples": len(samples),
        "images": case.images,
        "max_new_tokens": case.tokens,
        "cpu_seconds": {name: [round(each.cpu, 1) for each in found] for name, found in times.items()},
        "clock_seconds": {name: [round(each.clock, 1) for each in found] for name, found in times.items()},
        "ratio_cpu": {
            ours: _ratio([each.cpu for each in times[ours]], [each.cpu for each in times[THEIRS]])
            for ours in (FIRST, LATER)
        },
        "ratio_clock": {
            ours: _ratio([each.clock for each in times[ours]], [each.clock for each in times[THEIRS]])
            for ours in (FIRST, LATER)
        },
        "aim": case.aim,
        "same_answers": _same_answers(samples, place / "ours-0", place / "theirs-0"),
    }


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """How many times longer theirs took, the median over the pairs."""
    return round(statistics.median(their / our for our, their in zip(ours, theirs, strict=True)), 2)


def _page(result: dict[str, Any]) -> str:
    """The results as a page of the documentation."""
    rows: list[Sequence[str]] = [HEADS, ["---", *["---:"] * (len(HEADS) - 1)]]
    for case in result["cases"]:
        cpu = {name: f"{statistics.median(found):.1f} s" for name, found in case["cpu_seconds"].items()}
        ratios = [f"{case['ratio_cpu'][name]:.2f}" for name in (FIRST, LATER)]
        sizes = [str(case[key]) for key in ("samples", "images", "max_new_tokens", "same_answers")]
        rows.append([case["case"], *sizes, cpu[FIRST], cpu[LATER], cpu[THEIRS], *ratios, f"{case['aim']:g}"])
    pairs = len(result["cases"][0]["cpu_seconds"][THEIRS])
    return PAGE.format(
        pairs=pairs,
        times="once" if pairs == 1 else f"in {pairs} pairs, of which the table has the medians",
        rows="\n".join(f"| {' | '.join(row)} |" for row in rows),
        **{key: value for key, value in result.items() if key != "cases"},
    )


def _samples(case: Case) -> list[Sample]:
    """Samples of HoliSafe-Open: the first images that are asked about often enough."""
    groups: dict[str, list[Sample]] = {}
    for sample in datasets.load("open", "test"):
        if len(sample.images) == 1:
            groups.setdefault(sample.images[0].key, []).append(sample)
    chosen = [group[: case.questions] for group in groups.values() if len(group) >= case.questions][: case.images]
    return [sample for group in chosen for sample in group]


def _ours(checkpoint: Path, data: Path, case: Case, out: Path) -> list[str]:
    words = ["bench", checkpoint, "--data", data, "--out", out, "--max-new-tokens", case.tokens, "--device", "cpu"]
    return [sys.executable, "-m", "holisafe", *map(str, words), "--dtype", "float32"]


def _theirs(python: str, checkpoint: Path, case: Case, place: Path, out: Path) -> list[str]:
    arguments = f"pretrained={checkpoint},dtype=float32,device_map=cpu"
    words = ["--model", "llava_hf", "--model_args", arguments, "--tasks", TASK, "--include_path", place / "tasks"]
    words += ["--batch_size", 1, "--device", "cpu", "--output_path", out, "--log_samples"]
    return [python, "-m", "lmms_eval", "eval", *map(str, words)]


def _timed(command: Sequence[str], threads: int, cache: Path) -> Times:
    settings = {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    settings["HOLISAFE_CACHE"] = str(cache)
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[:4])} failed:\n{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Times(cpu, time.perf_counter() - start)


def _same_answers(samples: Sequence[Sample], ours: Path, theirs: Path) -> int:
    """How many answers are the same text."""
    (log,) = theirs.rglob(f"*_samples_{TASK}.jsonl")
    logged = datasets.read_predictions(log, samples).responses
    texts = {response.sample_id: response.text for response in read_run(ours).responses}
    return sum(response.text.strip() == texts[response.sample_id].strip() for response in logged)


def _checkpoint(folder: Path) -> Path:
    """A LLaVA of stock parts, written to a folder."""
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    pocket = load("pocket", dtype="float32")
    text, tokenizer = pocket.model.config.text_config, pocket.processor.tokenizer
    vision = CLIPVisionConfig(
        hidden_size=384,
        intermediate_size=1536,
        num_hidden_layers=12,
        num_attention_heads=6,
        image_size=224,
        patch_size=16,
    )
    image_token = pocket.model.config.image_token_index
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=image_token)
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config)
    model.model.language_model.load_state_dict(pocket.model.model.language_model.state_dict())
    model.lm_head.load_state_dict(pocket.model.lm_head.state_dict())
    model.generation_config = pocket.model.generation_config
    model.save_pretrained(folder)
    LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}),
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        image_token=tokenizer.convert_ids_to_tokens(image_token),
        num_additional_image_tokens=1,
        chat_template=pocket.processor.chat_template,
    ).save_pretrained(folder)
    return folder


def _has_lmms_eval(python: str) -> bool:
    done = subprocess.run([python, "-c", "import lmms_eval"], capture_output=True, check=False)
    return done.returncode == 0


def _version(python: str) -> str:
    code = "import importlib.metadata as m; print(m.version('lmms-eval'))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def _options() -> Any:
    parser = argparse.ArgumentParser(description="Time of lmms-eval over that of holisafe bench, whole processes.")
    parser.add_argument("--lmms", metavar="PYTHON", help="Python of an environment with lmms-eval")
    parser.add_argument("--checkpoint", type=Path, help="folder of a LLaVA; one is put together if not given")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder for vs-lmms-eval.json and vs-lmms-eval.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
