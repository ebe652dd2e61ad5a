"""A picture in words, from the model itself: what is asked for it, and a conversation that has it instead."""

from __future__ import annotations

from dataclasses import replace

from holisafe.defences.prompt import around
from holisafe.models import GenerationOptions, Prompt, Request
from holisafe.records import Role, Turn

CAPTION = "Describe the picture in detail, with what matters for this request: {question}"
IN_WORDS = "The picture, in words: {caption}"


def question(prompt: Prompt) -> str:
    """The text of the last turn of the user; empty where there is none."""
    return next((turn.text for turn in reversed(prompt.turns) if turn.role is Role.USER), "")


def about_pictures(request: Request, text: str, tokens: int) -> Request:
    """Another question about the pictures of a request, answered greedily in at most so many tokens."""
    turn = Turn(Role.USER, text, request.prompt.images)
    return Request(Prompt((turn,)), GenerationOptions(max_new_tokens=tokens))


def ask_caption(request: Request, tokens: int) -> Request:
    """The question for a caption, with what matters for the request."""
    return about_pictures(request, CAPTION.format(question=question(request.prompt)), tokens)


def in_words(prompt: Prompt, caption: str) -> Prompt:
    """The conversation without its pictures, their caption before its last question."""
    turns = around(prompt, IN_WORDS.format(caption=caption), "").turns
    return Prompt(tuple(replace(turn, images=()) for turn in turns))
