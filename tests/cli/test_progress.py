import pytest

from holisafe.cli._progress import progress_line


def test_off_a_terminal_a_line_is_printed_per_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_line("loading", "sample") as line:
        for done in range(101):
            line.advance(done, 100)
    told = capsys.readouterr()
    assert told.out == "" and len(told.err.splitlines()) == 10
    assert told.err.splitlines()[-1].startswith("sample 100/100")


def test_the_last_step_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_line("loading", "step") as line:
        for _ in range(3):
            line.advance(1, 1)
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("seconds", "done", "total", "shown"),
    [
        (2.0, 1, 10, "step 1/10, 2.0 s/step, 0:18 left"),
        (0.5, 2, 9, "step 2/9, 4.0 steps/s, 0:02 left"),
        (720.0, 2, 20, "step 2/20, 360.0 s/step, 1:48:00 left"),
    ],
)
def test_rate_and_time_left_follow_the_count(
    seconds: float,
    done: int,
    total: int,
    shown: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("holisafe.cli._progress._now", iter([0.0, seconds]).__next__)
    with progress_line("loading", "step") as line:
        line.note("loss 1.0")
        line.advance(0, total)
        line.advance(done, total)
    assert capsys.readouterr().err.splitlines() == [f"{shown}, loss 1.0"]


def test_what_was_before_the_first_step_does_not_count(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holisafe.cli._progress._now", iter([0.0, 100.0, 101.0]).__next__)
    with progress_line("loading", "step") as line:
        line.advance(0, 2)
        line.advance(0, 2)
        line.advance(1, 2)
    assert capsys.readouterr().err.startswith("step 1/2, 1.0 s/step, 0:01 left")
