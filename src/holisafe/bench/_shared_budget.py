"""One budget over several runs, each in a folder of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from holisafe.bench._names import LOCAL, inspect_name
from holisafe.bench._plan import plan_run
from holisafe.bench._run import measure
from holisafe.bench._spending import SPENDING, Prices, money_of, money_text, recorded_calls, totals_of
from holisafe.errors import BudgetError, HoliSafeError, RunError
from holisafe.records import Run


@dataclass(frozen=True, slots=True)
class SharedBudget:
    """Money that several runs may spend together.

    Attributes:
        folders: Folders of the runs; what their earlier calls have cost counts.
        budget: The money; None for no limit.
        prices: Prices of tokens.
    """

    folders: Sequence[Path]
    budget: float | None = None
    prices: Prices = field(default_factory=Prices)

    @property
    def spent(self) -> float:
        """Money that all runs have spent by now, as far as prices are known."""
        return sum(self._spent_in(folder) for folder in self.folders)

    def prices_of(self, model: str) -> Prices:
        """The prices without those of the measured model where it is a local one, which costs nothing."""
        return self.prices if _is_hosted(model) else replace(self.prices, input=None, output=None)

    def measure(
        self, model: str, folder: Path, options: Mapping[str, Any], callbacks: Mapping[str, Any] | None = None
    ) -> Run:
        """Measure one of the runs with what the others have left.

        Args:
            model: As for `measure`.
            folder: Folder of the run, one of `folders`.
            options: Further arguments of `measure` and `plan_run`.
            callbacks: Further arguments of `measure` alone.

        Raises:
            BudgetError: The budget is spent and calls that cost something are left; a finished run is read back.
            HoliSafeError: As `measure`.
        """
        asked = {**options, "out": folder, "prices": self.prices_of(model)}
        told = dict(callbacks or {})
        if self.budget is None:
            return measure(model, **asked, **told)
        left = self.budget - sum(self._spent_in(each) for each in self.folders if each != folder)
        if left > 0:
            return measure(model, **asked, budget=left, **told)
        if any(part.calls and part.money_at_most != 0 for part in plan_run(model, **asked).parts):
            raise BudgetError(
                f"the budget of {money_text(self.budget)} is spent ({money_text(self.spent)}); the same command with "
                "a larger --budget resumes, and asks nothing twice"
            )
        return measure(model, **asked, **told)

    def _spent_in(self, folder: Path) -> float:
        return money_of(totals_of(recorded_calls(folder / SPENDING)), self.prices) or 0.0


def check_one_price(models: Sequence[str], prices: Prices | None, budget: float | None) -> None:
    """Refuse prices that would stand for several hosted models.

    Raises:
        RunError: There are prices or a budget of the measured model, and more than one that is hosted.
    """
    hosted = [model for model in models if _is_hosted(model)]
    if len(hosted) > 1 and (budget is not None or (prices or Prices()).of("model") is not None):
        raise RunError(
            f"one price cannot stand for {len(hosted)} hosted models ({', '.join(hosted)}); measure each in a command "
            "of its own with its --price-in, --price-out and --budget, or leave prices and budget out"
        )


def _is_hosted(model: str) -> bool:
    try:
        return not inspect_name(model).startswith(LOCAL)
    except HoliSafeError:  # its run says so
        return False
