"""What a run spends: every call of a hosted model with its tokens, one line each, and a budget that stops the run.

Tokens are what the server reports. Where it reports none they are counted as a plan counts them, and the call is marked
as estimated. Money follows from tokens and from the prices that are given now, so that a resumed run counts all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holisafe.bench._journal import Lines, recorded_lines
from holisafe.errors import BudgetError, RunError

SPENDING = "spending.jsonl"

MODEL, JUDGE, GUARD = "model", "judge", "guard"
"""Roles of a call."""

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Prices:
    """Money per million tokens, in any one currency; None where it is not known.

    Attributes:
        input: For what the measured model reads.
        output: For what it writes.
        judge_input: For what the model of the judges reads.
        judge_output: For what it writes.
        guard_input: For what guard models read that are reached over an endpoint; one price for all of a run.
        guard_output: For what they write.

    Raises:
        RunError: One is negative or no number, or of two that belong together one is missing.
    """

    input: float | None = None
    output: float | None = None
    judge_input: float | None = None
    judge_output: float | None = None
    guard_input: float | None = None
    guard_output: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        for pair in _PAIRS.values():
            given = [getattr(self, name) for name in pair]
            for name, price in zip(pair, given, strict=True):
                if price is not None and not (math.isfinite(price) and price >= 0):
                    raise RunError(f"price {OPTIONS[name]} is {price}; expected a number from 0, per million tokens")
            if (given[0] is None) != (given[1] is None):
                there, missing = pair if given[0] is not None else pair[::-1]
                raise RunError(f"price {OPTIONS[there]} is given and {OPTIONS[missing]} is not; give both")

    def of(self, role: str) -> tuple[float, float] | None:
        """Prices of what a role reads and writes; None where they are not known."""
        read, written = (getattr(self, name) for name in _PAIRS[role])
        return None if read is None or written is None else (read, written)

    def cost(self, role: str, read: float, written: float) -> float | None:
        """Money for that many tokens; None where the prices are not known."""
        prices = self.of(role)
        return None if prices is None else (read * prices[0] + written * prices[1]) / MILLION

    def to_json(self) -> dict[str, float | None]:
        """JSON values, by attribute."""
        return {name: getattr(self, name) for name in OPTIONS}


OPTIONS = {
    "input": "--price-in",
    "output": "--price-out",
    "judge_input": "--judge-price-in",
    "judge_output": "--judge-price-out",
    "guard_input": "--guard-price-in",
    "guard_output": "--guard-price-out",
}
"""Attribute of `Prices` → option of the command line."""

_PAIRS = {
    MODEL: ("input", "output"),
    JUDGE: ("judge_input", "judge_output"),
    GUARD: ("guard_input", "guard_output"),
}
"""Role → attributes of `Prices` for what it reads and writes."""


@dataclass(frozen=True, slots=True)
class Call:
    """One answered request.

    Attributes:
        number: Its place in the file, from 0.
        role: "model", "judge" or "guard".
        name: The measured model, the judge, or the guard model.
        sample_id: The sample.
        input: Tokens read, those from the provider's cache included.
        output: Tokens written.
        seconds: How long it took.
        estimated: Whether the server reported no tokens.
    """

    number: int
    role: str
    name: str
    sample_id: str
    input: int
    output: int
    seconds: float
    estimated: bool

    def to_json(self) -> dict[str, Any]:
        """JSON values, by attribute."""
        return {name: getattr(self, name) for name in self.__slots__}

    @staticmethod
    def from_json(data: Any) -> Call:
        """Read what `to_json` wrote.

        Raises:
            RunError: It is not such an object.
        """
        kinds = {"number": int, "role": str, "name": str, "sample_id": str, "input": int, "output": int}
        kinds |= {"seconds": float, "estimated": bool}
        if not isinstance(data, dict) or any(type(data.get(name)) is not kind for name, kind in kinds.items()):
            raise RunError(f"not a call: expected {', '.join(kinds)}")
        if data["role"] not in _PAIRS:
            raise RunError(f"not a call: role {data['role']!r}, expected one of {', '.join(_PAIRS)}")
        return Call(**{name: data[name] for name in kinds})


@dataclass(frozen=True, slots=True)
class Total:
    """Calls of one role and name, summed up.

    Attributes:
        calls: How many.
        input: Tokens read.
        output: Tokens written.
        seconds: Time that they took, one after the other.
        estimated: Calls whose tokens the server did not report.
    """

    calls: int = 0
    input: int = 0
    output: int = 0
    seconds: float = 0.0
    estimated: int = 0

    def plus(self, call: Call) -> Total:
        """With one more call."""
        return Total(
            self.calls + 1,
            self.input + call.input,
            self.output + call.output,
            self.seconds + call.seconds,
            self.estimated + call.estimated,
        )


Totals = Mapping[tuple[str, str], Total]
"""(role, name) → total."""


def totals_of(calls: Iterable[Call]) -> Totals:
    """The totals of calls."""
    found: defaultdict[tuple[str, str], Total] = defaultdict(Total)
    for call in calls:
        found[call.role, call.name] = found[call.role, call.name].plus(call)
    return dict(found)


def recorded_calls(path: Path) -> list[Call]:
    """The calls of a file; none where there is no file.

    Raises:
        RunError: A line is damaged.
    """
    return list(recorded_lines(path, Call.from_json))


def money_of(totals: Totals, prices: Prices) -> float | None:
    """Money spent; None where a price is missing."""
    costs = [prices.cost(role, total.input, total.output) for (role, _), total in totals.items()]
    known = [cost for cost in costs if cost is not None]
    return None if len(known) < len(costs) else sum(known)


def spent_to_json(totals: Totals, prices: Prices) -> dict[str, Any]:
    """What was spent as `run.json` and `--json` have it (docs/json.md)."""
    rows = [
        {
            **{"role": role, "name": name, "calls": total.calls, "input": total.input, "output": total.output},
            **{"estimated_calls": total.estimated, "money": prices.cost(role, total.input, total.output)},
        }
        for (role, name), total in totals.items()
    ]
    return {"by": rows, "money": money_of(totals, prices), "prices": prices.to_json()}


@dataclass
class Paying:
    """Whoever pays for the calls of one answer or one judgement.

    Attributes:
        role: "model", "judge" or "guard".
        name: The measured model, the judge, or the guard model.
        sample_id: The sample.
        spending: Where the calls are counted.
        money: What they have cost so far, as far as prices are known.
    """

    role: str
    name: str
    sample_id: str
    spending: Spending
    money: float = 0.0

    def count(self, read: int, written: int, seconds: float, estimated: bool) -> None:
        """Count one answered request."""
        self.money += self.spending.keep(self, read, written, seconds, estimated)


PAYING: ContextVar[Paying | None] = ContextVar("holisafe_paying", default=None)
"""Who pays for the calls of this task; nobody where they are not counted."""


class _Calls(Lines[int, Call]):
    """The file of calls: written at once, but not waited for until it is on the disk, as answers are."""

    def _sync(self, descriptor: int) -> None:
        pass


class Spending:
    """The calls of one run, as they come; use it as a context manager.

    Attributes:
        prices: Prices of tokens.
        budget: Money at which no further call is made; None for no limit.
        totals: What was spent by now, in runs before this one too.
        stopped: Whether the budget has stopped the run.
    """

    def __init__(self, path: Path, prices: Prices, budget: float | None) -> None:
        """Read the calls that are there.

        Raises:
            RunError: A line is damaged, or the file cannot be written.
        """
        self.prices, self.budget = prices, budget
        self._lines = _Calls(path, lambda call: call.number, Call.from_json, Call.to_json)
        self.totals = dict(totals_of(self._lines.records()))
        self.stopped = False
        self._in_flight = 0
        self._dearest = 0.0
        self._changed = asyncio.Event()

    def __enter__(self) -> Spending:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self._lines.__exit__(None, None, None)

    @property
    def spent(self) -> float:
        """Money spent by now, as far as prices are known."""
        costs = (self.prices.cost(role, total.input, total.output) for (role, _), total in self.totals.items())
        return sum(cost for cost in costs if cost is not None)

    @contextlib.asynccontextmanager
    async def call(self, role: str, name: str, sample_id: str) -> AsyncIterator[None]:
        """Make the calls of one answer, judgement or verdict, and record what comes of them, within this block.

        Raises:
            BudgetError: The budget is spent. It is raised once everything that was sent has been recorded.
        """
        await self._admit()
        self._in_flight += 1
        paying = Paying(role, name, sample_id, self)
        token = PAYING.set(paying)
        try:
            yield
        finally:
            PAYING.reset(token)
            self._in_flight -= 1
            self._dearest = max(self._dearest, paying.money)
            self._changed.set()

    async def _admit(self) -> None:
        """Wait until what is in flight, and one more like the dearest so far, fit the budget."""
        while self.budget is not None:
            is_spent = self.spent >= self.budget
            if is_spent and self._in_flight == 0:
                self.stopped = True
                raise BudgetError(f"the budget of {money_text(self.budget)} is spent ({money_text(self.spent)})")
            fits = self.spent + (self._in_flight + 1) * self._dearest <= self.budget
            if not is_spent and (fits or self._in_flight == 0):
                return
            self._changed.clear()
            await self._changed.wait()

    def keep(self, paying: Paying, read: int, written: int, seconds: float, estimated: bool) -> float:
        """Record a call, and give its money; 0 where its price is not known."""
        number, took = len(self._lines), round(seconds, 3)
        call = Call(number, paying.role, paying.name, paying.sample_id, read, written, took, estimated)
        self._lines.append(call)
        key = (paying.role, paying.name)
        self.totals[key] = self.totals.get(key, Total()).plus(call)
        return self.prices.cost(paying.role, read, written) or 0.0


def unpaid() -> contextlib.AbstractAsyncContextManager[None]:
    """In place of `Spending.call` where nobody counts."""
    return contextlib.nullcontext()


def check_budget(prices: Prices, budget: float | None, hosted: Mapping[str, str]) -> None:
    """Refuse a budget that nothing can be counted against.

    Args:
        prices: The prices.
        budget: The budget.
        hosted: Role → name of each hosted model that will be asked.

    Raises:
        RunError: It is no number above 0, or a price is missing.
    """
    if budget is None:
        return
    if not (math.isfinite(budget) and budget > 0):
        raise RunError(f"budget is {budget}; expected a number above 0, in the money of the prices")
    for role, name in hosted.items():
        if prices.of(role) is None:
            needed = " and ".join(OPTIONS[each] for each in _PAIRS[role])
            raise RunError(f"a budget needs the prices of {name}: give {needed}, per million tokens")


def stopped_by_budget(spending: Spending, place: str) -> BudgetError:
    """What to say where the budget has ended a run.

    Args:
        spending: Its calls.
        place: Where the answers and judgements are kept.
    """
    calls = sum(total.calls for total in spending.totals.values())
    return BudgetError(
        f"stopped at the budget of {money_text(spending.budget or 0.0)}: {calls} calls have cost "
        f"{money_text(spending.spent)}. Answers and judgements so far are kept in {place}; the same command with a "
        "larger --budget resumes, and asks nothing twice"
    )


def money_text(amount: float) -> str:
    """Money in digits, e.g. "0.0123" or "1,234.50"."""
    return f"{amount:,.4f}" if amount < 1 else f"{amount:,.2f}"
