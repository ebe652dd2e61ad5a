import pytest

from holisafe.errors import ModelError
from holisafe.models import ModelSpec


@pytest.mark.parametrize(
    "given",
    [
        {"trust_remote_code": "no"},
        {"trust_remote_code": 1},
        {"device_map": 7},
        {"revision": 7},
        {"attention": 7},
        {"guard": 7},
    ],
)
def test_an_option_of_another_type_is_refused_by_name(given: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=next(iter(given))):
        ModelSpec.parse("pocket", **given)  # type: ignore[arg-type]


def test_no_name_and_an_endless_one_are_refused() -> None:
    with pytest.raises(TypeError, match="source"):
        ModelSpec.parse(None)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="5,000 characters"):
        ModelSpec.parse("x" * 5000)
