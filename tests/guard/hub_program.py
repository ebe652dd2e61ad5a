"""What test_hub runs in a process of its own, since the Hub's address is read once: a guard there and back."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch
from transformers import LlavaForConditionalGeneration
from transformers.utils import logging

from holisafe import attach_guard
from holisafe.errors import GuardError
from holisafe.guard import guard_of, load_guard, push_guard

warnings.simplefilter("error")
logging.disable_progress_bar()
base = Path(sys.argv[1])
model = attach_guard(LlavaForConditionalGeneration.from_pretrained(base))
print(push_guard(model, "me/guard", private=True, commit_message="First"))
loaded = load_guard(LlavaForConditionalGeneration.from_pretrained(base), "me/guard", revision="main")
expected = guard_of(model).state_dict()
print("same", all(torch.equal(tensor, expected[key]) for key, tensor in guard_of(loaded).state_dict().items()))
push_guard(model, "me/guard")
push_guard(model, "me/guard", model_card="# Mine")
model.push_to_hub("me/whole")
push_guard(model, "me/whole")
whole = load_guard(LlavaForConditionalGeneration.from_pretrained("me/whole"), "me/whole")
print("same", all(torch.equal(tensor, expected[key]) for key, tensor in guard_of(whole).state_dict().items()))
for name, revision in (("me/nothing", None), ("me/guard", "v9"), ("me/empty", None)):
    try:
        load_guard(LlavaForConditionalGeneration.from_pretrained(base), name, revision=revision)
    except GuardError as error:
        print("refused", error)
try:
    push_guard(model, "them/guard")
except GuardError as error:
    print("refused", error)
