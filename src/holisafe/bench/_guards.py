"""Guard models beside a run: each is shown every request, and its verdicts are kept as they come.

`--guard NAME:SOURCE` names one. SOURCE is a folder or a Hub id, whose checkpoint is loaded on this machine; one of
Inspect's models (`vllm/ORG/NAME`); or the address of an OpenAI-compatible server, with the model behind a hash:
`http://127.0.0.1:8000/v1#ORG/NAME`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from inspect_ai.model import GenerateConfig, Model
from inspect_ai.util import LimitExceededError

from holisafe.bench._ask import inspect_ask
from holisafe.bench._evaluate import open_model
from holisafe.bench._hosted import in_loop
from holisafe.bench._journal import GuardVerdicts
from holisafe.bench._names import LOCAL, inspect_name
from holisafe.bench._spending import GUARD, Spending, unpaid
from holisafe.errors import GuardError, MissingDependencyError, RunError
from holisafe.judges import Ask
from holisafe.judges.guard_models import (
    ANY_GUARDRAIL,
    AnyGuardrailGuard,
    Guard,
    ModelGuard,
    check_guard_checkpoint,
    guard_model,
    local_guard,
)
from holisafe.records import GuardModelVerdict, Sample
from holisafe.taxonomy import Combination

AT_ONCE = 10
"""Requests that an endpoint is shown at the same time."""

KEY = "HOLISAFE_GUARD_KEY"
"""Variable of the environment with the key of a guard's server given by its address; servers without one need none."""

Progress = Callable[[str, int, int], None]
"""Called with a guard's name, the number of its verdicts and the number of requests."""


@dataclass(frozen=True, slots=True)
class ReachedGuard:
    """A guard and how it is reached.

    Attributes:
        guard: The guard.
        endpoint: Inspect's name of the model that it asks; None for one that needs none.
        arguments: Arguments of that model's provider.
    """

    guard: Guard
    endpoint: str | None = None
    arguments: Mapping[str, Any] | None = None

    @property
    def record(self) -> dict[str, Any]:
        """What `run.json` keeps of it."""
        return {
            "guard": self.guard.id.to_json(),
            "expresses": [kind.value for kind in Combination if kind in self.guard.expresses],
        }


def chosen_guards(names: Sequence[str | Guard]) -> list[ReachedGuard]:
    """The guards, by name or as they are.

    Raises:
        RunError: A name has nothing behind it that answers, or one is there twice.
        UnknownNameError: There is no such guard model, or what is behind it is none.
        GuardError: A checkpoint is missing, or is none of that guard.
    """
    found = [_named(each) if isinstance(each, str) else ReachedGuard(each) for each in names]
    unreached = [each for each in found if each.endpoint is None and each.guard.needs_model]
    if unreached:
        raise RunError(f"guard {unreached[0].guard.id.name!r} asks a model; name it as NAME:SOURCE")
    ids = [each.guard.id for each in found]
    if twice := next((each for each in ids if [other.name for other in ids].count(each.name) > 1), None):
        raise RunError(f"two guards have the name {twice.name!r}; name each once, and folders by different names")
    return found


def _named(name: str) -> ReachedGuard:
    head, _, source = name.partition(":")
    if head == ANY_GUARDRAIL:
        return ReachedGuard(AnyGuardrailGuard(source))
    model = guard_model(head)
    if not source:
        raise RunError(f"guard {head!r}: name what answers behind it, as in {head}:FOLDER or {head}:vllm/ORG/NAME")
    if source.startswith(("http://", "https://")):
        address, _, served = source.partition("#")
        if not served:
            raise RunError(f"{name}: name the model behind the address, as in {source}#ORG/NAME")
        try:
            place = urlsplit(address).netloc
        except ValueError as error:
            raise RunError(f"{name}: {address} is no address ({error}); give one as in http://HOST/v1") from error
        if "@" in place:
            raise RunError(f"guard {head!r}: an address is recorded with the run; give its key as {KEY} instead")
        arguments = {"base_url": address, "api_key": os.environ.get(KEY, "none"), "responses_api": False}
        return ReachedGuard(ModelGuard(model, None, source), f"openai/{served}", arguments)
    endpoint = inspect_name(source)
    if endpoint.startswith(LOCAL):
        place = endpoint.removeprefix(LOCAL)
        check_guard_checkpoint(model, place)
        return ReachedGuard(local_guard(head, place))
    return ReachedGuard(ModelGuard(model, None, source), endpoint)


