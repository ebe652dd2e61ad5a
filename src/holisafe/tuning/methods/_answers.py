"""What methods share that learn answers, with a guard where one is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from holisafe.errors import TuningError
from holisafe.guard import GuardConfig
from holisafe.tuning.methods._method import Method

if TYPE_CHECKING:
    from holisafe.records import Sample
    from holisafe.tuning._loss import Loss


class AnswersMethod(Method):
    """Answers, and a guard without a meta token where one is asked for; its loss is that of `sft`, or of `vgm`.

    Subclasses have a config that inherits from `VgmConfig`.
    """

    def guard(self, wanted: GuardConfig | None) -> GuardConfig | None:
        """What is asked for, without a meta token."""
        if wanted is not None and wanted.meta_token:
            raise TuningError(
                f'the guard has a meta token, which method="{self.name}" does not learn; use method="meta-token"'
            )
        return wanted

    def check_guard(self, found: GuardConfig | None) -> None:
        """Any guard without a meta token, or none."""
        if found is not None and found.meta_token:
            raise TuningError(
                f'method="{self.name}": the guard has a meta token; attach it with GuardConfig(meta_token=False)'
            )

    def collator(
        self, processor: Any, guard: GuardConfig | None, **options: Any
    ) -> Callable[[Sequence[Sample]], dict[str, Any]]:
        """Conversations, with the guard's targets."""
        from holisafe.tuning._collate import Collator

        return Collator(processor, guard, **options)

    def counts(self, batch: Mapping[str, Any]) -> dict[str, int]:
        """Tokens and, with a guard, labelled images, combinations and categories."""
        from holisafe.tuning._answer_loss import count_answer
        from holisafe.tuning._guard_loss import count_guard

        return count_answer(batch) | count_guard(batch)

    def loss(self, model: Any, batch: Mapping[str, Any], config: Any) -> Loss:
        """The answer's cross-entropy and, with a guard, its terms."""
        from holisafe.guard.attach import find_observer
        from holisafe.tuning.methods.sft.config import SftConfig
        from holisafe.tuning.methods.sft.loss import loss as answers_alone
        from holisafe.tuning.methods.vgm.loss import loss as answers_and_guard

        if find_observer(model) is None:
            return answers_alone(model, batch, SftConfig())
        return answers_and_guard(model, batch, config)
