"""What Inspect finds under the entry point `inspect_ai`: tasks, judges as scorers, and the provider of local models.

inspect eval holisafe/open --model holisafe/pocket
inspect eval holisafe/holisafe_bench -T data=PATH --model openai/gpt-4o
inspect score LOG --scorer holisafe/refusal
"""

from __future__ import annotations

from inspect_ai import Task, task
from inspect_ai.model import ModelAPI, modelapi

from holisafe.bench._scorers import rates, register_scorers
from holisafe.bench._task import build_task
from holisafe.datasets import load, stratified

__all__ = ["holisafe", "holisafe_bench", "open", "rates"]

HUB_ID = "etri-vilab/holisafe-bench"

register_scorers()


@task
def open(
    split: str = "test",
    limit: int | None = None,
    judge: str | list[str] = "holisafe",
    max_new_tokens: int = 512,
    seed: int = 0,
) -> Task:
    """HoliSafe-Open: drawn images, all five combinations, twins.

    Args:
        split: train, calibration, test or transfer.
        limit: Stratified limit on the number of samples.
        judge: One judge, or several separated by commas.
        max_new_tokens: Maximum number of new tokens per answer.
        seed: Seed of the draw where a limit is set, and of models that take one.
    """
    return _task("open", "open", split, limit, judge, max_new_tokens, seed)


@task
def holisafe_bench(
    data: str = HUB_ID,
    split: str = "test",
    limit: int | None = None,
    judge: str | list[str] = "holisafe",
    max_new_tokens: int = 512,
    seed: int = 0,
) -> Task:
    """HoliSafe-Bench, from its released files, a Parquet export or the Hub.

    Args:
        data: Path or Hub id.
        split: The split, where the data have splits.
        limit: Stratified limit on the number of samples.
        judge: One judge, or several separated by commas.
        max_new_tokens: Maximum number of new tokens per answer.
        seed: Seed of the draw where a limit is set, and of models that take one.
    """
    return _task("holisafe_bench", data, split, limit, judge, max_new_tokens, seed)


@modelapi(name="holisafe")
def holisafe() -> type[ModelAPI]:
    """Local vision-language models."""
    from holisafe.bench._provider import LocalVLM

    return LocalVLM


def _task(
    name: str, data: str, split: str, limit: int | None, judge: str | list[str], max_new_tokens: int, seed: int
) -> Task:
    samples = load(data, split)
    chosen = stratified(samples, limit, seed) if limit is not None else samples
    judges = judge.split(",") if isinstance(judge, str) else judge  # Inspect's command line splits at commas
    return build_task(chosen, judges, name=name, max_new_tokens=max_new_tokens, seed=seed)
