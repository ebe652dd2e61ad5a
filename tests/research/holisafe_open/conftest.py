import shutil
from pathlib import Path

import pytest
from research.holisafe_open.further import ICONS

from research.holisafe_open import more as _more

OPEN_ART = Path(__file__).parent / "art"


@pytest.fixture(scope="session")
def art_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests' art, with copies of its emoji in place of the collections that only train splits show."""
    folder = tmp_path_factory.mktemp("art")
    shutil.copytree(OPEN_ART, folder, dirs_exist_ok=True)
    for name in (*_more.ONLY_FOR_TRAINING, *ICONS):
        shutil.copytree(OPEN_ART / "fluent-emoji-flat", folder / name)
    return folder
