"""What went wrong on a prompt, as an error that a caller can read and that holds no memory."""

from __future__ import annotations

import traceback

import torch

from holisafe.errors import HoliSafeError, ModelError


class OutOfMemoryError(ModelError):
    """The device's memory did not suffice."""


def explained(error: BaseException) -> HoliSafeError:
    """An error of ours that says what failed; one of ours stays as it is."""
    if isinstance(error, HoliSafeError):
        return error
    text = f"{type(error).__name__}: {str(error).strip()[:300]}"
    if isinstance(error, torch.OutOfMemoryError):
        return OutOfMemoryError(f"out of memory on this prompt alone ({text}); shorten it, or use a larger device")
    wrapped = ModelError(f"the model failed on this prompt: {text}")
    wrapped.__cause__ = error
    return wrapped


def drop_tensors(error: BaseException) -> None:
    """Clear the local variables of the frames that an error came through: they hold tensors."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        traceback.clear_frames(each.__traceback__)
        each = each.__cause__ or each.__context__


def free_memory() -> None:
    """Give back what torch keeps of a GPU's memory."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
