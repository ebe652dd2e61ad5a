import pytest

from holisafe import judges
from holisafe.judges import with_model


@pytest.mark.parametrize("name", ["panel:refusal+rubric", "cascade:refusal+rubric"])
def test_the_model_that_a_member_asks_is_part_of_the_identity(name: str) -> None:
    judge = judges.get(name)
    one, other = with_model(judge, "openai/a"), with_model(judge, "openai/b")
    assert getattr(judge, "needs_model", False)
    assert len({judge.id, one.id, other.id}) == 3
    assert with_model(judge, "openai/a").id == one.id


def test_a_panel_of_strings_asks_no_model() -> None:
    judge = judges.get("panel:refusal+holisafe")
    assert not getattr(judge, "needs_model", True)
