"""NeMo Guardrails: an action that checks a user's message, with its images, by a running `holisafe serve`.

`from holisafe.integrations.nemo import holisafe_check_input` in the `actions.py` of a configuration folder is all that
is needed; a flow then says `$response = execute holisafe_check_input`. The guard is found by the environment variables
HOLISAFE_URL and HOLISAFE_API_KEY.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holisafe.errors import GuardError, MissingDependencyError
from holisafe.integrations.client import GuardClient

try:
    from nemoguardrails.actions import action
    from nemoguardrails.actions.rail_outcome import RailOutcome
except ModuleNotFoundError as error:
    raise MissingDependencyError(
        f"holisafe.integrations.nemo needs {error.name!r}, which is not installed; run: pip install nemoguardrails"
    ) from error


async def _check_input(context: Mapping[str, Any] | None = None, user_message: Any = None) -> Any:
    """Block a message that the guard flags, or that it cannot judge because it does not answer.

    Args:
        context: The conversation's; its `user_message` is judged where none is given.
        user_message: A text, or parts in OpenAI's form.

    Returns:
        A `RailOutcome`; its metadata has `reasons`, `score` and `judged`.
    """
    message = user_message if user_message is not None else (context or {}).get("user_message")
    try:
        found = await GuardClient().acheck(message or "")
    except GuardError as error:
        return RailOutcome.block(reason=str(error), metadata={"reasons": [], "score": None, "judged": False})
    about = {"reasons": list(found.reasons), "score": found.score, "judged": found.judged}
    if not found.flagged:
        return RailOutcome.allow(metadata=about)
    return RailOutcome.block(reason=f"flagged: {', '.join(found.reasons) or 'request'}", metadata=about)


holisafe_check_input = action(name="holisafe_check_input")(_check_input)
"""The action."""
