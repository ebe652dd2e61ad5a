import re

import pytest
from typer.testing import CliRunner

from holisafe.cli import app
from holisafe.tuning import TuneConfig

COMMANDS = (
    [], ["bench"], ["calibrate"], ["compare"], ["data"], ["data", "export"], ["data", "show"], ["data", "stats"],
    ["data", "validate"], ["demo"], ["edit"], ["edit", "merge"], ["edit", "uwm"], ["guard"],
    ["guard", "families"], ["guard", "train"], ["merge"], ["report"],
    ["scan"], ["scan", "summary"], ["score"], ["tune"],
)  # fmt: skip


def text(*command: str) -> str:
    found = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    assert found.exit_code == 0, found.output
    return found.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_80_columns_and_breaks_no_name_at_a_hyphen(command: list[str]) -> None:
    lines = text(*command).splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if re.search(r"\w-$", line)]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_cuts_no_summary_short(command: list[str]) -> None:
    assert "..." not in re.sub(r"\[[A-Z]+\]\.\.\.|[A-Z]\.\.\.", "", text(*command))


def test_a_default_in_words_has_one_pair_of_brackets() -> None:
    assert "[default: report.html, report.md or\n" in text("report")


def test_the_defaults_of_tune_are_those_of_its_settings() -> None:
    told, config = " ".join(text("tune").split()), TuneConfig()
    for name in ("num_train_epochs", "batch_size", "gradient_accumulation_steps", "learning_rate", "warmup_ratio",
                 "lora_r", "lora_alpha", "precision", "seed", "method", "general_share",
                 "safe_weight"):  # fmt: skip
        found = re.search(rf"--{name.replace('_', '-')} .*?\[default: ([^\]]*)\]", told)
        assert found is not None, name
        expected = getattr(config, name)
        assert found[1] == expected if isinstance(expected, str) else float(found[1]) == expected, name
