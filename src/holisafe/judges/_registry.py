"""Judges by name: those of this package, and those that other packages add.

Another package adds a judge by an entry point of the group `holisafe.judges`: its name is the judge's name, its
object a class or function that returns the judge when called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

from holisafe._checks import check_type
from holisafe._registry import Registry
from holisafe.errors import JudgeError, RegistryError
from holisafe.records import JudgeId, Judgement, Response, Sample, Turn


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model that a judge asked has answered.

    Attributes:
        text: Its answer.
        model: Its name, as the provider gives it.
        usage: Tokens spent, by kind ("input", "output").
        refusal: What its provider returned as a refusal in a field of its own; None where it returned none.
        finish: What ended it: "stop", "length", "content_filter", "tool_calls", "no_choices", ...
        served: The model, date or revision included, that the server says has answered; empty where it does not.
    """

    text: str
    model: str = ""
    usage: Mapping[str, int] = field(default_factory=dict, hash=False)
    refusal: str | None = None
    finish: str = ""
    served: str = ""


class Ask(Protocol):
    """How a judge reaches a model: given to it, so that it needs no client, no retries and no keys of its own."""

    async def __call__(self, turns: Sequence[Turn], *, max_tokens: int = 512) -> Reply:
        """Ask the model greedily.

        Raises:
            JudgeError: It could not be reached, or gave no answer.
        """
        ...


@runtime_checkable
class Judge(Protocol):
    """Decides what became of one response.

    `holisafe.judges.conformance` checks what a judge must keep to; run it on your own.
    """

    @property
    def id(self) -> JudgeId:
        """Which judge it is; changes whenever the same response could get another judgement."""
        ...

    async def judge(self, sample: Sample, response: Response, ask: Ask | None = None) -> Judgement:
        """The judgement on one response.

        Args:
            sample: What was asked.
            response: What was answered.
            ask: How to reach a model; None where the caller has none.

        Raises:
            JudgeError: There is none to give, e.g. since the judge needs a model and `ask` is None.
        """
        ...


class PublishedProtocol:
    """What judges inherit from that follow a published protocol to the letter: they count every text, even none."""


@dataclass(frozen=True, slots=True)
class _WithParameters:
    """A judge made with parameters that its own identity leaves out."""

    judge_without: Judge
    id: JudgeId

    @property
    def needs_model(self) -> bool:
        return bool(getattr(self.judge_without, "needs_model", False))

    def with_model(self, model: str) -> Judge:
        bound = with_model(self.judge_without, model)
        return replace(self, judge_without=bound, id=replace(bound.id, name=self.id.name))

    async def judge(self, sample: Sample, response: Response, ask: Ask | None = None) -> Judgement:
        judgement = await self.judge_without.judge(sample, response, ask)
        return replace(judgement, judge=self.id)


Factory = TypeVar("Factory", bound=Callable[..., Judge])

_JUDGES: Registry[Callable[..., Judge]] = Registry(
    "judge", "holisafe.judges", expected="a class or function that returns a judge", accepts=callable
)


def judge(name: str) -> Callable[[Factory], Factory]:
    """Register a class or function that returns a judge; its parameters, if any, are keyword arguments."""

    def register(factory: Factory) -> Factory:
        _JUDGES.add(name, factory)
        return factory

    return register


def names() -> tuple[str, ...]:
    """Names of all judges, sorted."""
    return tuple(_JUDGES.names())


def get(name: str, **parameters: Any) -> Judge:
    """The judge of that name; its identity names the parameters, so that judges with others are other judges.

    Args:
        name: Its name; "NAME:ARGUMENT" gives its factory the argument in first place, as in "prompt:my.toml".
        parameters: What its factory takes.

    Raises:
        UnknownNameError: No judge has it; the closest names are offered.
        RegistryError: The package that adds it cannot be imported, or adds something that is no judge.
        JudgeError: Its factory does not take these parameters.
    """
    check_type(name, str, "name of a judge")
    head, colon, argument = name.partition(":")
    arguments = (argument,) if colon and name not in _JUDGES else ()
    factory = _JUDGES.get(head if arguments else name)
    try:
        made: object = factory(*arguments, **parameters)
    except TypeError as error:
        raise JudgeError(f"judge {name!r} does not take these parameters: {error}") from error
    if not isinstance(made, Judge):
        raise RegistryError(
            f"judge {name!r} is made as {type(made).__name__}; expected an object with `id` and `judge`"
        )
    if not parameters or made.id.name != name:
        return made
    listed = ",".join(f"{key}={value!r}" for key, value in sorted(parameters.items()))
    return _WithParameters(made, replace(made.id, name=f"{name}({listed})"))


def with_model(judge: Judge, model: str | None) -> Judge:
    """A judge with the model that it asks in its identity; one that asks none is given back as it is.

    Judges that ask a model have a method `with_model(model)`, and an attribute `needs_model` that is true.

    Args:
        judge: The judge.
        model: The model's name, with its date or revision where the name has one; None where there is no model.

    Raises:
        JudgeError: There is no model, and the judge needs one.
    """
    if model is None:
        if getattr(judge, "needs_model", False):
            raise JudgeError(f"judge {judge.id.name!r} asks a model, and none is given; name one with --judge-model")
        return judge
    bind: Callable[[str], Judge] | None = getattr(judge, "with_model", None)
    return judge if bind is None else bind(model)
