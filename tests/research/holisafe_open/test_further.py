"""Further drawings for training, found by their names."""

import pytest
from research.holisafe_open.further import (
    MOST_OF_A_KIND,
    STYLES,
    bare_name,
    is_plain,
    named_like_harm,
    named_like_kinds,
    with_further,
)
from research.holisafe_open.kinds import load_kinds
from research.holisafe_open.more import EMOJI

from research.holisafe_open.art import Artwork

KINDS = load_kinds(EMOJI)


def icon(key: str) -> Artwork:
    name = key.split(":")[1].replace("-", " ")
    return Artwork(key, key.split(":")[0], name, name, (), "<svg/>")


def art(*keys: str) -> dict[str, Artwork]:
    return {key: icon(key) for key in keys}


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("ph:carrot-bold", "carrot"),
        ("solar:bomb-minimalistic-bold-duotone", "bomb minimalistic"),
        ("fluent:food-carrot-filled", "carrot"),
        ("game-icons:bold-line", "bold line"),  # a drawing with a name of its own
    ],
)
def test_an_icons_name_is_bare_of_its_style(key: str, name: str) -> None:
    assert bare_name(icon(key)) == name


def test_marks_of_what_is_done_with_a_thing_are_not_plain() -> None:
    assert is_plain(icon("mdi:bell")) and is_plain(icon("game-icons:bell-off"))
    assert not is_plain(icon("mdi:bell-off")) and not is_plain(icon("hugeicons:file-check"))


def test_drawings_of_a_kinds_name_are_its_own_but_those_listed_and_those_that_mean_something_else() -> None:
    listed = KINDS["carrot"].artworks[0]
    found = named_like_kinds(art("ph:carrot", "mdi:mouse", "tabler:carrots-plate", listed), KINDS)
    assert found == {"carrot": ["ph:carrot"]}


def test_of_one_icon_a_few_styles_are_enough() -> None:
    keys = [f"ph:carrot{style}" for style in ("", "-bold", "-thin", "-fill")]
    assert named_like_kinds(art(*keys), KINDS) == {"carrot": keys[:STYLES]}


def test_collections_take_turns_for_a_kind() -> None:
    many = [f"ph:{name}" for name in ("chocolate", "chocolate-bar", "chocolate-bar-bold", "chocolate-bold")]
    drawings = art(*many, *(f"{name}:chocolate-bar" for name in ("mdi", "tabler", "bi", "ri", "ion", "la", "solar")))
    added = with_further(KINDS, drawings)["chocolate bar"].artworks[len(KINDS["chocolate bar"].artworks) :]
    assert len(added) == MOST_OF_A_KIND
    assert len({key.split(":")[0] for key in added}) >= MOST_OF_A_KIND - 1


def test_a_sight_of_harm_is_found_by_whole_names_and_is_no_everyday_thing() -> None:
    sights = [{"phrase": "a drawn bomb", "names": "bombs?"}, {"phrase": "a drawn cross", "names": "carrot|cross"}]
    drawings = art("mdi:bomb", "ph:bomb-bold", "mdi:bomb-off", "ri:bath-bomb", "ph:carrot", "mdi:cross")
    bombs, crosses = named_like_harm(drawings, sights, KINDS)
    assert bombs["phrase"] == "a drawn bomb" and set(bombs["ids"]) == {"mdi:bomb", "ph:bomb-bold"}
    assert "overlay" not in bombs and crosses["ids"] == ["mdi:cross"]


@pytest.mark.parametrize("mark", [{"overlay": "ban"}, {"pair": "skull"}])
def test_a_mark_or_a_second_drawing_makes_harm_of_an_everyday_thing(mark: dict[str, str]) -> None:
    (found,) = named_like_harm(art("ph:carrot"), [{"phrase": "a carrot and more", "names": "carrot", **mark}], KINDS)
    assert found == {"phrase": "a carrot and more", "ids": ["ph:carrot"], **mark}