def guards_record(record: Mapping[str, Any] | None, guards: Sequence[ReachedGuard]) -> dict[str, Any]:
    """The guards as `run.json` names them: those asked for, then earlier ones of other names."""
    names = {each.guard.id.name for each in guards}
    earlier = [each for each in (record or {}).get("guard_models", []) if each["guard"]["name"] not in names]
    every = [*(each.record for each in guards), *earlier]
    return {"guard_models": every} if every else {}


def classify_missing(
    guards: Sequence[ReachedGuard],
    samples: Sequence[Sample],
    journal: Path,
    *,
    max_retries: int,
    timeout: int,
    progress: Progress | None = None,
    spending: Spending | None = None,
) -> int:
    """Show every guard the requests on which it has no verdict yet; the number of these requests over all guards.

    Args:
        guards: The guards.
        samples: The requests.
        journal: File that keeps every verdict as soon as it is there; what ended in an error is asked again.
        max_retries: Retries of a failed request to an endpoint.
        timeout: Seconds that one attempt may take.
        progress: Called after every verdict.
        spending: Where calls of endpoints are counted; None where nobody counts.

    Raises:
        BudgetError: The budget is spent; every verdict on what was sent is kept.
        GuardError: A checkpoint cannot be loaded.
        ModelError: An endpoint's provider cannot be opened.
        RunError: The journal is damaged or cannot be written, or a guard gave no verdict at all.
    """
    if not guards:
        return 0
    count = 0
    with GuardVerdicts(journal) as verdicts:
        for each in guards:
            left = [sample for sample in samples if verdicts.get(sample.id, each.guard.id) is None]
            if left:
                keep = _keeper(verdicts, each.guard.id.name, len(samples) - len(left), len(samples), progress)
                count += len(left)
                in_loop(partial(_classify, each, left, keep, max_retries, timeout, spending))
    return count


def _keeper(
    verdicts: GuardVerdicts, guard: str, done: int, total: int, progress: Progress | None
) -> Callable[[GuardModelVerdict], None]:
    count = done

    def keep(verdict: GuardModelVerdict) -> None:
        nonlocal count
        verdicts.append(verdict)
        count += 1
        if progress is not None:
            progress(guard, count, total)

    return keep


async def _classify(
    reached: ReachedGuard,
    samples: Sequence[Sample],
    keep: Callable[[GuardModelVerdict], None],
    max_retries: int,
    timeout: int,
    spending: Spending | None,
) -> None:
    waiting, name = iter(samples), reached.guard.id.name
    failures: list[str] = []

    async def work(ask: Ask | None) -> None:
        for sample in waiting:
            async with unpaid() if spending is None or ask is None else spending.call(GUARD, name, sample.id):
                verdict = await _verdict(reached.guard, sample, ask)
                if verdict.error is not None:
                    failures.append(verdict.error)
                await asyncio.to_thread(keep, verdict)

    async with contextlib.AsyncExitStack() as open_models:
        ask = None
        if reached.endpoint is not None:
            ask = inspect_ask(await open_models.enter_async_context(_open(reached, max_retries, timeout)))
        workers = [asyncio.create_task(work(ask)) for _ in range(min(AT_ONCE, len(samples)) if ask else 1)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
    if len(failures) == len(samples):
        raise RunError(f"guard {reached.guard.id.name!r} gave no verdict; the first error was: {failures[0]}")


async def _verdict(guard: Guard, sample: Sample, ask: Ask | None) -> GuardModelVerdict:
    """The verdict on one request, whatever goes wrong with this one; a guard that cannot be loaded ends the run."""
    try:
        return await guard.classify(sample, ask)
    except (GuardError, MissingDependencyError, LimitExceededError, RunError):
        raise
    except Exception as error:
        return GuardModelVerdict(sample.id, guard.id, error=f"{type(error).__name__}: {error}"[:500])


def _open(reached: ReachedGuard, max_retries: int, timeout: int) -> Model:
    config = GenerateConfig(max_retries=max_retries, attempt_timeout=timeout)
    return open_model(str(reached.endpoint), {"config": config, **(reached.arguments or {})})
