"""Errors travel between processes: every kind survives pickling and copying with its message."""

from __future__ import annotations

import copy
import inspect
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holisafe import errors
from holisafe.errors import HoliSafeError, UnknownNameError

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, HoliSafeError) and kind.__module__ == errors.__name__
]
PLAIN = [kind for kind in KINDS if kind is not UnknownNameError]
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def same(one: HoliSafeError, other: HoliSafeError) -> bool:
    return (type(one), str(one), one.args) == (type(other), str(other), other.args)


def test_every_kind_is_known_here() -> None:
    assert {UnknownNameError, errors.DataError, errors.RunError, errors.RegistryError} <= set(KINDS)
    assert all(kind.__doc__ for kind in KINDS)


@given(st.sampled_from(PLAIN), st.text(), st.sampled_from(PROTOCOLS))
def test_every_kind_survives_pickling(kind: type[HoliSafeError], message: str, protocol: int) -> None:
    error = kind(message)
    assert same(pickle.loads(pickle.dumps(error, protocol)), error)
    assert same(copy.deepcopy(error), error)


@given(st.text(), st.text(), st.lists(st.text(), max_size=4), st.text(), st.sampled_from(PROTOCOLS))
def test_an_unknown_name_survives_pickling(kind: str, name: str, known: list[str], hint: str, protocol: int) -> None:
    error = UnknownNameError(kind, name, known, hint=hint)
    assert same(pickle.loads(pickle.dumps(error, protocol)), error)


def test_a_cause_does_not_stop_it() -> None:
    try:
        raise errors.ImageError("image 3: truncated") from ValueError("inner")
    except errors.ImageError as error:
        assert str(pickle.loads(pickle.dumps(error))) == "image 3: truncated"


def fail(kind: type[HoliSafeError]) -> None:
    raise UnknownNameError("judge", "refusl", ["refusal"]) if kind is UnknownNameError else kind("file.json: broken")


def test_errors_of_another_process_arrive_as_themselves() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for kind in KINDS:
            with pytest.raises(kind, match=r"refusal|broken") as caught:
                pool.submit(fail, kind).result()
            assert type(caught.value) is kind


def test_the_closest_names_are_offered() -> None:
    known = ["refusal", "holisafe", "weapon_related_violence"]
    assert "Did you mean refusal?" in str(UnknownNameError("judge", "refusl", known))
    assert "Did you mean weapon_related_violence?" in str(UnknownNameError("label", "Weapons", known))
    assert "Known: holisafe, refusal, weapon_related_violence." in str(UnknownNameError("judge", "xyz", known))
    assert str(UnknownNameError("judge", "xyz", [], hint="Install one.")).endswith("Known: none. Install one.")
